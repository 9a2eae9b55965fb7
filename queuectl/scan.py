"""One look at what waits: which jobs are ready, which drops want admission, when the next job is due.

Reads names only. A scan may pass a million, so names are tested by their shape, in bulk, and exactly where it matters:
one that only looks like a waiting job's is a drop, or none of our business. Reading a directory gives no snapshot of
it, so what arrives meanwhile is confirmed by a second reading before it may overtake anything.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from queuectl import clock, names, schedule
from queuectl.job import State
from queuectl.spool import WAITING, Spool

CHUNK = 2_048  # names; more of them at once leave the processor's caches
TICK_NS = 10_000_000  # the longest tick of a kernel's clock: two changes in one may leave the same time
MOST_READINGS = 4


@dataclass(slots=True)
class Look:
    """What a scan saw: candidates in the order of claiming, drops by name, the instant when the next job is due.

    `late` are the drops that may have come after others that were not seen.
    """

    candidates: list[schedule.Candidate] = field(default_factory=list)
    drops: list[str] = field(default_factory=list)
    soonest: int | None = None
    late: frozenset[str] = frozenset()


def look(spool: Spool, now: int, limit: int, most: int = 0, known: Collection[str] = ()) -> Look:
    """Scan `pending/` and `failed/`; keeps the first `limit` candidates, or all when there are no more than `most`.

    `known` are names that an earlier look has seen: they have not come during this one.

    # RACE: names come while a directory is read, and a late one may be seen where an earlier one is not. Everything
    # that came before the end of one reading is seen by the next: so the second is taken as far as the first goes.
    # When nothing that the first one saw came during it, whatever it did not see came later.
    """
    pending = spool.directories[State.PENDING]
    before = Look()
    for _ in range(MOST_READINGS):
        changed = pending.changed_ns()
        seen = _read(spool, now, limit, most)
        since = now * 1_000_000 - TICK_NS
        if pending.changed_ns() == changed < since or not _has_come(spool, seen, since, known):
            return seen
        if before.candidates or before.drops:
            return _confirmed(seen, before)
        before = seen
    return seen


def _has_come(spool: Spool, seen: Look, since: int, known: Collection[str]) -> bool:
    """Say whether anything that was seen got its name after an instant: a rename or a link is a change of the inode."""
    places = [(found.place, found.name) for found in seen.candidates if found.name not in known]
    for place, name in (*places, *((State.PENDING, name) for name in seen.drops)):
        status = spool.directories[place].lstat(name)
        if status is not None and status.st_ctime_ns >= since:
            return True
    return False


def _confirmed(seen: Look, before: Look) -> Look:
    """Return what of a second reading cannot have overtaken anything that it did not see."""
    last = {found.urgency: found for found in before.candidates}
    sure = [found for found in seen.candidates if found.urgency in last and found <= last[found.urgency]]
    late = frozenset(seen.drops).difference(before.drops)
    if not sure and len(late) == len(seen.drops):
        return seen  # others have taken all that was there before
    return Look(sure, seen.drops, seen.soonest, late)


def _read(spool: Spool, now: int, limit: int, most: int) -> Look:
    """Read both directories once."""
    present = clock.stamp(now) + "/"  # sorts after every name that begins with this stamp and its dot
    seen = Look()
    found: list[schedule.Candidate] = []
    soonest: list[str] = []
    whole = True
    for state in WAITING:
        ready, others = schedule.Shortlist(limit, most), list[str]()
        for chunk in spool.directories[state].chunks(CHUNK):
            _sort_out(chunk, present, ready, soonest, others)
        whole = whole and ready.whole
        first = ready.names()
        exact = [name for name in first if names.is_waiting(name)]
        if len(exact) < len(first):
            others += [name for name in first if not names.is_waiting(name)]
        found += schedule.candidates(str(state), exact)
        if state is State.PENDING:
            seen.drops += [name for name in others if names.is_drop(name)]
    seen.candidates = schedule.first(found, max(limit, most) if whole else limit)
    seen.soonest = clock.unstamp(soonest[0]) if soonest else None
    return seen


def _sort_out(chunk: list[str], present: str, ready: schedule.Shortlist, soonest: list[str], others: list[str]) -> None:
    """Sort names out by their shape: those that are due, the one that is due next, and the others."""
    if max(chunk, default=present) < present and (priority := names.common_priority(chunk)):
        ready.add_alike(chunk, priority)
        return
    if names.are_ours(chunk):
        ready.add([name for name in chunk if name < present])
        following = min([name for name in chunk if name >= present], default="")
        if following:
            soonest[:] = [min([following, *soonest])]
        return
    due = [name for name in chunk if name < present and name[18:20] == "Z."]
    ready.add(due)
    if len(due) == len(chunk):
        return
    later = [name for name in chunk if name >= present and name[18:20] == "Z."]
    if len(due) + len(later) < len(chunk):
        others += [name for name in chunk if name[18:20] != "Z."]
    exact = list(filter(names.is_waiting, later))  # a drop must not wait for the time that its name seems to say
    if len(exact) < len(later):
        others += [name for name in later if not names.is_waiting(name)]
    if exact:
        soonest[:] = [min([min(exact), *soonest])]
