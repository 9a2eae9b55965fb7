"""What workers cost that have nothing to do: CPU of all their processes, over a minute."""

from __future__ import annotations

import time

from benchmarks.harness import Bench, Figure, absolute, at_most
from benchmarks.processes import cpu, tree
from benchmarks.spool import Spool

WORKERS = 4


def idle(bench: Bench) -> list[Figure]:
    """Watch 4 workers and their supervisor for a minute a round."""
    seconds = bench.size(60, 2)
    with bench.place() as place:
        spool = Spool(place.fresh("idle"), "full")
        with spool.workers(WORKERS) as process:
            time.sleep(bench.size(5, 1))
            values = [_used(process.pid, seconds) for _ in range(bench.rounds)]
            processes = len(tree(process.pid))
    return [
        Figure(
            f"idle: {WORKERS} workers, nothing to do, {seconds} s: CPU in all",
            values=values,
            unit="s",
            bar=at_most(0.05),
            behind=[absolute(f"{processes} processes", values, "s")],
            where=place.kind,
        )
    ]


def _used(root: int, seconds: float) -> float:
    before = cpu(root)
    time.sleep(seconds)
    after = cpu(root)
    return sum(used - before.get(task, 0.0) for task, used in after.items())
