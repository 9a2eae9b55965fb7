"""A check of the whole spool, beside working workers: each finding names a path, what it means and what to do.

What is in motion is no finding: whatever lies strangely is looked at again a moment later, and only what is still so
is told. Repairs do what a worker would do by itself, delete what only queuectl has written, and move the rest to
`rejected/`, each under the file's lock; what they bring to light is repaired too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from queuectl import clock, registry
from queuectl.checks import Case, Finding, jobs, leftovers, place, twins
from queuectl.errors import NotFound, QueuectlError, Refused
from queuectl.spool import Spool

__all__ = ["Finding", "diagnose", "examine"]

SETTLING_S = 0.2  # renames take milliseconds, also behind an fsync on a busy disk
ROUNDS = 3


def diagnose(path: str | os.PathLike[str], *, repair: bool) -> list[Finding]:
    """Check the spool at `path`, even one that cannot be opened; raises `NotFound` when nothing looks like one."""
    where = Path(os.path.abspath(path))
    try:
        spool = Spool(where)
    except NotFound:
        found = place.unmarked(where)
        if not found:
            raise
        return found
    except Refused as error:
        return [place.misunderstood(where, error)]
    return examine(spool, repair=repair)


def examine(spool: Spool, *, repair: bool) -> list[Finding]:
    """Check everything; with `repair`, mend what is safe. Repaired findings come first."""
    repaired: list[Finding] = []
    found = _look(spool)
    for _ in range(ROUNDS if repair else 0):
        mended = [case.finding for case in found if _mend(case)]
        if not mended:
            break
        repaired += [replace(finding, repaired=True) for finding in mended]
        found = _look(spool)  # a directory that is there again has files, a twin that is gone had a log
    if repair:
        registry.live(spool)  # which deletes the entries of processes that have ended, as every look at them does
    return repaired + [case.finding for case in found]


def _look(spool: Spool) -> list[Case]:
    around = list(place.look(spool))
    if any(case.finding.kind == "missing" for case in around):
        return around
    inside = list(_inside(spool))
    if inside:
        clock.sleep(SETTLING_S)
        before = {_key(case) for case in inside}
        inside = [case for case in _inside(spool) if _key(case) in before]
    return around + inside


def _inside(spool: Spool) -> Iterator[Case]:
    now = clock.now()
    yield from twins.look(spool)  # first, so that no orphan is settled while it has a second name
    yield from jobs.look(spool, now)
    yield from leftovers.look(spool, now)


def _key(case: Case) -> tuple[str, str]:
    return case.finding.kind, case.finding.path


def _mend(case: Case) -> bool:
    try:
        return case.mend is not None and case.mend()
    except (OSError, QueuectlError):
        return False  # it stays a finding; what keeps us from mending it is one too
