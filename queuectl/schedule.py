"""Which waiting job comes next (pure): due first, then the higher priority, then the longer wait.

Works on names alone, since the times in the names are the schedule: nobody opens a file to learn that it is not due.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from operator import itemgetter
from typing import NamedTuple

from queuectl.names import STAMP_LENGTH


class Candidate(NamedTuple):
    """A ready job by place: ordered as it is to be claimed. `urgency` is 9 - priority, as a digit."""

    urgency: str
    name: str
    place: str


PRIORITY_AT = STAMP_LENGTH + 1
_PRIORITY = slice(PRIORITY_AT, PRIORITY_AT + 1)  # empty in a name that is too short, which is not canonical
_priority = itemgetter(_PRIORITY)
URGENCY = dict(zip("0123456789", "9876543210", strict=True))


def candidate(place: str, name: str) -> Candidate:
    """Make a candidate of a canonical waiting name in the directory `place`."""
    return Candidate(URGENCY[name[_PRIORITY]], name, place)


def candidates(place: str, names: Iterable[str]) -> list[Candidate]:
    """Make candidates of canonical waiting names in the directory `place`."""
    return [Candidate(URGENCY[name[PRIORITY_AT]], name, place) for name in names]


def first(ready: Iterable[Candidate], limit: int) -> list[Candidate]:
    """Return the `limit` candidates to be claimed first, in order, in memory bounded by `limit`."""
    return heapq.nsmallest(limit, ready)


class Shortlist:
    """The first `limit` of ever so many ready names, or all when there are no more than `most`; done in C."""

    def __init__(self, limit: int, most: int = 0) -> None:
        self._limit, self._fits = limit, max(limit, most)
        self._kept: list[str] = []
        self._priority = ""  # the one that all of them have, nothing when that is not known
        self._last: tuple[str, str] | None = None  # priority and name of the last one kept, once there are enough

    def add(self, ready: list[str]) -> None:
        """Take in names; those that only look canonical are for the caller to sort out of the result."""
        self._priority = ""
        if self._last:
            priority, name = self._last
            ready = [n for n in ready if n[_PRIORITY] > priority or (n < name and n[_PRIORITY] == priority)]
        self._keep(ready)

    def add_alike(self, ready: list[str], priority: str) -> None:
        """Take in names that all have this priority."""
        if priority != self._priority:
            self._priority = "" if self._kept else priority
        if self._last:
            least, name = self._last
            if priority == least:
                ready = [n for n in ready if n < name]
            elif priority < least:
                return
        self._keep(ready)

    def _keep(self, ready: list[str]) -> None:
        self._kept += ready
        if len(self._kept) > max(2 * self._limit, 0 if self._last else self._fits):
            self._cut(self._limit)

    def _cut(self, limit: int) -> None:
        self._kept.sort()
        if not self._priority:
            self._kept.sort(key=_priority, reverse=True)  # stable, so that names stay in order within a priority
        del self._kept[limit:]
        if len(self._kept) == self._limit and self._kept:
            self._last = (self._kept[-1][_PRIORITY], self._kept[-1])

    @property
    def whole(self) -> bool:
        """Whether no name has been left out."""
        return self._last is None and len(self._kept) <= self._fits

    def names(self) -> list[str]:
        """Return the first names, in the order of claiming."""
        self._cut(self._limit if self._last else self._fits)  # once names were left out, the rest has gaps
        return self._kept
