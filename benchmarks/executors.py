"""What it costs to run jobs through a launcher or on a dask cluster, beside the executor of this machine.

The cluster is a scheduler and two workers of two threads each, on loopback: its cost is in the figure, its network is
not. Rates are taken from the first completed job to the last.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.harness import Bar, Bench, Figure, absolute, at_least, ratios
from benchmarks.place import Place, settle
from benchmarks.processes import output, running, timed, wait_until
from benchmarks.spool import Spool, span

TRUE = "/bin/true"
LINES, EVERY_S = 40, 0.02
# Says what time it is, again and again; whoever reads along compares.
_TELL = f"import time\nfor _ in range({LINES}): print(time.monotonic_ns(), flush=True); time.sleep({EVERY_S})"


@dataclass(frozen=True)
class Way:
    """A way to run commands: its settings, and how many workers make four places of it."""

    name: str
    settings: Sequence[tuple[str, str]]
    workers: int = 4


def executors(bench: Bench) -> list[Figure]:
    """Rate, round trip and delay of output: here, through `nice`, and through dask."""
    lacking = "" if importlib.util.find_spec("distributed") else "no Python package distributed"
    ways = [Way("local", []), Way("launcher `nice`", [("executor", "launcher"), ("launcher", "nice -n 0")])]
    with bench.place() as place, _cluster(place.fresh("dask"), lacking) as address:
        if address:
            ways.append(Way("dask", [("executor", "dask"), ("dask_scheduler", address)], 1))
        rates = bench.in_turns({way.name: _rate(place, way, bench.size(3000, 100)) for way in ways})
        trips = bench.in_turns({way.name: _trip(place, way, bench.size(30, 3)) for way in ways})
        delays = bench.in_turns({way.name: _delay(place, way) for way in ways})
    figures = []
    for name in [way.name for way in ways[1:]]:
        sides = {"local": rates["local"], name: rates[name]}
        notes = [absolute(side, values, "jobs/s") for side, values in sides.items()]
        figures.append(
            Figure(
                f"jobs a second through {name}, `{TRUE}`, relaxed",
                "local, 4 workers",
                ratios(rates[name], rates["local"]),
                behind=notes,
                where=place.kind,
            )
        )
    for title, sides in (("round trip of `true`", trips), ("delay of streamed output", delays)):
        notes = [absolute(name, values, "ms") for name, values in sides.items()]
        figures += [
            _plain(f"{title}, {name}", values, "ms", None, notes[at : at + 1], place)
            for at, (name, values) in enumerate(sides.items())
        ]
    title = "jobs a second through dask"
    if lacking:
        return [*figures, Figure(title, missing=lacking)]
    return [*figures, _plain(title, rates["dask"], "jobs/s", at_least(300), [], place)]


def _plain(title: str, values: list[float], unit: str, bar: Bar | None, behind: list[str], place: Place) -> Figure:
    return Figure(title, values=values, unit=unit, bar=bar, behind=behind, where=place.kind)


@contextlib.contextmanager
def _cluster(directory: Path, lacking: str) -> Iterator[str]:
    if lacking:
        yield ""
        return
    file = directory / "scheduler.json"
    common = ["--scheduler-file", str(file), "--no-dashboard"]
    module = [sys.executable, "-W", "ignore", "-m"]
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            running([*module, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", *common])
        )
        wait_until(file.exists, "the dask scheduler")
        for _ in range(2):
            worker = ["distributed.cli.dask_worker", "--nthreads", "2", "--no-nanny", *common]
            stack.enter_context(running([*module, *worker]))
        time.sleep(5)
        yield str(file)


def _spool(place: Place, way: Way) -> Spool:
    spool = Spool(place.fresh("executor"), "relaxed")
    for key, value in way.settings:
        output(spool.command("config", "set", key, value))
    return spool


def _rate(place: Place, way: Way, count: int) -> Callable[[], float]:
    def measure() -> float:
        spool = _spool(place, way)
        spool.enqueue(TRUE, count)
        settle()
        timed(spool.command("worker", "start", "--count", str(way.workers), "--drain"))
        ended, seconds = span(spool.names("completed"))
        return ended / seconds

    return measure


def _trip(place: Place, way: Way, times: int) -> Callable[[], float]:
    """Return a measurement: the median time from a rename into `pending/` to the name in `completed/`, in ms."""

    def measure() -> float:
        spool = _spool(place, way)
        took = []
        with spool.workers(1):
            for number in range(times + 1):
                draft = place.path / "draft"
                draft.write_text(f'{{"command": "{TRUE}", "cwd": "/"}}')
                began = time.perf_counter()
                os.rename(draft, spool.path / "pending" / f"job{number}.json")
                while len(spool.names("completed")) <= number:
                    time.sleep(0.0002)
                took.append((time.perf_counter() - began) * 1000)
        return median(took[1:])  # the first one finds nobody on the nodes yet

    return measure


def _delay(place: Place, way: Way) -> Callable[[], float]:
    """Return a measurement: the median time from a line's printing to its standing in the log, in ms."""

    def measure() -> float:
        spool = _spool(place, way)
        output(spool.command("enqueue", "-q", "--id", "teller", "--", sys.executable, "-c", _TELL))
        log, seen, delays = spool.path / "logs" / "teller.log", 0, []
        with spool.workers(1):
            while seen < LINES:
                lines = log.read_text().splitlines(keepends=True) if log.exists() else []
                now = time.monotonic_ns()
                whole = [line for line in lines if line.endswith("\n")]
                delays += [(now - int(line)) / 1e6 for line in whole[seen:]]
                seen = len(whole)
                time.sleep(0.0002)
        return median(delays)

    return measure
