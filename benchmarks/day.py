"""`python -m benchmarks.day`: how one spool fares in a day of N jobs, by calculation from measured costs.

A fluid model in steps of a second. Jobs arrive along a day that has its peak at 1.8 times the mean; what is served is
bounded by the rate that was measured, less the share of time that scans of the backlog take. No queueing noise: at
these rates it is milliseconds, and what matters are the hours.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass

DAY_S = 86_400
SWING = 0.8
KEPT = 65_536  # candidates that a worker keeps of one scan


@dataclass(frozen=True)
class Costs:
    """What was measured: jobs a second with nothing waiting, seconds to scan a million names, bytes and files a job."""

    rate: float
    scan_s: float
    bytes_kept: float = 8192.0
    files_kept: float = 2.0


@dataclass(frozen=True)
class Day:
    """How a day went: the most that waited, the longest wait in seconds, and what was left at midnight."""

    most: float
    longest_s: float
    left: float
    busy: float


def arrivals(second: int, jobs: float) -> float:
    """Return how many jobs arrive in a second of the day."""
    return jobs / DAY_S * (1 + SWING * math.sin(2 * math.pi * second / DAY_S))


def served(waiting: float, costs: Costs) -> float:
    """Return how many jobs a second are served while so many wait: each worker scans once for the names it keeps."""
    scan = costs.scan_s * waiting / 1e6
    lasts = KEPT / costs.rate  # all workers take from the same names, so a list lasts as long as all of them need
    return costs.rate * lasts / (lasts + scan)


def run(jobs: float, costs: Costs) -> Day:
    """Go through a day, after one like it."""
    waiting = most = longest = done = 0.0
    for second in range(2 * DAY_S):
        if second == DAY_S:
            most = longest = done = 0.0
        now = waiting + arrivals(second % DAY_S, jobs)
        out = min(now, served(waiting, costs))
        waiting, done = now - out, done + out
        most, longest = max(most, waiting), max(longest, waiting / served(waiting, costs))
    return Day(most, longest, waiting, done / (costs.rate * DAY_S))


def _row(jobs: float, costs: Costs) -> list[str]:
    day, hour, mean = run(jobs, costs), jobs / 24, jobs / DAY_S
    kept = f"{hour * costs.files_kept / 1e6:.1f} M files, {hour * costs.bytes_kept / 2**30:.1f} GiB"
    if day.left > mean:
        return [f"{jobs:,.0f}", f"{mean:,.0f}", f"{mean * (1 + SWING):,.0f}", "grows", "grows", "100%", kept]
    waits = [f"{day.most:,.0f}", f"{day.longest_s:,.0f} s", f"{day.busy:.0%}"]
    return [f"{jobs:,.0f}", f"{mean:,.0f}", f"{mean * (1 + SWING):,.0f}", *waits, kept]


def main(arguments: list[str]) -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.day", description=__doc__)
    parser.add_argument("--rate", type=float, required=True, help="jobs a second that were measured")
    parser.add_argument("--scan", type=float, required=True, help="seconds to scan a million waiting names")
    given = parser.parse_args(arguments)
    costs = Costs(given.rate, given.scan)
    sys.stdout.write("| jobs a day | mean/s | peak/s | most waiting | longest wait | busy | kept for an hour |\n")
    sys.stdout.write("|---|---|---|---|---|---|---|\n")
    for jobs in (1e6, 1e7, 3e7, 5e7, 1e8):
        sys.stdout.write("| " + " | ".join(_row(jobs, costs)) + " |\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
