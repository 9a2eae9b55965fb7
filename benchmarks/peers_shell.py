"""The peers that are commands: GNU parallel, task spooler, nq.

tsp and nq start a job as soon as it is queued. So jobs that wait for a fifo hold their slots until all are queued; what
is timed is only the work.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.drain import TRUE
from benchmarks.processes import BenchError, output, timed, wait_until


def parallel(directory: Path, count: int) -> float:
    """Measure GNU parallel with a job log, two at a time."""
    lines = directory / "lines"
    lines.write_text(f"{TRUE}\n" * count)
    log = directory / "joblog"
    env = {"TMPDIR": str(directory), "PARALLEL_HOME": str(directory), "HOME": str(directory)}
    took = timed(["parallel", "-j2", "--joblog", str(log)], stdin=lines, **env)
    done = len(log.read_text().splitlines()) - 1
    if done != count:
        raise BenchError(f"parallel: {done} of {count} jobs in the log")
    return count / took


def tsp(directory: Path, count: int) -> float:
    """Measure task spooler with two slots; its server is ended afterwards."""
    env = {
        "TS_SOCKET": str(directory / "socket"),
        "TS_SLOTS": "2",
        "TS_MAXFINISHED": str(count + 10),
        "TS_MAXCONN": str(count + 10),
        "TMPDIR": str(directory),
    }
    gate = Gate(directory)
    try:
        _submit(["tsp", *gate.command], 2, env)
        gate.wait_for(2)
        _submit(["tsp", TRUE], count, env)
        last = output(["tsp", TRUE], **env).strip()
        began = time.perf_counter()
        gate.open()
        timed(["tsp", "-w", last], **env)
        return count / (time.perf_counter() - began)
    finally:
        output(["tsp", "-K"], **env)


def nq(directory: Path, count: int) -> float:
    """Measure nq, which runs the jobs of a directory one at a time: two directories."""
    queues = [directory / name for name in ("a", "b")]
    gate = Gate(directory)
    for queue in queues:
        _submit(["nq", "-q", *gate.command], 1, {"NQDIR": str(queue)})
    gate.wait_for(len(queues))
    for queue in queues:
        _submit(["nq", "-q", TRUE], count // 2, {"NQDIR": str(queue)})
    began = time.perf_counter()
    gate.open()
    for queue in queues:
        timed(["nq", "-w"], NQDIR=str(queue))
    return count // 2 * 2 / (time.perf_counter() - began)


class Gate:
    """A fifo that holds commands back until it is opened."""

    def __init__(self, directory: Path) -> None:
        """Make the fifo; every waiting command says by a file that it has begun."""
        self._directory = directory
        self._fifo = directory / "gate"
        os.mkfifo(self._fifo)
        here = shlex.quote(str(directory))
        self.command = ["/bin/sh", "-c", f": > {here}/waits.$$; read line < {here}/gate"]

    def wait_for(self, count: int) -> None:
        """Return when `count` commands wait."""
        wait_until(lambda: len(list(self._directory.glob("waits.*"))) >= count, f"{count} jobs that wait")
        time.sleep(0.1)  # the file is made just before the fifo is opened

    def open(self) -> None:
        """Let all of them go: the end of the file ends each `read`."""
        os.close(os.open(self._fifo, os.O_WRONLY))


def _submit(args: Sequence[str], count: int, env: dict[str, str]) -> None:
    """Queue a command `count` times, by one shell, since a Python process a time would take long."""
    line = " ".join(shlex.quote(word) for word in args)
    output(["/bin/sh", "-c", f"i=0; while [ $i -lt {count} ]; do {line}; i=$((i+1)); done"], **env)
