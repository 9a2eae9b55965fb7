"""The search: breadth first through every state that a model can reach, and back from every end.

The first path to a broken promise is a shortest one. When nothing is broken, the search asks from which states no path
of ordinary steps leads to an end of all jobs; such a state is stuck.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from model import promises
from model.parts import Model, begin
from model.protocol import ordinary, private
from model.trouble import trouble
from model.world import State, file, tidy


@dataclass
class Search:
    """What a search has found; `broken` is empty when every promise held, else `trace` tells how."""

    model: Model
    states: list[State] = field(default_factory=list)
    came: list[tuple[int, str]] = field(default_factory=list)  # from which state, by which step
    back: list[list[int]] = field(default_factory=list)  # from which states ordinary steps lead here
    broken: str = ""
    at: int = -1

    def trace(self) -> str:
        """Return the steps to the broken promise, one a line, each with the names that are there afterwards."""
        lines, number = [], self.at
        while number > 0:
            origin, label = self.came[number]
            lines.append(f"{label:<72} {_show(self.states[number])}")
            number = origin
        lines.append(f"{'at first':<72} {_show(self.states[0])}")
        told = [f"{count:>3}. {line}" for count, line in enumerate(reversed(lines))]
        return "\n".join([*told, f"     => {self.broken}"])


def explore(model: Model, kinds: Collection[str] = promises.ALL) -> Search:
    """Search a model until one of the promises in `kinds` is broken, or through all its states."""
    search = Search(model)
    known: dict[State, int] = {}
    _meet(search, known, begin(model), -1, "")
    number = 0
    while number < len(search.states):
        for label, after, by_itself in _next(model, search.states[number]):
            label, kept = _run_on(model, label, after)
            if kept.fault and kept.fault not in kinds:
                kept = kept._replace(fault="")
            met = _meet(search, known, kept, number, label)
            if by_itself:
                search.back[met].append(number)
            if met == len(search.states) - 1 and (broken := _first(promises.broken(kept), kinds)):
                search.broken, search.at = broken, met
                return search
        number += 1
    if promises.STUCK in kinds:
        _look_for_stuck(search)
    return search


def _next(model: Model, s: State) -> Iterator[tuple[str, State, bool]]:
    for label, after in ordinary(model, s):
        yield label, after, True
    for label, after in trouble(model, s):
        yield label, after, False


def _run_on(model: Model, label: str, s: State) -> tuple[str, State]:
    """Take the private steps that follow a step at once: they make no states of their own."""
    while taken := next(private(model, s), None):
        label, s = f"{label}, {taken[0]}", taken[1]
    return label, tidy(s)


def _first(broken: list[str], kinds: Collection[str]) -> str:
    return next((kind for kind in broken if kind in kinds), "")


def _meet(search: Search, known: dict[State, int], s: State, origin: int, label: str) -> int:
    """Return the number of a state, a new one if it is new."""
    number = known.setdefault(same(s), len(search.states))
    if number == len(search.states):
        search.states.append(s)
        search.came.append((origin, label))
        search.back.append([])
    return number


def same(s: State) -> State:
    """Return the state that stands for all those in which only the processes have changed places."""
    return State._make((*s[:4], tuple(sorted(s.actors)), *s[5:]))


def _look_for_stuck(search: Search) -> None:
    """Find the first state from which no ordinary steps lead to an end."""
    reached = [promises.ended(s) for s in search.states]
    todo = [number for number, end in enumerate(reached) if end]
    while todo:
        for origin in search.back[todo.pop()]:
            if not reached[origin]:
                reached[origin] = True
                todo.append(origin)
    if not all(reached):
        search.broken, search.at = promises.STUCK, reached.index(False)


def _show(s: State) -> str:
    """Spell the names of a state: the inode, its revision, its attempts."""
    told = []
    for name, ino in s.names:
        found = file(s, ino)
        told.append(f"{name}=#{ino}" + (f"(rev {found.rev}, attempts {found.attempts})" if found.whole else "(empty)"))
    running = [f"running:#{command.ino}" for command in s.commands]
    return "  ".join([*told, *running])
