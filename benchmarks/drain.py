"""How fast a spool is drained: against xargs, which keeps nothing, and 8 workers against 2.

The time is the wall clock of the whole `queuectl worker start --drain`, its start and end included. The jobs keep their
logs and JSON results. They are queued beforehand, each time in a new spool.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from benchmarks import place
from benchmarks.harness import Bench, Figure, absolute, at_least, ratios
from benchmarks.place import Place
from benchmarks.processes import timed
from benchmarks.spool import Spool

TRUE = "/bin/true"
NEEDS_SHELL = "/bin/true; :"
DIRECT = ("-n1", TRUE)
SHELL = ("-I{}", "sh", "-c", NEEDS_SHELL)
SHELL_TRUE = ("-I{}", "sh", "-c", TRUE)


def drained(place: Place, job: str, count: int, workers: int = 2, durability: str = "relaxed") -> Callable[[], float]:
    """Return a measurement: jobs a second of queuectl, in a new spool each time."""

    def measure() -> float:
        spool = Spool(place.fresh("drain"), durability)
        spool.enqueue(job, count)
        return spool.drain(workers, count)

    return measure


def queued_and_drained(place: Place, job: str, count: int) -> Callable[[], float]:
    """Return a measurement: jobs a second of queuectl with 2 workers, the time of queueing included."""

    def measure() -> float:
        spool = Spool(place.fresh("drain"), "relaxed")
        return count / (spool.enqueue(job, count) + count / spool.drain(2, count))

    return measure


def xargs(place: Place, args: tuple[str, ...], count: int) -> Callable[[], float]:
    """Return a measurement: commands a second of xargs, two at a time."""
    lines = place.path / "lines"

    def measure() -> float:
        lines.write_text("".join(f"{number}\n" for number in range(count)))
        return count / timed(["xargs", "-P2", *args], stdin=lines)

    return measure


def direct(bench: Bench) -> list[Figure]:
    """A command without shell syntax."""
    title = f"jobs drained per second, 2 workers, `{TRUE}`, relaxed"
    return _both_places(bench, title, TRUE, DIRECT, aim=1.1)


def shell(bench: Bench) -> list[Figure]:
    """A command that needs the shell."""
    title = f"jobs drained per second, 2 workers, `{NEEDS_SHELL}`, relaxed"
    return _both_places(bench, title, NEEDS_SHELL, SHELL, aim=1.0)


def full(bench: Bench) -> list[Figure]:
    """Every fsync, with as many workers as serve it best."""
    fresh = _full_on(bench, bench.place())
    known = _full_on(bench, place.default(), judged=False)
    return [fresh, known]


def many_workers(bench: Bench) -> list[Figure]:
    """8 workers on one spool instead of 2."""
    count = bench.size(6000, 100)
    with bench.place() as place:
        sides = bench.in_turns({f"{n} workers": drained(place, TRUE, count, n) for n in (8, 2)})
    return [
        Figure(
            "8 workers on one spool instead of 2, relaxed",
            "2 workers, same jobs",
            ratios(sides["8 workers"], sides["2 workers"]),
            bar=at_least(0.95),
            behind=[absolute(name, values, "jobs/s") for name, values in sides.items()],
            where=place.kind,
        )
    ]


def _both_places(bench: Bench, title: str, job: str, args: tuple[str, ...], aim: float) -> list[Figure]:
    figures = []
    for opened, bar in ((bench.place(), at_least(0.9, aim)), (place.default(), None)):
        with opened as where:
            count = bench.size(6000, 100)
            sides = bench.in_turns({"queuectl": drained(where, job, count), "xargs": xargs(where, args, count)})
            figures.append(
                Figure(
                    title if bar else f"{title}, default place",
                    _spell(args),
                    ratios(sides["queuectl"], sides["xargs"]),
                    bar=bar,
                    behind=[absolute(name, values, "jobs/s") for name, values in sides.items()],
                    where=where.kind,
                )
            )
    return figures


def _full_on(bench: Bench, opened: place.Opened, *, judged: bool = True) -> Figure:
    count = bench.size(3000, 60)
    with opened as where:
        measures = {f"{n} workers": drained(where, TRUE, count, n, "full") for n in (2, 4, 8, 16)}
        sides = bench.in_turns({**measures, "xargs": xargs(where, SHELL_TRUE, count)})
    best = max(measures, key=lambda name: median(sides[name]))
    title = f"jobs drained per second, `{TRUE}`, durability full, as many workers as serve it best"
    return Figure(
        title if judged else f"{title}, default place",
        _spell(SHELL_TRUE),
        ratios(sides[best], sides["xargs"]),
        bar=at_least(0.55, 0.8) if judged else None,
        behind=[f"best: {best}", *(absolute(name, values, "jobs/s") for name, values in sides.items())],
        where=where.kind,
    )


def _spell(args: tuple[str, ...]) -> str:
    words = (f"'{word}'" if " " in word else word for word in args)
    return f"`xargs -P2 {' '.join(words)}`"
