"""What queueing costs: 100,000 jobs in bulk, and one process for one job."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from benchmarks.harness import Bench, Figure, absolute, at_least, at_most, ratios
from benchmarks.place import settle
from benchmarks.processes import timed, timed_aloud
from benchmarks.spool import Spool, write_jobs

# Create, write, rename, as many times as the command line says.
_BARE_LOOP = """
import os, sys
count, size, tmp, end = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
data = b"x" * size
for i in range(count):
    name = f"/{i:016x}.json"
    fd = os.open(tmp + name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    os.write(fd, data)
    os.close(fd)
    os.rename(tmp + name, end + name)
"""
PYTHON_PASS = [sys.executable, "-c", "pass"]


def bulk(bench: Bench) -> list[Figure]:
    """Queue many jobs from a JSONL file, durably, against a loop that makes as many files of the same size."""
    count = bench.size(100_000, 1_000)
    with bench.place() as place:
        source = place.path / "jobs.jsonl"
        write_jobs(source, "/bin/true", count)
        size = _job_size(place.fresh("one"))

        def ours() -> float:
            spool = Spool(place.fresh("bulk"), "full")
            settle()
            took = timed_aloud(spool.command("enqueue", "-q", "-f", str(source)))
            shutil.rmtree(spool.path)  # five rounds of them would use up the image's inodes
            return count / took

        def bare() -> float:
            tmp, end = place.fresh("bare"), place.fresh("bare")
            took = timed([sys.executable, "-c", _BARE_LOOP, str(count), str(size), str(tmp), str(end)])
            shutil.rmtree(end)
            return count / took

        sides = bench.in_turns({"queuectl": ours, "bare loop": bare})
    return [
        Figure(
            f"bulk enqueue, {count:,} jobs from JSONL, durable",
            "a Python loop of create + write + rename, no fsync",
            ratios(sides["queuectl"], sides["bare loop"]),
            bar=at_least(0.5),
            behind=[absolute(name, values, "files/s") for name, values in sides.items()],
            where=place.kind,
        )
    ]


def single(bench: Bench) -> list[Figure]:
    """Queue one job by one process, against a Python that does nothing."""
    times = bench.size(20, 3)
    with bench.place() as place:
        spool = Spool(place.fresh("single"), "full")
        enqueue = spool.command("enqueue", "-q", "/bin/true")
        for args in (enqueue, PYTHON_PASS):
            timed_aloud(args)  # the first run compiles and loads

        sides = bench.in_turns(
            {
                "queuectl enqueue": lambda: sum(timed(enqueue) for _ in range(times)) / times * 1000,
                "python -c pass": lambda: sum(timed(PYTHON_PASS) for _ in range(times)) / times * 1000,
            }
        )
    return [
        Figure(
            "one `queuectl enqueue` process",
            "`python -c pass`",
            ratios(sides["queuectl enqueue"], sides["python -c pass"]),
            bar=at_most(2.5, 1.5),
            behind=[absolute(name, values, f"ms, mean of {times}") for name, values in sides.items()],
            where=f"{place.kind}, durability full",
        )
    ]


def _job_size(directory: Path) -> int:
    """Return how many bytes the file of such a job has."""
    spool = Spool(directory, "full")
    spool.enqueue("/bin/true", 1)
    return (spool.path / "pending" / spool.names("pending")[0]).stat().st_size
