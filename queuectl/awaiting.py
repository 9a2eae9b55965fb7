"""Waiting for jobs to end and following what they print: by notification, with a scan beside it as the truth.

Reads only. Without notification it looks every fifth of a second, and never spends more than a few percent on looking.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from queuectl import catalog, clock, names
from queuectl.errors import NotFound, TimedOut
from queuectl.job import State
from queuectl.spool import Spool
from queuectl.wakeup import Watch, WatchUnavailable

ENDED = (State.COMPLETED, State.DEAD)
UNFINISHED = (State.PENDING, State.FAILED, State.PROCESSING)
RESCAN_S = 5.0
BLIND_S = 0.2
LOOK_COSTS = 30
FOLLOW_S = 0.1


def unfinished(spool: Spool) -> set[str]:
    """Return the ids of all jobs that have not ended."""
    found: set[str] = set()
    for state in (*UNFINISHED, State.FAILED, State.PENDING):
        found.update(names.id_part(name) for name in catalog.entries(spool, state))
    return found


def wait(
    spool: Spool, ids: Collection[str], timeout: float | None, progress: Callable[[int, int], None] | None
) -> None:
    """Return when all these jobs have ended; raises `TimedOut`, or `NotFound` when one has been removed."""
    deadline = None if timeout is None else clock.monotonic() + timeout
    left = set(ids)
    _strike_ended(spool, left)
    watch = Watch()
    try:
        blind = bool(left) and not _arm(watch, spool)
        rescan_at, total = 0.0, len(left)
        while left:
            if progress:
                progress(len(ids) - len(left), len(ids))
            now = clock.monotonic()
            if now >= rescan_at:
                _strike_ended(spool, left)
                _check_there(spool, left)
                cost = clock.monotonic() - now
                rescan_at = clock.monotonic() + max(BLIND_S if blind else RESCAN_S, LOOK_COSTS * cost)
                continue
            if deadline is not None and now >= deadline:
                raise TimedOut(f"still waiting for {len(left)} of {total} after {clock.brief(timeout or 0)}")
            until = rescan_at if deadline is None else min(rescan_at, deadline)
            for _, name in watch.wait(until - now):
                if names.ended(name):
                    left.discard(names.id_part(name))
        if progress:
            progress(len(ids), len(ids))
    finally:
        watch.close()


def _arm(watch: Watch, spool: Spool) -> bool:
    try:
        watch.arm({state.value: str(spool.path / state) for state in ENDED})
    except WatchUnavailable:
        return False
    return True


def _strike_ended(spool: Spool, left: set[str]) -> None:
    for state in ENDED:
        if left:
            for name in spool.directories[state].names():
                left.discard(names.id_part(name))


def _check_there(spool: Spool, left: set[str]) -> None:
    """Raise `NotFound` for a job that is in no directory any more."""
    if not left:
        return
    gone = left - unfinished(spool)
    if gone:
        _strike_ended(spool, gone)
    if gone:
        raise NotFound(f"{min(gone)}: removed while it was waited for")


def follow(spool: Spool, id: str) -> Iterator[bytes]:
    """Yield what a job prints, from its beginning, as it comes, until the job has ended; a retry does not end it."""
    watch = Watch()
    offset = 0
    try:
        blind = not _arm(watch, spool)
        rescan_at, ended = 0.0, False
        while True:
            for data in catalog.read_log(spool, id, offset):
                offset += len(data)
                yield data
            if ended:
                return
            now = clock.monotonic()
            if now >= rescan_at:
                ended = _has_ended(spool, id)
                cost = clock.monotonic() - now
                rescan_at = clock.monotonic() + max(BLIND_S if blind else RESCAN_S, LOOK_COSTS * cost)
            else:
                ended = any(names.id_part(name) == id for _, name in watch.wait(FOLLOW_S))
    finally:
        watch.close()


def _has_ended(spool: Spool, id: str) -> bool:
    left = {id}
    _strike_ended(spool, left)
    if left and id not in unfinished(spool):
        _strike_ended(spool, left)
        return True  # ended, or removed: nothing more will come
    return not left
