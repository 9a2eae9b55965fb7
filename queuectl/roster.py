"""The names of one directory in order, kept between looks: what a view of very many jobs can afford.

To list a directory of 200,000 names takes a quarter of a second, so that a large one is read again only after a rest
of many times that long; what arrives meanwhile is told by whoever watches. Reads names only, locks nothing.
"""

from __future__ import annotations

import os
from bisect import bisect_left, insort
from operator import itemgetter

from queuectl import clock, names
from queuectl.tree import Tree

LARGE_S = 0.01
RESTS = 20
TICK_NS = 10_000_000  # the longest tick of a kernel's clock: two changes in one may leave the same time


_shape = itemgetter(slice(18, 20))


def has_stamp(name: str) -> bool:
    """Say whether a name has the shape of those that queuectl gives; fast, so not exact."""
    return name[18:20] == "Z."


def _jobs(listing: list[str]) -> list[str]:
    """Return the names that may be jobs: as a rule all of them, which is found out in C."""
    text, count = "\n".join(listing) + "\n", len(listing)
    if text.count("\n") == text.count(names.SUFFIX + "\n") == count and "\n." not in text and text[0] != ".":
        return listing
    return [name for name in listing if names.is_drop(name)]


def _stamped(some: list[str]) -> list[str]:
    """Return the names that have a stamp: as a rule all of them."""
    return some if {"Z."}.issuperset(map(_shape, some)) else list(filter(has_stamp, some))


class Roster:
    """The names of one directory: `ordered` are those with a stamp, `drops` the others; `version` counts changes."""

    def __init__(self, tree: Tree, place: str) -> None:
        self.ordered: list[str] = []
        self.drops: list[str] = []
        self.version = 0
        self.cost_s = 0.0
        self._tree, self._place = tree, place
        self._members: set[str] | None = None  # made when it is first needed: at the first look it is not
        self._seen_ns = -1
        self._again_at = 0.0

    def __len__(self) -> int:
        return len(self.ordered) + len(self.drops)

    @property
    def _known(self) -> set[str]:
        if self._members is None:
            self._members = {*self.ordered, *self.drops}
        return self._members

    @property
    def large(self) -> bool:
        """Whether reading it takes so long that it is not done for every look."""
        return self.cost_s > LARGE_S

    def hurry(self) -> None:
        """Read it at the next look however large it is: somebody has just changed it."""
        self._again_at = 0.0

    def refresh(self) -> tuple[list[str], set[str]] | None:
        """Read the directory if it may have changed and has had its rest; returns the names that came and went."""
        began = clock.worked()  # what others take from us meanwhile does not make a directory large
        directory = self._tree.directories[self._place]
        changed = os.fstat(directory.fd).st_mtime_ns  # as coarse as the ticks of the kernel
        if changed == self._seen_ns or clock.monotonic() < self._again_at:
            return None
        # A change in the tick of this reading would leave the time as it is: then it is read once more.
        steady = clock.now() * 1_000_000 - changed > TICK_NS
        listing = _jobs(directory.listing())
        if len(self):
            found = set(listing)
            new, gone = sorted(found - self._known), self._known - found
            self._members = found
        else:
            new, gone = sorted(listing), set()  # in the order of the listing they lie side by side in memory: faster
            self._members = None
        self._replace(new, gone)
        self._seen_ns = changed if steady else -1
        self.cost_s = clock.worked() - began
        self._again_at = clock.monotonic() + (RESTS * self.cost_s if self.large else 0.0)
        return new, gone

    def _replace(self, new: list[str], gone: set[str]) -> None:
        if not new and not gone:
            return
        if gone:
            self.ordered = [name for name in self.ordered if name not in gone]
            self.drops = [name for name in self.drops if name not in gone]
        stamped = _stamped(new)
        in_order = not self.ordered or not stamped or stamped[0] > self.ordered[-1]
        self.ordered += stamped
        if not in_order:
            self.ordered.sort()
        if len(stamped) < len(new):
            self.drops += [name for name in new if not has_stamp(name)]
        self.version += 1

    def told(self, name: str) -> bool | None:
        """Look at one name that came or went: True when it is new, False when it has gone, None when that is known."""
        there, known = self._tree.directories[self._place].lstat(name) is not None, self._known
        if there == (name in known):
            return None
        if there:
            known.add(name)
            if not has_stamp(name):
                self.drops.append(name)
            elif not self.ordered or name > self.ordered[-1]:
                self.ordered.append(name)
            else:
                insort(self.ordered, name)
        else:
            known.discard(name)
            self._take_out(name)
        self.version += 1
        return there

    def _take_out(self, name: str) -> None:
        if not has_stamp(name):
            self.drops.remove(name)
            return
        at = bisect_left(self.ordered, name)
        if self.ordered[at : at + 1] == [name]:
            del self.ordered[at]
