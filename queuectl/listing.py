"""Pages of jobs out of rosters: by filter, in an order, from a cursor, reading a bounded number of files.

What a name tells is taken from the name; a filter by text or worker has to open files, does so for a bounded time, and
says from where to go on. Ended jobs do not change under their names, so what was read of them is kept. Reads only.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from msgspec import Struct

from queuectl import catalog, clock, names
from queuectl.errors import UsageError, quoted
from queuectl.job import Job, State
from queuectl.ledger import took
from queuectl.roster import Roster
from queuectl.spool import read_name
from queuectl.tree import Tree

SHOWN_ORDER = (State.PROCESSING, State.PENDING, State.FAILED, State.DEAD, State.COMPLETED)
SORTS = ("-when", "when", "id", "-id", "state")
MOST_TEXT = 2000  # characters of a command or an error in a row
MOST_KEPT = 20_000
MOST_DROPS = 100
MOST_READ = 2000
PATIENCE_S = 0.25

Place = tuple[State, str]


class Row(Struct, kw_only=True, frozen=True):
    """A job in a list. `when` is the instant that matters in its state: due, started, ended.

    `worker` is who runs it or ran it last, `took_sec` its last run; a `drop` waits to be admitted and has its file's
    name for an id.
    """

    id: str
    state: State
    command: str
    when: str | None = None
    priority: int = 5
    attempts: int = 0
    max_retries: int | None = None
    created_at: str | None = None
    took_sec: float | None = None
    worker: str | None = None
    exit: str | None = None
    last_error: str | None = None
    drop: bool = False


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs are meant: in these states, with this text in them, run by this worker, with this last error.

    The text may be in the id, the command or the last error.
    """

    states: tuple[State, ...] = SHOWN_ORDER
    text: str = ""
    worker: str = ""
    error: str = ""

    @property
    def by_name(self) -> bool:
        """Whether names alone can tell."""
        return not (self.text or self.worker or self.error)

    def takes(self, row: Row) -> bool:
        """Say whether a job is meant, once it has been read."""
        if (self.worker and row.worker != self.worker) or (self.error and row.last_error != self.error):
            return False
        wanted = self.text.casefold()
        return not wanted or any(wanted in (text or "").casefold() for text in (row.id, row.command, row.last_error))


@dataclass(slots=True)
class Page:
    """Some jobs; `after` is where the next page begins, None at the end; `examined` says how many were looked at.

    `version` is that of the snapshot in which they are so.
    """

    rows: list[Row]
    after: Place | None
    examined: int
    version: int = 0


