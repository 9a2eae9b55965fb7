"""From `mv` into `pending/` to the start of the command, with idle workers and beside a steady load.

The file is written beside the spool; the clock is read just before its rename, and by the command as the first thing
that it does. That command is a small C program, linked statically where that can be done, since what a dynamic loader
does first is part of the command and not of its start; without a C compiler it is `date`, whose own start then counts.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import Bar, Bench, Figure, absolute, at_most, number, percentile
from benchmarks.place import settle
from benchmarks.processes import BenchError, running, wait_until
from benchmarks.spool import Spool, span
from benchmarks.template import Template

LOAD = 500
_SOURCE = Path(__file__).with_name("probe.c")


@dataclass(frozen=True)
class Probe:
    """The command that writes down when it starts, and the clock that it reads."""

    command: str
    now: Callable[[], int]
    note: str

    @classmethod
    def make(cls, directory: Path) -> Probe:
        """Build the command in a directory; it appends `<name> <nanoseconds>` to `directory/started`."""
        started = directory / "started"
        program = directory / "probe"
        for linked, options in (("static", ["-static"]), ("dynamic", [])) if shutil.which("cc") else ():
            if subprocess.run(["cc", "-O2", *options, "-o", program, _SOURCE], capture_output=True).returncode == 0:
                return cls(f"{program} {started} ", time.monotonic_ns, f"stamped by a C program, {linked}")
        command = f'date +"$0 %s%N" >> {started}'
        return cls(f"/bin/sh -c '{command}' ", time.time_ns, "stamped by `date` in a shell, whose start is counted")


def idle(bench: Bench) -> list[Figure]:
    """Drop single jobs before two workers that have nothing to do."""
    count = bench.size(300, 10)
    with bench.place() as place:
        probe = Probe.make(place.path)
        spool = Spool(place.fresh("idle"), "full")
        with spool.workers(2):
            time.sleep(1)
            rounds = [_latencies(spool, probe, f"i{turn}", count) for turn in range(bench.rounds)]
    title = "`mv` to command start, idle workers"
    notes = [f"{count} jobs a round, 20 to 60 ms apart, {probe.note}, durability full"]
    return [
        _figure(f"{title}, p50", rounds, 50, at_most(3), where=place.kind, notes=notes),
        _figure(f"{title}, p99", rounds, 99, at_most(15), where=place.kind, notes=notes),
    ]


def loaded(bench: Bench) -> list[Figure]:
    """Drop single jobs into a spool of four workers that is fed 500 jobs a second beside."""
    count = bench.size(300, 10)
    rounds, paces = [], []
    with bench.place() as place:
        probe = Probe.make(place.path)
        for turn in range(bench.rounds):
            spool = Spool(place.fresh("loaded"), "relaxed")  # so that the disk can keep up with the load
            with spool.workers(4), running(_feeder(spool)):
                time.sleep(1)
                rounds.append(_latencies(spool, probe, f"l{turn}", count))
                ended, seconds = span(spool.names("completed"))
            paces.append(ended / seconds)
    title = "`mv` to command start while two other workers claim 500 jobs/s, p99"
    notes = [
        f"{count} jobs a round, {probe.note}, durability relaxed; four workers in all, fed by renames",
        absolute("load", paces, "jobs/s completed"),
    ]
    if max(paces) < 0.9 * LOAD and not bench.quick:
        return [Figure(title, error=f"the load was {number(max(paces))} jobs/s instead of {LOAD}")]
    return [_figure(title, rounds, 99, at_most(25), where=place.kind, notes=notes)]


def _feeder(spool: Spool) -> list[str]:
    template = Template.of(spool)
    source = spool.path.with_name(template.name)
    source.write_bytes(template.content)
    return [sys.executable, "-m", "benchmarks.template", str(spool.path), str(source), str(LOAD)]


def _latencies(spool: Spool, probe: Probe, prefix: str, count: int) -> list[float]:
    """Drop `count` jobs one by one; returns the milliseconds from each rename to the command's start."""
    settle()
    started = spool.path.parent / "started"
    dropped: dict[str, int] = {}
    for step in range(count):
        time.sleep(random.uniform(0.02, 0.06))
        name = f"{prefix}-{step}"
        written = spool.path.parent / f"{name}.json"
        written.write_text(json.dumps({"command": probe.command + name}))
        dropped[name] = probe.now()
        os.rename(written, spool.path / "pending" / written.name)
    wait_until(lambda: _ran(started, prefix) >= count, "the dropped jobs", 60)
    begun = dict(line.split() for line in started.read_text().splitlines() if line.startswith(f"{prefix}-"))
    if begun.keys() != dropped.keys():
        raise BenchError(f"{len(begun)} of {count} dropped jobs have run")
    return [(int(begun[name]) - at) / 1e6 for name, at in dropped.items()]


def _ran(started: Path, prefix: str) -> int:
    return started.read_text().count(f"{prefix}-") if started.exists() else 0


def _figure(title: str, rounds: list[list[float]], percent: float, bar: Bar, *, where: str, notes: list[str]) -> Figure:
    every = [value for values in rounds for value in values]
    spread = ", ".join(f"p{p:g} {number(percentile(every, p))}" for p in (50, 90, 99, 100))
    values = [percentile(values, percent) for values in rounds]
    return Figure(title, values=values, unit="ms", bar=bar, behind=[*notes, f"all rounds, ms: {spread}"], where=where)
