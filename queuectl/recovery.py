"""What a crash left behind: orphans in `processing/`, unfinished moves, drafts that nobody writes any more.

An orphan is a file whose lock nobody holds: its worker is dead and its command has ended. It is found by that alone,
never by time, and nothing is killed. The revision decides: equal to the name's, the attempt is decided and only the
move is missing; lower, the attempt is lost and counts.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from queuectl import catalog, clock, disk, names, registry, settling
from queuectl.admission import Admission
from queuectl.config import Config
from queuectl.disk import Miss
from queuectl.errors import BadJobFile
from queuectl.executors import LOST
from queuectl.job import State
from queuectl.settling import Control, Outcome
from queuectl.spool import READ_ORDER, Claim, Spool, read_name

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
    for name in spool.directories["processing"].listing():
        if name.startswith("."):
            continue
        try:
            recover_one(spool, name, config, control, done)
        except BadJobFile as error:
            report = admission.refuse_canonical("processing", name, error, clock.now())
            done.rejected += report.rejected
    return done


def recover_one(spool: Spool, name: str, config: Config, control: Control, done: Recovered) -> None:
    """Settle one file of `processing/`, if it is an orphan; raises `BadJobFile` when nothing can be made of it."""
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
    log = spool.directories["logs"].lstat(f"{found.id}.log")
    size = log.st_size if log and stat.S_ISREG(log.st_mode) else 0
    start = found.history[-1].log_end if found.history else 0
    found.rev = running.rev - 1
    outcome = Outcome(
        exit=LOST,
        error="worker lost",
        started=clock.unstamp(running.started),
        finished=clock.now(),
        log_start=min(start, size),
        log_end=size,
    )
    settling.decide(found, outcome, config, worker="lost")
    settling.settle(spool, claim, config, control)


def stale_drafts(spool: Spool, now: int) -> list[str]:
    """Return the names of drafts in `tmp/` that are an hour old and whose writer is dead."""
    directory = spool.directories["tmp"]
    found = []
    for name in directory.listing():
        status = directory.lstat(name)
        if status is not None and stat.S_ISREG(status.st_mode):
            old = now - status.st_ctime_ns // 1_000_000 >= STALE_DRAFT_MS
            if old and not registry.is_alive(writer(name)):
                found.append(name)
    return found


def sweep(spool: Spool, now: int) -> int:
    """Delete stale drafts; returns how many."""
    swept = 0
    for name in stale_drafts(spool, now):
        fd = spool.directories["tmp"].lock(name)
        if not isinstance(fd, Miss):
            swept += spool.unlink("tmp", name)
            os.close(fd)
    return swept


def writer(draft: str) -> int:
    """Return the pid in a draft's name, 0 when there is none."""
    parts = draft.split(".")
    return int(parts[1]) if len(parts) > 2 and parts[1].isascii() and parts[1].isdigit() and len(parts[1]) < 10 else 0


def settle_twins(spool: Spool, now: int) -> int:
    """Make one of each job that is in `processing/` and elsewhere too, before any worker starts; returns how many.

    A power cut may leave both names of a rename (seen on btrfs). Of one file the name in `processing/` stays; of two
    files the one with the higher revision, and the other goes to `rejected/`.
    """
    settled = 0
    suspects = {names.id_part(name): name for name in spool.directories["processing"].listing() if names.running(name)}
    for state, twin, name in list(_twins(spool, suspects)):
        settled += _settle_twin(spool, state, twin, name, now)
    return settled


def _twins(spool: Spool, suspects: dict[str, str]) -> Iterator[tuple[State, str, str]]:
    """Yield the state and the name of each twin, and the name in `processing/`, by id and by inode."""
    if not suspects:
        return
    stats = {name: spool.directories["processing"].lstat(name) for name in suspects.values()}
    linked = {status.st_ino: name for name, status in stats.items() if status and status.st_nlink > 1}
    for state in READ_ORDER:
        directory = spool.directories[state]
        for twin in directory.listing():
            status = directory.lstat(twin) if linked else None
            name = linked.get(status.st_ino) if status else None
            if name is None and read_name(state, twin):
                name = suspects.get(names.id_part(twin))
            if name is not None and (state, twin) != (State.PROCESSING, name):
                yield state, twin, name


def _settle_twin(spool: Spool, state: State, twin: str, name: str, now: int) -> bool:
    running = spool.directories["processing"].lock(name)
    if isinstance(running, Miss):
        return False  # it runs, or has been settled
    other = -1
    try:
        found = spool.directories[state].lstat(twin)
        if disk.means(found, os.fstat(running)):
            gone = spool.unlink(state, twin)
            spool.directories[state].sync()  # or it could come back beside the name that recovery gives the job
            return gone
        locked = spool.directories[state].lock(twin)
        if isinstance(locked, Miss):
            return False
        other = locked
        mine, theirs = catalog.load(spool, State.PROCESSING, name), catalog.load(spool, state, twin)
        keep = mine is not None and (theirs is None or mine.rev >= theirs.rev)
        place, loser = (state.value, twin) if keep else ("processing", name)
        return spool.reject(place, loser, "the same job in two places; the other file is newer", now=now) is not None
    finally:
        os.close(running)
        if other >= 0:
            os.close(other)
