"""What a crash left behind: orphans in `processing/`, unfinished moves, drafts that nobody writes any more.

An orphan is a file whose lock nobody holds: its worker is dead and its command has ended. It is found by that alone,
never by time, and nothing is killed. The revision decides: equal to the name's, the attempt is decided and only the
move is missing; lower, the attempt is lost and counts.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field

from queuectl import attempt, catalog, clock, names, registry
from queuectl.admission import Admission
from queuectl.attempt import Control, Outcome
from queuectl.config import Config
from queuectl.disk import Miss
from queuectl.errors import BadJobFile
from queuectl.spool import Claim, Spool

STALE_DRAFT_MS = 3_600_000


@dataclass(slots=True)
class Recovered:
    """What a recovery did: jobs whose attempt was lost, moves that it finished, files that it rejected."""

    lost: list[Claim] = field(default_factory=list)
    moved: int = 0
    rejected: list[tuple[str, str]] = field(default_factory=list)


def recover(spool: Spool, config: Config, control: Control, admission: Admission) -> Recovered:
    """Find every orphan in `processing/` and settle it."""
    done = Recovered()
    for name in spool.directory("processing").listing():
        if name.startswith("."):
            continue
        try:
            _recover(spool, name, config, control, done)
        except BadJobFile as error:
            report = admission.refuse_canonical("processing", name, error, clock.now())
            done.rejected += report.rejected
    return done


def _recover(spool: Spool, name: str, config: Config, control: Control, done: Recovered) -> None:
    """Settle one file, if it is an orphan; raises `BadJobFile` when nothing can be made of it."""
    claim = spool.take_orphan(name, limit=catalog.MAX_BYTES)
    if isinstance(claim, Miss):
        return
    running = names.running(claim.name)
    if running is None or claim.job.rev >= running.rev:
        spool.finish_move(claim)
        done.moved += 1
    else:
        _lose(spool, claim, running, config, control)
        done.lost.append(claim)


def _lose(spool: Spool, claim: Claim, running: names.RunningName, config: Config, control: Control) -> None:
    """Count the attempt of a worker that died, and send the job to its retry or to the dead."""
    found = claim.job
    log = spool.directory("logs").lstat(f"{found.id}.log")
    size = log.st_size if log and stat.S_ISREG(log.st_mode) else 0
    start = found.history[-1].log_end if found.history else 0
    found.rev = running.rev - 1
    outcome = Outcome(
        exit=attempt.LOST,
        error="worker lost",
        started=clock.unstamp(running.started),
        finished=clock.now(),
        log_start=min(start, size),
        log_end=size,
    )
    attempt.decide(found, outcome, config, worker="lost")
    attempt.settle(spool, claim, config, control)


def stale_drafts(spool: Spool, now: int) -> list[str]:
    """Return the names of drafts in `tmp/` that are an hour old and whose writer is dead."""
    directory = spool.directory("tmp")
    found = []
    for name in directory.listing():
        status = directory.lstat(name)
        if status is not None and stat.S_ISREG(status.st_mode):
            old = now - status.st_ctime_ns // 1_000_000 >= STALE_DRAFT_MS
            if old and not registry.is_alive(_writer(name)):
                found.append(name)
    return found


def sweep(spool: Spool, now: int) -> int:
    """Delete stale drafts; returns how many."""
    swept = 0
    for name in stale_drafts(spool, now):
        fd = spool.directory("tmp").lock(name)
        if not isinstance(fd, Miss):
            swept += spool.unlink("tmp", name)
            os.close(fd)
    return swept


def _writer(draft: str) -> int:
    """Return the pid in a draft's name, 0 when there is none."""
    parts = draft.split(".")
    return int(parts[1]) if len(parts) > 2 and parts[1].isascii() and parts[1].isdigit() and len(parts[1]) < 10 else 0
