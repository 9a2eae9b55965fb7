"""What an operator does to jobs: retry, cancel, remove, purge. Each is a small worker: lock, claim, decide, move.

A job that a worker runs is never touched; to cancel one, its worker is asked. Losing a race is tried again for a
moment, since jobs only pass through other hands for milliseconds unless they run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

from queuectl import catalog, clock, names, registry
from queuectl.disk import Miss
from queuectl.errors import Conflict, Refused
from queuectl.job import Job, State
from queuectl.spool import Claim, Spool

PATIENCE_S = 5.0
PAUSE_S = 0.05
CANCELLED = "cancelled"


class Spots:
    """Where jobs were last seen, so that changing many jobs does not scan the spool for each; a spot is used once."""

    def __init__(self, spool: Spool, *, prefixes: bool = True) -> None:
        self._spool, self._prefixes = spool, prefixes
        self._seen: dict[str, tuple[State, str]] = {}

    def learn(self, found: Iterable[tuple[State, str]]) -> None:
        """Remember where jobs are."""
        self._seen.update((names.id_part(name), (state, name)) for state, name in found)

    def find(self, prefix: str) -> tuple[State, str]:
        """Return the state and the name of a job; raises `NotFound` or `AmbiguousId`."""
        state, name = self._seen.pop(prefix, (State.PENDING, ""))
        if name and self._spool.directories[state].lstat(name) is not None:
            return state, name
        return catalog.find(self._spool, [prefix], prefixes=self._prefixes)[prefix]


def retry(spool: Spool, spots: Spots, prefix: str, *, only: State | None = None) -> Job:
    """Put a job that has ended, or waits for a retry, back into `pending/` with its attempts at 0, due now."""

    def change(found: Job, now: int) -> None:
        found.attempts = 0
        found.due_at = clock.iso(now)
        found.exit = found.exit_code = found.last_error = None  # the history keeps them

    allowed = (only,) if only else (State.DEAD, State.COMPLETED, State.FAILED)
    return _change(spool, spots, prefix, allowed, State.PENDING, change, "retried")


def cancel(spool: Spool, spots: Spots, prefix: str) -> Job:
    """Withdraw a waiting job, or have a running one ended; it goes to `dead/` as cancelled."""

    def change(found: Job, _now: int) -> None:
        found.exit, found.exit_code, found.last_error = CANCELLED, None, CANCELLED

    asked = ""
    try:
        while True:
            state, name = spots.find(prefix)
            id = names.id_part(name)
            if state in (State.COMPLETED, State.DEAD) and asked:
                return _ended(spool, state, name)
            if state is not State.PROCESSING:
                with contextlib.suppress(_Moved):
                    return _change(spool, spots, id, (State.PENDING, State.FAILED), State.DEAD, change, "cancelled")
            elif not any(info.role == registry.WORKER for info in registry.live(spool)):
                # RACE: the worker may have settled it and ended since we looked.
                if spots.find(id)[0] is State.PROCESSING:
                    hint = "the next worker settles it, once its command has ended"
                    raise Conflict(f"{id}: its worker is gone", hint=hint)
                continue
            else:
                spool.request_cancel(id)
                asked = id
            clock.sleep(PAUSE_S)
    finally:
        if asked:
            spool.unlink("cancel", asked)


class _Moved(Conflict):
    """The job has begun to run meanwhile."""


def _ended(spool: Spool, state: State, name: str) -> Job:
    found = catalog.load(spool, state, name)
    if found is None or found.exit != CANCELLED:
        raise Conflict(f"{names.id_part(name)}: {state} before it could be cancelled")
    return found


def _change(
    spool: Spool,
    spots: Spots,
    prefix: str,
    allowed: Iterable[State],
    target: State,
    change: Callable[[Job, int], None],
    verb: str,
) -> Job:
    """Claim a job in one of the allowed states, change it, and settle it in the target state."""
    claim, state, name = _claim(spool, spots, prefix, tuple(allowed), verb)
    now = clock.now()
    found = claim.job
    change(found, now)
    found.rev += 1
    found.state = target
    found.updated_at = clock.iso(now)
    try:
        spool.settle(claim, now=now, durable=True)
    except BaseException:
        spool.unclaim(claim, state, name)  # or it would be taken for an attempt that was lost, or stay locked
        raise
    return found


def _claim(spool: Spool, spots: Spots, prefix: str, allowed: tuple[State, ...], verb: str) -> tuple[Claim, State, str]:
    """Claim a job; returns the state and the name that it had, too."""
    deadline = clock.monotonic() + PATIENCE_S
    while True:
        state, name = spots.find(prefix)
        id = names.id_part(name)
        if state not in allowed:
            kind = _Moved if state is State.PROCESSING else Conflict
            raise kind(f"{id}: is {state}, so it cannot be {verb}", hint=_hint(state))
        claim = spool.claim(state, name, now=clock.now(), limit=catalog.MAX_BYTES, durable=True)
        if isinstance(claim, Claim):
            return claim, state, name
        if claim is Miss.SPECIAL or clock.monotonic() > deadline:
            raise Conflict(f"{id}: held by another process, so it cannot be {verb}")
        clock.sleep(PAUSE_S)


def _hint(state: State) -> str | None:
    if state is State.PROCESSING:
        return "wait for it to end, or cancel it"
    return "it waits already" if state is State.PENDING else None


def remove(spool: Spool, spots: Spots, prefix: str) -> Job:
    """Delete a job that is not running, with its log; returns what it was."""
    state, name = spots.find(prefix)
    id = names.id_part(name)
    if state is State.PROCESSING:
        raise Conflict(f"{id}: is processing, so it cannot be removed", hint=f"queuectl cancel {id}, then remove it")
    found = catalog.load(spool, state, name)
    if found is None and spool.directories[state].lstat(name) is not None:
        raise Refused(f"{spool.path / state / name}: not readable as a job", hint="queuectl doctor")
    if found is None or not spool.remove(state, name):
        raise Conflict(f"{id}: taken by another process meanwhile", hint="try again")
    return found
