"""An overview that lives as long as somebody looks: counts, times, workers and pages of jobs, cheap to ask again.

It keeps the names of the states between looks, so that a look costs little where little has changed, and hears of
arrivals in large directories by notification. One lock makes it safe for threads. Reads only.
"""

from __future__ import annotations

import itertools
import os
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from threading import RLock

from queuectl import catalog, clock, names, registry
from queuectl.job import Job, State
from queuectl.ledger import BUCKETS_S, Histogram, Ledger
from queuectl.listing import SHOWN_ORDER, Filter, Listing, Page, Place
from queuectl.registry import WorkerInfo
from queuectl.roster import Roster, has_stamp
from queuectl.spool import READ_ORDER, Spool, read_name
from queuectl.wakeup import Watch, WatchUnavailable

__all__ = ["BUCKETS_S", "SHOWN_ORDER", "Filter", "Histogram", "Overview", "Page", "Place", "Snapshot", "is_place"]

MINUTES = 60
WATCHED = (State.PENDING, State.FAILED, State.COMPLETED, State.DEAD)
_ENDED_AT = names.STAMP_LENGTH + 1  # where a name of an ended job says how it ended
CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The queue at one moment; instants in milliseconds since the epoch, None where there is none.

    `version` changes with every change of any directory. `finished` and `failed` count the jobs that ended in each of
    the last sixty minutes, from the minute `since`; the last one is still going on.
    """

    at: int
    version: int
    counts: dict[State, int]
    rejected: int
    paused: bool
    workers: list[WorkerInfo]
    running: dict[str, str]
    oldest_pending_at: int | None
    next_run_at: int | None
    next_retry_at: int | None
    retries_due: int
    since: int
    finished: list[int]
    failed: list[int]
    averages: dict[State, float | None]
    unread: int


@dataclass(slots=True)
class Totals:
    """What has been seen to end since this overview began, what was there at its beginning included."""

    finished: int = 0
    failed: Counter[str] = field(default_factory=Counter)


class Overview:
    """Keeps an eye on one spool."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the spool at `path`; raises as `Queue` does."""
        self.totals = Totals()
        self._path, self._lock = path, RLock()
        self._watch: Watch | None = None
        self._deaf = False
        self._shown = False
        self._past = clock.now()  # so that a version never stands for what another overview, before a restart, has seen
        self._open()

    def _open(self) -> None:
        self._spool = Spool(self._path)
        self._rosters = {state: Roster(self._spool, state) for state in READ_ORDER}
        self._ledger = Ledger(self._spool)
        self._listing = Listing(self._spool, self._rosters)

    def close(self) -> None:
        """End the watch and give the descriptors back."""
        with self._lock:
            self._forget_watch()
            self._spool.close()

    def _forget_watch(self) -> None:
        if self._watch:
            self._watch.close()
        self._watch = None

    # Looking.

    def hurry(self, *states: State) -> None:
        """Make the next look at these states (none: at all) a thorough one: somebody has just changed something."""
        with self._lock:
            for state in states or READ_ORDER:
                self._rosters[state].hurry()

    def look(self) -> None:
        """Take in what has changed. Raises `NotFound` when the spool has gone."""
        with self._lock:
            if not self._spool.still_there():  # moved away, or made anew
                self._forget_watch()
                self._past = self._version() + 1
                self._open()
            self._hear()
            for state, roster in self._rosters.items():
                change = roster.refresh()
                if change:
                    self._enter(state, *change)

    def _version(self) -> int:
        return self._past + sum(roster.version for roster in self._rosters.values())

    def _enter(self, state: State, new: list[str], gone: set[str]) -> None:
        self._ledger.arrived(state, new)
        self._ledger.departed(state, gone)
        if state is State.COMPLETED:
            self.totals.finished += len(new)
        elif state is State.DEAD:
            self.totals.failed.update(ended.exit for ended in map(names.ended, new) if ended)

    def _hear(self) -> None:
        """Take in arrivals in directories that are too large to be read for every look.

        Not before something has been shown: somebody waits for that, and to arm the watch takes a tenth of a second.
        """
        if not any(self._rosters[state].large for state in WATCHED) or self._deaf or not self._shown:
            return
        if self._watch is None:
            self._watch = Watch()
            try:
                self._watch.arm({state.value: str(self._spool.path / state) for state in WATCHED})
            except WatchUnavailable:  # then counts of large directories are some seconds old
                self._deaf = True
                self._forget_watch()
                return
            for state in WATCHED:  # what came before the watch stood was told by nobody
                self._rosters[state].hurry()
        for tag, name in self._watch.read():
            if names.is_drop(name):
                state = State(tag)
                there = self._rosters[state].told(name)
                if there is not None:
                    self._enter(state, [name] if there else [], set() if there else {name})

    # What there is.

    def snapshot(self, *, read: int = 1000, read_s: float = 0.05) -> Snapshot:
        """Return the queue as it is now, after reading at most so many job files for the averages, for so long."""
        with self._lock:
            self.look()
            self._ledger.read(read, read_s)
            now = clock.now()
            live = registry.live(self._spool)
            since, finished, failed = self._rates(now)
            oldest, next_run, _ = self._due(State.PENDING, now)
            oldest_retry, next_retry, due = self._due(State.FAILED, now)
            self._shown = True
            return Snapshot(
                at=now,
                version=self._version(),
                counts={state: len(self._rosters[state]) for state in State},
                rejected=catalog.rejected(self._spool),
                paused=self._spool.paused(),
                workers=[info for info in live if info.role == registry.WORKER],
                running=self._running(live),
                oldest_pending_at=oldest,
                next_run_at=next_run,
                next_retry_at=oldest_retry or next_retry,
                retries_due=due,
                since=since,
                finished=finished,
                failed=failed,
                averages={state: self._ledger.average(state) for state in State},
                unread=self._ledger.unread(),
            )

    def _running(self, live: list[WorkerInfo]) -> dict[str, str]:
        return registry.running(self._spool, self._rosters[State.PROCESSING].ordered, live)

    def _due(self, state: State, now: int) -> tuple[int | None, int | None, int]:
        """Return when the first ready job was due and the next other one is, and how many are ready."""
        ordered = self._rosters[state].ordered
        at = bisect_left(ordered, clock.stamp(now) + "/")
        first = clock.unstamp(ordered[0]) if at and read_name(state, ordered[0]) else None
        later = clock.unstamp(ordered[at]) if at < len(ordered) and read_name(state, ordered[at]) else None
        return first, later, at

    def _rates(self, now: int) -> tuple[int, list[int], list[int]]:
        since = (now // 60_000 - MINUTES + 1) * 60_000
        edges = [clock.stamp(since + minute * 60_000) for minute in range(MINUTES + 1)]
        completed, dead = self._rosters[State.COMPLETED].ordered, self._rosters[State.DEAD].ordered
        at = [bisect_left(completed, edge) for edge in edges]
        finished = [after - before for before, after in itertools.pairwise(at)]
        at = [bisect_left(dead, edge) for edge in edges]
        failed = [
            sum(not name.startswith(CANCELLED, _ENDED_AT) for name in dead[before:after])
            for before, after in itertools.pairwise(at)
        ]
        return since, finished, failed

    def histograms(self) -> dict[State, Histogram]:
        """Return how long the runs of ended jobs took, as far as their files have been read."""
        return self._ledger.histograms

    # Pages and places.

    def page(self, wanted: Filter, sort: str, after: Place | None, limit: int) -> Page:
        """Return at most `limit` jobs in an order, after a place; may end early and say where to go on."""
        with self._lock:
            self.look()
            self._shown = True
            running = self._running(registry.live(self._spool)) if State.PROCESSING in wanted.states else {}
            found = self._listing.page(wanted, sort, after, limit, running)
            found.version = self._version()
            return found

    def ids(self, wanted: Filter, after: Place | None, limit: int) -> tuple[list[str], Place | None]:
        """Return at most `limit` ids by names alone, the latest first, and where to go on."""
        found: list[str] = []
        with self._lock:
            self.look()
            last = after
            for place in self._listing.places(wanted.states, "-when", after):
                if len(found) == limit:
                    return found, last
                last = place
                found.append(names.id_part(place[1]))
        return found, None

    def count(self, wanted: Filter) -> int:
        """Return how many jobs a filter by state means."""
        with self._lock:
            return sum(len(self._rosters[state]) for state in wanted.states)

    def load(self, place: Place) -> Job | None:
        """Read one job; None when it has moved meanwhile or cannot be read."""
        with self._lock:
            return catalog.load(self._spool, *place)

    def place(self, id: str) -> Place | None:
        """Return where a job is, by its whole id; None when there is none. Looks again where it is not known."""
        end = f".{id}{names.SUFFIX}"
        for _ in range(2):
            with self._lock:
                self.look()
                for state, roster in self._rosters.items():
                    directory = self._spool.directories[state]
                    for name in reversed(roster.ordered):
                        if name.endswith(end) and names.id_part(name) == id and directory.lstat(name):
                            return state, name
                self.hurry()
        return None

    def is_at(self, place: Place) -> bool:
        """Say whether a job is still where it was seen."""
        with self._lock:
            return self._spool.directories[place[0]].lstat(place[1]) is not None


def is_place(state: State, name: str) -> bool:
    """Say whether a cursor may mean this place: it has to sort among the names of the state."""
    return has_stamp(name) and read_name(state, name) is not None
