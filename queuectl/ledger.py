"""How long jobs took, learnt from their files a few at a time: averages and a histogram without reading every file.

A file that has been read is remembered by its name, which changes with each decision. The newest are read first, so
that of a million old jobs the latest are known at once and the rest little by little. Reads only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from queuectl import catalog, clock
from queuectl.errors import UsageError
from queuectl.job import Job, State
from queuectl.tree import Tree

COUNTED = (State.COMPLETED, State.FAILED, State.DEAD)
BUCKETS_S = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)


class Histogram:
    """Durations ever seen: how many up to each bound of `BUCKETS_S`, how many in all, their sum."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.total_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.total_s += seconds


class Ledger:
    """What the last run of each ended or failed job took, as far as it has been read."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._took: dict[State, dict[str, float]] = {state: {} for state in COUNTED}
        self._sums = dict.fromkeys(COUNTED, 0.0)
        self._unread: dict[State, list[str]] = {state: [] for state in COUNTED}
        self.histograms = {State.COMPLETED: Histogram(), State.DEAD: Histogram()}

    def arrived(self, state: State, new: Iterable[str]) -> None:
        """Take note of names, in their order, that are to be read."""
        if state in self._unread:
            self._unread[state] += new

    def departed(self, state: State, gone: Iterable[str]) -> None:
        """Forget names that are there no more."""
        took = self._took.get(state)
        for name in gone if took else ():
            seconds = took.pop(name, None) if took else None
            if seconds is not None:
                self._sums[state] -= seconds

    def read(self, most: int, seconds: float) -> int:
        """Read at most so many files for at most so long, the newest first; returns how many."""
        deadline = clock.monotonic() + seconds
        done = 0
        for state in COUNTED:
            waiting = self._unread[state]
            while waiting and done < most and clock.monotonic() < deadline:
                self._enter(state, waiting.pop())
                done += 1
        return done

    def _enter(self, state: State, name: str) -> None:
        found = catalog.load(self._tree, state, name)
        seconds = took(found) if found else None
        if seconds is None:
            return
        self._took[state][name] = seconds
        self._sums[state] += seconds
        if state in self.histograms:
            self.histograms[state].add(seconds)

    def average(self, state: State) -> float | None:
        """Return the mean of what is known of a state, in seconds; None when nothing is."""
        known = self._took.get(state)
        return max(self._sums[state], 0.0) / len(known) if known else None

    def unread(self) -> int:
        """Return how many files are still to be read."""
        return sum(map(len, self._unread.values()))


def took(found: Job) -> float | None:
    """Return how long the last run of a job took, in seconds; None when it has not run."""
    if not found.history:
        return None
    last = found.history[-1]
    try:
        return max(clock.uniso(last.finished_at) - clock.uniso(last.started_at), 0) / 1000
    except UsageError:  # somebody else wrote it: nothing checks the times of a history
        return None
