"""Measure in turns, keep the figures, hold them against their bars.

Each ratio is taken within one round, A then B, so that what changes on the machine meanwhile hits both sides; a figure
is the median over the rounds. A benchmark is a function from a `Bench` to its figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks import place

Sides = dict[str, list[float]]


@dataclass(frozen=True)
class Bar:
    """What a figure has to hold, and what it aims at."""

    limit: float
    aim: float | None = None
    at_least: bool = False

    def holds(self, value: float) -> bool:
        """Say whether a value is on the right side of the bar."""
        return value >= self.limit if self.at_least else value <= self.limit

    def spell(self, value: float | None, unit: str) -> str:
        """Spell a limit for people: `≥ 0.9 x`."""
        return "" if value is None else f"{'≥' if self.at_least else '≤'} {value:g} {unit}".rstrip()


def at_least(limit: float, aim: float | None = None) -> Bar:
    """Return a bar for figures of which more is better."""
    return Bar(limit, aim, at_least=True)


def at_most(limit: float, aim: float | None = None) -> Bar:
    """Return a bar for figures of which less is better."""
    return Bar(limit, aim)


@dataclass(frozen=True)
class Figure:
    """One line of the results: a value for each round, or the reason why there is none (`missing`, `error`)."""

    title: str
    against: str = "–"
    values: Sequence[float] = ()
    unit: str = "x"
    bar: Bar | None = None
    behind: Sequence[str] = ()
    where: str = ""
    missing: str = ""
    error: str = ""

    @property
    def median(self) -> float:
        """The value that counts."""
        return median(self.values)

    @property
    def holds(self) -> bool | None:
        """Whether the bar holds; None when there is nothing to hold, or nothing to hold it against."""
        if self.error:
            return False
        return self.bar.holds(self.median) if self.bar and self.values else None


@dataclass(frozen=True)
class Bench:
    """What a benchmark is given: how often, how large, and where."""

    rounds: int
    quick: bool
    chosen: Path | None = None
    image: bool = False
    say: Callable[[str], None] = field(default=print)

    def size(self, full: int, quick: int) -> int:
        """Return a size: the full one, or the small one of `--quick`."""
        return quick if self.quick else full

    def place(self, *, big: bool = False) -> place.Opened:
        """Open a fresh place for spools; a big one has room for a million jobs."""
        # Writing out a big image would take longer than its benchmarks, which flush little.
        size = (14 if big else self.size(3, 1)) * place.GIB
        return place.fresh(self.chosen, self.image, size=size, written=not big and not self.quick, roomy=big)

    def in_turns(self, sides: Mapping[str, Callable[[], float]]) -> Sides:
        """Measure every side once a round, in turns; returns the values of each side by round."""
        values: Sides = {name: [] for name in sides}
        for number in range(1, self.rounds + 1):
            for name, measure in sides.items():
                place.settle()
                values[name].append(measure())
            said = ", ".join(f"{name} {series[-1]:.4g}" for name, series in values.items())
            self.say(f"  round {number}: {said}")
        return values


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Divide round by round."""
    return [a / b for a, b in zip(above, below, strict=True)]


def absolute(name: str, values: Sequence[float], unit: str) -> str:
    """Spell a series of measured values: median, least and most."""
    return f"{name}: {number(median(values))} {unit} ({number(min(values))} – {number(max(values))})"


def number(value: float) -> str:
    """Spell a number with about three digits that mean something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * percent // 100) - 1)]
