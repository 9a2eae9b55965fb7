"""The same commands, two at a time, by other queues.

A peer is given its best: its jobs are queued beforehand, its start-up is not counted (that of queuectl is), and redis
writes nothing to the disk. tsp and nq start a process for a job when it is queued, so for them queueing is a part of
the work and is timed on both sides. A peer that is not installed is missing, never slow.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.apps.common import MARKS
from benchmarks.drain import TRUE, drained, queued_and_drained
from benchmarks.harness import Bench, Figure, absolute, at_least, ratios
from benchmarks.peers_shell import nq, nq_released, parallel, tsp, tsp_released
from benchmarks.processes import BenchError, output, running, wait_until
from benchmarks.redis_server import server


@dataclass(frozen=True)
class Peer:
    """A program to be compared: what it needs, how many jobs it is given, and how its rate is measured."""

    name: str
    rate: Callable[[Path, int], float]
    programs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    count: int = 2000
    note: str = ""
    queueing: bool = False
    judged: bool = True

    def lacking(self) -> str:
        """Return what is not installed, or nothing."""
        lacking = [f"no program {name}" for name in self.programs if shutil.which(name) is None]
        lacking += [f"no Python package {name}" for name in self.modules if importlib.util.find_spec(name) is None]
        return ", ".join(lacking)


def huey(storage: str) -> Callable[[Path, int], float]:
    """Return a measurement of huey on one of its storages, 2 worker processes, no results kept."""
    consumer = ["huey.bin.huey_consumer", "benchmarks.apps.huey_app.app", "-w", "2", "-k", "process", "-q"]

    def rate(directory: Path, count: int) -> float:
        if storage != "redis":
            return _marked("huey_app", consumer, directory, count, {"BENCH_STORAGE": storage})
        with server(directory) as url:
            return _marked("huey_app", consumer, directory, count, {"BENCH_STORAGE": storage, "BENCH_REDIS": url})

    return rate


def rq(directory: Path, count: int) -> float:
    """Measure rq: a pool of 2 workers, which fork for each job."""
    with server(directory) as url:
        pool = ["rq.cli", "worker-pool", "-q", "-n", "2", "-u", url, "bench"]
        return _marked("rq_app", pool, directory, count, {"BENCH_REDIS": url})


def dramatiq(directory: Path, count: int) -> float:
    """Measure dramatiq: 2 processes of 1 thread."""
    workers = ["dramatiq", "benchmarks.apps.dramatiq_app", "-p", "2", "-t", "1", "--skip-logging"]
    with server(directory) as url:
        return _marked("dramatiq_app", workers, directory, count, {"BENCH_REDIS": url})


def _marked(app: str, workers: list[str], directory: Path, count: int, settings: dict[str, str]) -> float:
    """Queue the tasks, start the workers, and return the rate between the two marks that the tasks leave."""
    env = {**settings, "BENCH_DIRECTORY": str(directory)}
    output([sys.executable, "-m", "benchmarks.apps.produce", app, str(count)], env=env)
    begin, end = (directory / mark for mark in MARKS)
    with running([sys.executable, "-m", *workers], env=env) as process:
        wait_until(lambda: end.exists() or process.poll() is not None, app, timeout=120)
        if not end.exists():
            raise BenchError(f"{app}: its workers ended early, exit {process.returncode}")
    return (count - count // 10) / (float(end.read_text()) - float(begin.read_text()))


_QUEUED = "queueing and work timed on both sides, output kept"
_RELEASED = "a process for each job had been started when it was queued, which is half of the work"

PEERS = (
    Peer("GNU parallel with `--joblog`", parallel, ("parallel",), count=400),
    Peer("tsp", tsp, ("tsp",), count=600, note=_QUEUED, queueing=True),
    Peer("nq", nq, ("nq",), count=400, note=f"{_QUEUED}; two queues, since it runs one job at a time", queueing=True),
    Peer("tsp, released after queueing", tsp_released, ("tsp",), count=600, note=_RELEASED, judged=False),
    Peer("nq, released after queueing", nq_released, ("nq",), count=400, note=_RELEASED, judged=False),
    Peer("huey, files", huey("file"), modules=("huey",), note="keeps no output"),
    Peer("huey, sqlite", huey("sqlite"), modules=("huey",), note="keeps no output"),
    Peer("huey, redis", huey("redis"), ("redis-server",), ("huey", "redis"), note="keeps no output"),
    Peer("rq", rq, ("redis-server",), ("rq", "redis"), count=200),
    Peer("dramatiq", dramatiq, ("redis-server",), ("dramatiq", "redis"), note="redis; keeps no output"),
)


def peers(bench: Bench) -> list[Figure]:
    """Compare with each peer in turn."""
    return [_compare(bench, peer) for peer in PEERS]


def _compare(bench: Bench, peer: Peer) -> Figure:
    title = f"jobs drained per second, 2 workers, `{TRUE}`, relaxed, against {peer.name}"
    lacking = peer.lacking()
    if lacking:
        return Figure(title, peer.name, missing=lacking)
    count, jobs = bench.size(peer.count, 40), bench.size(4000, 100)
    ours = queued_and_drained if peer.queueing else drained
    try:
        with bench.place() as place:
            sides = bench.in_turns(
                {"queuectl": ours(place, TRUE, jobs), peer.name: lambda: peer.rate(place.fresh("peer"), count)}
            )
    except BenchError as error:
        return Figure(title, peer.name, error=str(error))
    behind = [absolute(name, values, "jobs/s") for name, values in sides.items()]
    behind.append(f"{peer.name}: {count} jobs{', ' if peer.note else ''}{peer.note}")
    values = ratios(sides["queuectl"], sides[peer.name])
    return Figure(title, peer.name, values, bar=at_least(1.0) if peer.judged else None, behind=behind, where=place.kind)
