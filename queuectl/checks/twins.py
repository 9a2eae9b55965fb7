"""Two files that claim one id: which of them is the job, and what becomes of the other.

One file of two names, as a power cut may leave it (seen on btrfs), loses one of them. Of two files the one with the
higher revision stays and the other goes to `rejected/`. A job that moves meanwhile is not two.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from queuectl import catalog, clock, disk, job, names
from queuectl.checks import Case, Finding
from queuectl.disk import Miss
from queuectl.errors import BadJobFile
from queuectl.job import State
from queuectl.spool import READ_ORDER, Spool, read_name

Spot = tuple[State, str]
REASON = "the same job in two places; the other file is newer, or has come further"


def look(spool: Spool) -> Iterator[Case]:
    """Find ids that two files claim."""
    first: dict[str, Spot] = {}
    for state in READ_ORDER:
        for name in sorted(spool.directories[state].listing()):
            if read_name(state, name) is None:
                continue
            id, spot = names.id_part(name), (state, name)
            known = first.setdefault(id, spot)
            if known == spot:
                continue
            if _both_there(spool, known, spot):
                yield _case(spool, known, spot)
            else:
                first[id] = spot


def _both_there(spool: Spool, one: Spot, other: Spot) -> bool:
    # RACE: a job that moves from the first to the second between two looks is seen in neither of three.
    return all(spool.directories[state].lstat(name) is not None for state, name in (one, other, one))


def _case(spool: Spool, one: Spot, other: Spot) -> Case:
    path = str(spool.path / other[0] / other[1])
    linked = spool.directories[one[0]].lstat(one[1]), spool.directories[other[0]].lstat(other[1])
    same = linked[0] is not None and linked[1] is not None and os.path.samestat(linked[0], linked[1])
    meaning = f"the same {'file' if same else 'id'} as {spool.path / one[0] / one[1]}"
    remedy = "move one of them away; --repair keeps the newer, and what runs"
    return Case(Finding("twins", path, meaning, remedy), lambda: _part(spool, one, other))


@dataclass(frozen=True, slots=True, order=True)
class _Rank:
    """What speaks for a file: the higher rank is the job."""

    readable: bool
    rev: int
    claimed: bool
    agrees: bool
    progress: int


def _part(spool: Spool, one: Spot, other: Spot) -> bool:
    """Make one job of two names, under the locks of both."""
    held: list[int] = []
    try:
        for state, name in (one, other):
            fd = spool.directories[state].lock(name)
            if isinstance(fd, Miss):
                if not (held and _same(spool, held[0], (state, name))):  # one file is locked once
                    return False
            else:
                held.append(fd)
        state, name = min((one, other), key=lambda spot: _rank(spool, spot))
        if len(held) == 1:
            return spool.unlink(state, name)
        return spool.reject(state, name, REASON, now=clock.now()) is not None
    finally:
        for fd in held:
            os.close(fd)


def _same(spool: Spool, held: int, spot: Spot) -> bool:
    return disk.means(spool.directories[spot[0]].lstat(spot[1]), os.fstat(held))


def _rank(spool: Spool, spot: Spot) -> _Rank:
    state, name = spot
    claimed, progress = state is State.PROCESSING, READ_ORDER.index(state)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=spool.directories[state].fd)
        try:
            found = job.parse(disk.read(fd, catalog.MAX_BYTES))
        finally:
            os.close(fd)
    except (BadJobFile, OSError):
        return _Rank(False, -1, claimed, False, progress)
    return _Rank(True, found.rev, claimed, found.state is state, progress)
