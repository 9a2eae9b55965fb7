"""Crowds: 500 jobs, eight workers, and somebody who kills workers and supervisors all the time.

Each job makes a directory when it begins and removes it when it ends, so that it notices a run of its own beside it.
Commands are never killed: what a dead worker leaves behind must end before the job runs again.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import STATES, Cli, end, wait_until

CREWS, IN_EACH = 2, 4
JOBS = 500
PAUSE_S = 0.12  # between two kills
KILLS, THOROUGH_S = 60, 75.0
# Notes each run by its attempt. Every tenth job fails at its first attempt; most take a moment.
LINE = (
    "mkdir now.$QUEUECTL_JOB_ID || echo $QUEUECTL_JOB_ID >>overlaps; echo $QUEUECTL_ATTEMPT >>runs.$QUEUECTL_JOB_ID;"
    "sleep 0.{pause}; rmdir now.$QUEUECTL_JOB_ID; [ {fails} = 0 ] || [ $QUEUECTL_ATTEMPT -gt 1 ]"
)


class Crowd:
    """Supervisors with their workers on one spool, and the one who kills them."""

    def __init__(self, cli: Cli, seed: int) -> None:
        self.cli, self.chance = cli, random.Random(seed)
        self.supervisors: list[subprocess.Popen[bytes]] = []
        self.kills: Counter[str] = Counter()

    def muster(self) -> None:
        """Start supervisors until there are enough again."""
        for process in self.supervisors[:]:
            if process.poll() is not None:
                self.supervisors.remove(process)
                end(process)
        while len(self.supervisors) < CREWS:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            self.supervisors.append(self.cli.start("worker", "start", "--count", str(IN_EACH), **quiet))

    def kill_one(self) -> None:
        """Kill a worker, or now and then a supervisor."""
        workers = self.cli.worker_pids()
        if self.chance.random() < 0.05:
            victim = self.chance.choice(self.supervisors)
            victim.kill()
            self.kills["supervisors"] += 1
        elif workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.chance.choice(workers), signal.SIGKILL)
                self.kills["workers"] += 1

    def dismiss(self) -> None:
        for process in self.supervisors:
            end(process)


@pytest.fixture
def crowd(cli: Cli) -> Iterator[Crowd]:
    cli.configure(backoff_base=0, poll_interval_sec=0.2, max_retries=1000, log_level="ERROR")
    made = Crowd(cli, seed=int.from_bytes(os.urandom(4)))
    yield made
    made.dismiss()
    cli.kill_all()


def enqueue(crowd: Crowd, wave: int) -> list[str]:
    """Put 500 jobs in; half of them have ids that somebody chose."""
    jobs = []
    for number in range(JOBS):
        line = LINE.format(pause=crowd.chance.choice(["00", "01", "02", "05", "1"]), fails=int(number % 10 == 0))
        jobs.append({"command": line, **({"id": f"job-{wave}-{number}"} if number % 2 else {})})
    return crowd.cli.enqueue_all(*jobs)


def all_files(cli: Cli) -> Counter[str]:
    return Counter(path.name.split(".", 2)[2] for state in STATES for path in cli.files(state))


def attempts_seen(cli: Cli, id: str) -> list[int]:
    path = cli.cwd / f"runs.{id}"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def is_counted(cli: Cli, id: str, job: dict[str, Any]) -> bool:
    """Say whether each run was an attempt of its own, and each attempt a run unless it was lost before it began."""
    runs, attempts = attempts_seen(cli, id), [run["attempt"] for run in job["history"]]
    lost = {run["attempt"] for run in job["history"] if run["error"] == "worker lost"}
    whole = attempts == list(range(1, job["attempts"] + 1)) and len(set(runs)) == len(runs)
    return whole and set(attempts) - lost <= set(runs) <= set(attempts)


def storm(crowd: Crowd, thorough: bool) -> list[str]:
    """Kill while there is work, and in the long form until the time is over; returns the ids of all jobs."""
    ids = enqueue(crowd, 0)
    until = time.monotonic() + THOROUGH_S
    waves = 1
    while time.monotonic() < until if thorough else crowd.kills.total() < KILLS:
        crowd.muster()
        crowd.kill_one()
        if len(crowd.cli.files("pending")) < 50:
            if not thorough:
                break
            ids += enqueue(crowd, waves)
            waves += 1
        time.sleep(PAUSE_S)
    return ids


def test_of_500_jobs_none_is_lost_none_overlaps_itself_and_each_run_counts_while_workers_are_killed(
    crowd: Crowd, thorough: bool, record_property: Callable[[str, object], None]
) -> None:
    cli = crowd.cli
    ids = storm(crowd, thorough)
    crowd.muster()
    with contextlib.suppress(AssertionError):
        wait_until(lambda: len(cli.files("completed")) == len(ids), timeout=120)
    jobs = cli.jobs("completed")
    overlaps = Path(cli.cwd / "overlaps").read_text().split() if (cli.cwd / "overlaps").exists() else []
    runs = sum(len(attempts_seen(cli, id)) for id in ids)
    lost = sum(run["error"] == "worker lost" for job in jobs.values() for run in job["history"])
    kills = f"{crowd.kills['workers']} workers and {crowd.kills['supervisors']} supervisors killed"
    record_property("tried", f"{len(ids)} jobs, {runs} runs, {kills}, {lost} attempts lost")
    assert overlaps == []
    assert sorted(jobs) == sorted(ids)
    assert all_files(cli) == Counter(f"{id}.json" for id in ids)
    assert [job for id, job in jobs.items() if not is_counted(cli, id, job)] == []
    assert crowd.kills["workers"] > 10
