"""What the workers of one supervisor have done and what is left to do: counted, and shown as a bar in a drain."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass

from queuectl import clock, names
from queuectl.job import State
from queuectl.spool import Spool

SHOW_S = 0.1


@dataclass(slots=True)
class Totals:
    """What all workers together have done: attempts by what became of the job."""

    completed: int = 0
    failed: int = 0
    dead: int = 0

    def add(self, words: str) -> None:
        """Add what one worker has done since the last time, `<completed> <failed> <dead>`."""
        completed, failed, dead = map(int, words.split())
        self.completed += completed
        self.failed += failed
        self.dead += dead


class Bar:
    """A bar that `show(done, of)` draws, brought up to date ten times a second."""

    def __init__(self, show: Callable[[int, int], None], total: int) -> None:
        self._show, self._total = show, total
        self._next = 0.0

    def sleep_s(self) -> float:
        """Return for how many seconds it need not be drawn."""
        return self._next - clock.monotonic()

    def update(self, totals: Totals) -> None:
        """Draw it, if it is time."""
        if self.sleep_s() <= 0:
            self._next = clock.monotonic() + SHOW_S
            done = totals.completed + totals.dead
            self._show(done, max(self._total, done))


def unfinished(spool: Spool, now: int | None = None) -> int:
    """Count the jobs that have not ended.

    With `now`, what has been due by then is asked whether it is a file at all: after a drain that is little.
    """
    present = "" if now is None else clock.stamp(now)
    return sum(
        _is_job(spool, state, name, present)
        for state in (State.PENDING, State.FAILED, State.PROCESSING)
        for name in spool.directories[state].names()
    )


def _is_job(spool: Spool, state: State, name: str, present: str) -> bool:
    """Say whether a name is a job's or a drop's; only a drop's and those before `present` are asked what they are."""
    known = names.is_waiting(name) or names.running(name)
    if known and name >= present:
        return True
    if not known and not names.is_drop(name):
        return False
    status = spool.directories[state].lstat(name)
    return status is not None and stat.S_ISREG(status.st_mode)
