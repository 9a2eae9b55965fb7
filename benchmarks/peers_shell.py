"""The peers that are commands: GNU parallel, task spooler, nq.

tsp and nq start a process for each job when it is queued, and the job as soon as they can, so queueing and work are
timed as one. For information they are also timed from the moment at which a gate before the first jobs is opened.
"""

from __future__ import annotations

import os
import shlex
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.drain import TRUE
from benchmarks.processes import BenchError, output, timed, wait_until


def parallel(directory: Path, count: int) -> float:
    """Measure GNU parallel with a job log, two at a time."""
    lines = directory / "lines"
    lines.write_text(f"{TRUE}\n" * count)
    log = directory / "joblog"
    env = {"TMPDIR": str(directory), "PARALLEL_HOME": str(directory), "HOME": str(directory)}
    took = timed(["parallel", "-j2", "--joblog", str(log)], stdin=lines, env=env)
    done = len(log.read_text().splitlines()) - 1
    if done != count:
        raise BenchError(f"parallel: {done} of {count} jobs in the log")
    return count / took


def tsp(directory: Path, count: int) -> float:
    """Measure task spooler with two slots, queued by two clients at a time, which serves it best."""
    env = _tsp_environment(directory, count)
    lines = _lines(directory, count - 1)
    try:
        began = time.perf_counter()
        timed(["xargs", "-P2", "-I{}", "tsp", TRUE], stdin=lines, env=env)
        timed(["tsp", "-w", output(["tsp", TRUE], env=env).strip()], env=env)
        return count / (time.perf_counter() - began)
    finally:
        output(["tsp", "-K"], env=env)


def tsp_released(directory: Path, count: int) -> float:
    """Measure task spooler from the moment at which its queued jobs may begin."""
    env = _tsp_environment(directory, count)
    gate = Gate(directory)
    lines = _lines(directory, count - 1)
    try:
        for _ in range(2):
            output(["tsp", *gate.command], env=env)
        gate.wait_for(2)
        timed(["xargs", "-P2", "-I{}", "tsp", TRUE], stdin=lines, env=env)
        last = output(["tsp", TRUE], env=env).strip()
        began = time.perf_counter()
        gate.open()
        timed(["tsp", "-w", last], env=env)
        return count / (time.perf_counter() - began)
    finally:
        output(["tsp", "-K"], env=env)


def nq(directory: Path, count: int) -> float:
    """Measure nq, which runs the jobs of a directory one at a time: two directories, queued side by side."""
    began = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: _nq_whole(directory / name, count // 2), ("a", "b")))
    return count // 2 * 2 / (time.perf_counter() - began)


def nq_released(directory: Path, count: int) -> float:
    """Measure nq from the moment at which its queued jobs may begin."""
    queues = [directory / name for name in ("a", "b")]
    gate = Gate(directory)
    for queue in queues:
        output(["nq", "-q", *gate.command], env={"NQDIR": str(queue)})
    gate.wait_for(len(queues))
    for queue in queues:
        timed(["xargs", "-I{}", "nq", "-q", TRUE], stdin=_lines(directory, count // 2), env={"NQDIR": str(queue)})
    began = time.perf_counter()
    gate.open()
    for queue in queues:
        timed(["nq", "-w"], env={"NQDIR": str(queue)})
    return count // 2 * 2 / (time.perf_counter() - began)


def _nq_whole(queue: Path, count: int) -> None:
    queue.mkdir()
    timed(["xargs", "-I{}", "nq", "-q", TRUE], stdin=_lines(queue.parent, count), env={"NQDIR": str(queue)})
    timed(["nq", "-w"], env={"NQDIR": str(queue)})


def _tsp_environment(directory: Path, count: int) -> dict[str, str]:
    room = str(count + 10)
    env = {"TS_SLOTS": "2", "TS_MAXFINISHED": room, "TS_MAXCONN": room, "TMPDIR": str(directory)}
    return {**env, "TS_SOCKET": str(directory / "socket")}


def _lines(directory: Path, count: int) -> Path:
    path = directory / f"lines-{count}"
    path.write_text("".join(f"{number}\n" for number in range(count)))
    return path


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
