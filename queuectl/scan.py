"""One look at what waits: which jobs are ready, which drops want admission, when the next job is due.

Reads names only, and each exactly: one that only looks like a waiting job's is a drop, or none of our business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from queuectl import clock, names, schedule
from queuectl.job import State
from queuectl.spool import WAITING, Spool


@dataclass(slots=True)
class Look:
    """What a scan saw: candidates in the order of claiming, drops by name, the instant when the next job is due."""

    candidates: list[schedule.Candidate]
    drops: list[str]
    soonest: int | None


def look(spool: Spool, now: int, limit: int) -> Look:
    """Scan `pending/` and `failed/`; keeps the first `limit` candidates."""
    present = clock.stamp(now) + "/"  # sorts after every name that begins with this stamp and its dot
    seen = Look([], [], None)
    later: list[str] = []
    seen.candidates = schedule.first(_ready(spool, present, seen.drops, later), limit)
    if later:
        seen.soonest = clock.unstamp(later[0])
    return seen


def _ready(spool: Spool, present: str, drops: list[str], later: list[str]) -> Iterator[schedule.Candidate]:
    """Yield what is due; collect drops, and in `later` the one earliest name that is not due."""
    soonest = "9"
    urgency = schedule.URGENCY
    for state in WAITING:
        place = state.value
        for name in spool.directory(place).names():
            if names.is_waiting(name):
                if name < present:
                    yield schedule.Candidate(urgency[name[20]], name, place)
                elif name < soonest:
                    soonest = name
            elif state is State.PENDING and names.is_drop(name):
                drops.append(name)
    if soonest != "9":
        later.append(soonest)
