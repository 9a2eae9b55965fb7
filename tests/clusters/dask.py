"""A dask cluster on loopback: a scheduler and workers, each a process that a test may kill."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from helpers import wait_until


class DaskCluster:
    """A scheduler at `address` and some workers, started in `place`."""

    def __init__(self, place: Path, host: str = "127.0.0.1", within: Sequence[str] = ()) -> None:
        self._place = place
        self._file = place / "scheduler.json"
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start("dask_scheduler", "--host", host, "--port", "0", within=within)
        wait_until(self._file.exists, what="the dask scheduler to start")
        self.address = str(wait_until(self._address, what="the scheduler file to be whole"))

    def _address(self) -> object:
        with contextlib.suppress(json.JSONDecodeError):
            return json.loads(self._file.read_bytes())["address"]
        return None

    @property
    def file(self) -> Path:
        """The scheduler file."""
        return self._file

    def add_worker(self, *options: str, threads: int = 2, within: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start a worker without a nanny, so that it stays dead when it is killed; `within` are words before it."""
        process = self._start("dask_worker", "--nthreads", str(threads), "--no-nanny", *options, within=within)
        self.workers.append(process)
        return process

    def _start(self, module: str, *options: str, within: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        common = ["--scheduler-file", str(self._file), "--no-dashboard"]
        # What runs on a node must need nothing of ours.
        hidden = self._place / "hidden"
        hidden.mkdir(exist_ok=True)
        (hidden / "queuectl.py").write_text("raise ModuleNotFoundError('not installed on this node')")
        return subprocess.Popen(
            [*within, sys.executable, "-P", "-W", "ignore", "-m", f"distributed.cli.{module}", *common, *options],
            cwd=self._place,
            env={**os.environ, "PYTHONPATH": str(hidden)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def close(self) -> None:
        """Kill all of it."""
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@contextlib.contextmanager
def cluster(
    place: Path, threads: Sequence[int], host: str = "127.0.0.1", within: Sequence[str] = ()
) -> Iterator[DaskCluster]:
    """Run a cluster with workers of so many threads each; `within` are words before its scheduler's."""
    place.mkdir(exist_ok=True)
    made = DaskCluster(place, host, within)
    try:
        for number in threads:
            made.add_worker(threads=number)
        yield made
    finally:
        made.close()
