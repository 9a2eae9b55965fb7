"""A spool with a million jobs: drain rate, first claim, memory, status.

The drain rates are taken from the names of the completed jobs, which begin with the instant of their end: from the
first to the last of them, so that the first scan, which has its own figure, is not in it. Both sides are measured so.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.harness import Bench, Figure, absolute, at_least, at_most, ratios
from benchmarks.place import Place, settle
from benchmarks.processes import BenchError, peak_memory, running, timed, wait_until, wait_until_quiet
from benchmarks.spool import STATES, Spool, span
from benchmarks.template import FUTURE_MS, PAST_MS, Template

TRUE = "/bin/true"
_LISTING = "import os, sys; os.listdir(sys.argv[1])"


@dataclass(frozen=True)
class Memory:
    """The most memory that the larger worker and the supervisor have had so far, in MB."""

    worker: float
    supervisor: float

    @classmethod
    def of(cls, spool: Spool, supervisor: int) -> Memory:
        """Look at live workers."""
        pids = spool.worker_pids()
        if not pids:
            raise BenchError("no worker lives")
        return cls(max(peak_memory(pid) for pid in pids), peak_memory(supervisor))


def scheduled(bench: Bench) -> list[Figure]:
    """A million jobs that are due much later; others are drained beside them."""
    lying = bench.size(1_000_000, 5_000)
    drained = bench.size(8_000, 200)
    with bench.place(big=True) as place:
        big, small = _filled(place, lying, FUTURE_MS), _filled(place, 1_000, FUTURE_MS)
        status = bench.in_turns({"queuectl status": _status(big), "ls -U | wc -l": _listings(big)})
        sides = bench.in_turns({"million": _drain(big, drained), "1,000": _drain(small, drained)})
        memory = [_resting(big) for _ in range(bench.rounds)]
        resting = [_resting(Spool(place.fresh("empty"), "relaxed")) for _ in range(bench.rounds)]
    return [
        Figure(
            f"drain rate with {lying:,} jobs in `pending/`, scheduled for later",
            "with 1,000",
            ratios(sides["million"], sides["1,000"]),
            bar=at_least(0.9),
            behind=[absolute(name, values, "jobs/s") for name, values in sides.items()],
            where=place.kind,
        ),
        _memory_figure(f"memory of a worker at {lying:,} pending (scheduled)", memory, 80, place.kind),
        _memory_figure("memory of a worker, idle, empty spool", resting, 30, place.kind),
        Figure(
            f"`queuectl status` at {lying:,}",
            "`ls -U | wc -l` of the same five directories",
            ratios(status["queuectl status"], status["ls -U | wc -l"]),
            bar=at_most(1.3),
            behind=[absolute(name, values, "s") for name, values in status.items()],
            where=place.kind,
        ),
    ]


def ready(bench: Bench) -> list[Figure]:
    """A million jobs that are due; workers drain them for some seconds in each round."""
    lying = bench.size(1_000_000, 5_000)
    seconds = bench.size(12, 2)
    stretches: list[Stretch] = []
    with bench.place(big=True) as place:
        big = _filled(place, lying, PAST_MS)

        def work() -> float:
            stretches.append(_work(big, seconds))
            return stretches[-1].rate

        sides = bench.in_turns(
            {
                "listing": lambda: timed([sys.executable, "-c", _LISTING, str(big.path / "pending")]),
                "million": work,
                "1,000": lambda: _drain_thousands(place, bench.size(6, 1)),
            }
        )
    first = [stretch.first_claim for stretch in stretches]
    memory = [stretch.memory for stretch in stretches]
    return [
        Figure(
            f"drain rate with {lying:,} jobs ready",
            "with 1,000 ready",
            ratios(sides["million"], sides["1,000"]),
            bar=at_least(0.9),
            behind=[absolute(name, sides[name], "jobs/s") for name in ("million", "1,000")],
            where=place.kind,
        ),
        _memory_figure(f"memory of a worker at {lying:,} pending (ready)", memory, 80, place.kind),
        Figure(
            f"worker start to first claim at {lying:,} ready",
            "one listing of the directory, `python -c 'os.listdir(…)'`",
            ratios(first, sides["listing"]),
            bar=at_most(1.5),
            behind=[absolute("first claim", first, "s"), absolute("listing", sides["listing"], "s")],
            where=place.kind,
        ),
    ]


def _filled(place: Place, count: int, first_ms: int) -> Spool:
    spool = Spool(place.fresh("million"), "relaxed")
    Template.of(spool).fill(spool.path / "pending", count, first_ms)
    settle()
    return spool


def _drain(spool: Spool, count: int) -> Callable[[], float]:
    """Return a measurement: jobs a second while `count` jobs are drained beside those that lie there."""

    def measure() -> float:
        before = set(spool.names("completed"))
        spool.enqueue(TRUE, count)
        spool.drain(2, count)
        ended, seconds = span(set(spool.names("completed")) - before)
        return ended / seconds

    return measure


def _drain_thousands(place: Place, times: int) -> float:
    """Return the rate at which spools of 1,000 jobs are drained, over several, since one is short."""
    ended, seconds = 0, 0.0
    for _ in range(times):
        spool = Spool(place.fresh("thousand"), "relaxed")
        Template.of(spool).fill(spool.path / "pending", 1_000, PAST_MS)
        spool.drain(2, 1_000)
        more, took = span(spool.names("completed"))
        ended, seconds = ended + more, seconds + took
    return ended / seconds


@dataclass(frozen=True)
class Stretch:
    """A stretch of work on a full spool: seconds to the first claim, jobs a second from then on, memory in MB."""

    first_claim: float
    rate: float
    memory: Memory


def _work(spool: Spool, seconds: float) -> Stretch:
    """Let two workers work for some seconds from the first completed job on."""
    completed = spool.path / "completed"
    before, untouched = set(spool.names("completed")), completed.stat().st_mtime_ns
    began = time.time()
    with running(spool.command("worker", "start", "--count", "2")) as process:
        wait_until(lambda: completed.stat().st_mtime_ns != untouched, "a first completed job", 120)
        time.sleep(seconds)
        memory = Memory.of(spool, process.pid)
    done = set(spool.names("completed")) - before
    ended, took = span(done)
    return Stretch(spool.first_start(done) - began, ended / took, memory)


def _status(spool: Spool) -> Callable[[], float]:
    return lambda: timed(spool.command("status"))


def _listings(spool: Spool) -> Callable[[], float]:
    directories = " ".join(f"'{spool.path / state}'" for state in STATES)
    return lambda: timed(["/bin/sh", "-c", f"for d in {directories}; do ls -U $d | wc -l; done"])


def _resting(spool: Spool) -> Memory:
    """Return the memory of idle workers after their first scan and a poll."""
    with spool.workers(2) as process:
        wait_until_quiet(process.pid)
        return Memory.of(spool, process.pid)


def _memory_figure(title: str, values: Sequence[Memory], limit: float, where: str) -> Figure:
    return Figure(
        title,
        values=[value.worker for value in values],
        unit="MB",
        bar=at_most(limit),
        behind=[
            "the larger of two workers, VmHWM, durability relaxed",
            absolute("supervisor", [value.supervisor for value in values], "MB"),
        ],
        where=where,
    )