class Listing:
    """Reads pages of jobs."""

    def __init__(self, tree: Tree, rosters: Mapping[State, Roster]) -> None:
        self._tree, self._rosters = tree, rosters
        self._kept: OrderedDict[Place, Row] = OrderedDict()
        self._by_id: tuple[tuple[int, ...], list[tuple[str, str, State]]] = ((), [])

    def page(self, wanted: Filter, sort: str, after: Place | None, limit: int, running: Mapping[str, str]) -> Page:
        """Return at most `limit` jobs after a place in an order; `running` names the workers of running jobs."""
        rows = self._drops(wanted) if after is None else []
        deadline = clock.monotonic() + PATIENCE_S
        examined, last, seen = len(rows), after, {row.id for row in rows}
        places = self.places(wanted.states, sort, after)
        for place in places:
            if len(rows) >= limit or examined >= MOST_READ or (examined > limit and clock.monotonic() > deadline):
                return Page(rows, last, examined)
            examined, last = examined + 1, place
            row = self.row(place, running)
            if row and row.id not in seen and wanted.takes(row):
                seen.add(row.id)
                rows.append(row)
        return Page(rows, None, examined)

    def places(self, states: Sequence[State], sort: str, after: Place | None) -> Iterator[Place]:
        """Yield where the jobs of some states are, in an order, after a place; raises `UsageError` for a bad order."""
        if sort in ("when", "-when"):
            return self._by_time(states, sort == "-when", after)
        if sort in ("id", "-id"):
            return self._by_ids(states, sort == "-id", after)
        if sort == "state":
            return self._by_state(states, after)
        raise UsageError(f"sort {sort!r} is not an order", hint="one of: " + " ".join(SORTS))

    def _by_time(self, states: Sequence[State], falling: bool, after: Place | None) -> Iterator[Place]:
        lanes = [self._lane(state, falling, after) for state in states]
        return heapq.merge(*lanes, key=lambda place: (place[1], SHOWN_ORDER.index(place[0])), reverse=falling)

    def _lane(self, state: State, falling: bool, after: Place | None) -> Iterator[Place]:
        """Yield one state's places in the order of time; of two equal names the order of states decides."""
        ordered = self._rosters[state].ordered
        begin, end = 0, len(ordered)
        if after and falling:
            earlier = SHOWN_ORDER.index(state) < SHOWN_ORDER.index(after[0])
            end = (bisect_right if earlier else bisect_left)(ordered, after[1])
        elif after:
            later = SHOWN_ORDER.index(state) > SHOWN_ORDER.index(after[0])
            begin = (bisect_left if later else bisect_right)(ordered, after[1])
        return ((state, ordered[at]) for at in (range(end - 1, begin - 1, -1) if falling else range(begin, end)))

    def _by_state(self, states: Sequence[State], after: Place | None) -> Iterator[Place]:
        start = SHOWN_ORDER.index(after[0]) if after else 0
        for state in SHOWN_ORDER[start:]:
            if state in states:
                yield from self._lane(state, True, after if after and state == after[0] else None)

    def _by_ids(self, states: Sequence[State], falling: bool, after: Place | None) -> Iterator[Place]:
        versions = tuple(roster.version for roster in self._rosters.values())
        if self._by_id[0] != versions:
            found = [(names.id_part(n), n, state) for state, roster in self._rosters.items() for n in roster.ordered]
            self._by_id = (versions, sorted(found))
        every = self._by_id[1]
        key = (names.id_part(after[1]), after[1], after[0]) if after else None
        if falling:
            end = bisect_left(every, key) if key else len(every)
            found = every[:end][::-1]
        else:
            found = every[bisect_right(every, key) if key else 0 :]
        return ((state, name) for _, name, state in found if state in states)

    def row(self, place: Place, running: Mapping[str, str]) -> Row | None:
        """Return the row of one job, None when it is there no more."""
        kept = self._kept.get(place)
        if kept:
            self._kept.move_to_end(place)
            return kept
        state, name = place
        if read_name(state, name) is None:
            return None
        found = catalog.load(self._tree, state, name)
        if found is None:
            return None
        row = row_of(found, names.id_part(name), clock.stamp_to_iso(name), running.get(found.id))
        if state in (State.COMPLETED, State.DEAD):
            self._kept[place] = row
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return row

    def _drops(self, wanted: Filter) -> list[Row]:
        """Return what waits in `pending/` to be admitted; nobody knows yet whether it is a job."""
        if State.PENDING not in wanted.states:
            return []
        drops = self._rosters[State.PENDING].drops[-MOST_DROPS:]
        rows = [
            Row(id=name.encode(errors="replace").decode(), state=State.PENDING, command="", drop=True) for name in drops
        ]
        return [row for row in reversed(rows) if wanted.takes(row)]


def row_of(found: Job, id: str, when: str, worker: str | None) -> Row:
    """Make the row of a job."""
    last = found.history[-1] if found.history else None
    command = found.command if isinstance(found.command, str) else " ".join(quoted(word) for word in found.command)
    return Row(
        id=id,
        state=found.state,
        command=command[:MOST_TEXT],
        when=when,
        priority=found.level,
        attempts=found.attempts,
        max_retries=found.max_retries,
        created_at=found.created_at,
        took_sec=None if found.state is State.PROCESSING else took(found),
        worker=worker if found.state is State.PROCESSING else last.worker if last else None,
        exit=found.exit,
        last_error=found.last_error[:MOST_TEXT] if found.last_error else None,
    )
