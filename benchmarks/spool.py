"""queuectl as the benchmarks see it: its command line and the files of its spool, nothing of its code."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from benchmarks.place import settle
from benchmarks.processes import BenchError, output, running, timed, timed_aloud, wait_until

STATES = ("pending", "failed", "processing", "completed", "dead")
_SCRIPT = Path(sys.executable).with_name("queuectl")


def command(*args: str) -> list[str]:
    """Return the command line of queuectl: the installed script of this interpreter, else the module."""
    return [str(_SCRIPT), *args] if _SCRIPT.exists() else [sys.executable, "-m", "queuectl", *args]


class Spool:
    """One spool, driven by commands."""

    def __init__(self, path: Path, durability: str) -> None:
        """Make the spool in the new directory `path`, with one setting."""
        self.path = path
        output(command("init", str(path)))
        output(self.command("config", "set", "durability", durability))

    def command(self, *args: str) -> list[str]:
        """Return a command line on this spool."""
        return command("--spool", str(self.path), *args)

    def enqueue(self, job: str, count: int) -> float:
        """Queue `count` jobs that run the shell command `job`; returns the seconds that it took."""
        source = self.path.with_name(f"{self.path.name}.jsonl")
        write_jobs(source, job, count)
        return timed_aloud(self.command("enqueue", "-q", "-f", str(source)))

    def drain(self, workers: int, count: int) -> float:
        """Run all jobs; returns jobs a second over the whole life of the process, its start and end included."""
        before = len(self.names("completed"))
        settle()
        took = timed(self.command("worker", "start", "--count", str(workers), "--drain"))
        done = len(self.names("completed")) - before
        if done != count:
            raise BenchError(f"{done} of {count} jobs completed")
        return count / took

    @contextlib.contextmanager
    def workers(self, count: int) -> Iterator[subprocess.Popen[bytes]]:
        """Have `count` workers running for the length of the block."""
        with running(self.command("worker", "start", "--count", str(count))) as process:
            wait_until(lambda: len(self.worker_pids()) >= count, f"{count} workers")
            yield process

    def names(self, state: str) -> list[str]:
        """List a directory of the spool."""
        return os.listdir(self.path / state)

    def worker_pids(self) -> list[int]:
        """Return the live workers, as the spool's `workers/` tells them."""
        found = []
        for entry in (self.path / "workers").glob("*.json"):
            with contextlib.suppress(OSError, ValueError):
                known = json.loads(entry.read_bytes())
                if known.get("role", "worker") == "worker" and Path(f"/proc/{known['pid']}").exists():
                    found.append(int(known["pid"]))
        return found

    def first_start(self, names: Iterable[str]) -> float:
        """Return when the first of these completed jobs was started, in seconds since the epoch."""
        begun = []
        for name in sorted(names)[:16]:
            job = json.loads((self.path / "completed" / name).read_bytes())
            begun.append(datetime.fromisoformat(job["history"][-1]["started_at"]).timestamp())
        return min(begun)


def write_jobs(path: Path, job: str, count: int) -> None:
    """Write `count` jobs as JSON lines, whose ids the queue chooses."""
    path.write_text((json.dumps({"command": job}) + "\n") * count)


def ended_at(name: str) -> float:
    """Return the instant that begins the name of an ended job, in seconds since the epoch."""
    stamp = name.partition(".")[0]
    return datetime.fromisoformat(f"{stamp[:15]}.{stamp[15:18]}+00:00").timestamp()


def span(names: Iterable[str]) -> tuple[int, float]:
    """Return how many jobs ended after the first one, and in how many seconds."""
    ends = sorted(ended_at(name) for name in names)
    if len(ends) < 2:
        raise BenchError(f"{len(ends)} jobs completed, too few for a rate")
    return len(ends) - 1, max(ends[-1] - ends[0], 0.001)
