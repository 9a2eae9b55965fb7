"""Which waiting job comes next (pure): due first, then the higher priority, then the longer wait.

Works on names alone, since the times in the names are the schedule: nobody opens a file to learn that it is not due.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import NamedTuple

from queuectl.names import STAMP_LENGTH


class Candidate(NamedTuple):
    """A ready job by place: ordered as it is to be claimed. `urgency` is 9 - priority, as a digit."""

    urgency: str
    name: str
    place: str


URGENCY = dict(zip("0123456789", "9876543210", strict=True))


def candidate(place: str, name: str) -> Candidate:
    """Make a candidate of a canonical waiting name in the directory `place`."""
    return Candidate(URGENCY[name[STAMP_LENGTH + 1]], name, place)


def first(ready: Iterable[Candidate], limit: int) -> list[Candidate]:
    """Return the `limit` candidates to be claimed first, in order, in memory bounded by `limit`."""
    return heapq.nsmallest(limit, ready)
