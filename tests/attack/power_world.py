"""A spool on a mounted disk, a worker on it in this process, and what its users have been told about their jobs."""

from __future__ import annotations

import copy
import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hand import Hand

from attack.loops import Mounted
from queuectl import attempt, catalog, clock, disk, recovery, settling
from queuectl.admission import Admission
from queuectl.config import Config
from queuectl.disk import Directory
from queuectl.errors import BadJobFile
from queuectl.executors.local import LocalExecutor
from queuectl.job import Job, State
from queuectl.queue import Queue
from queuectl.scan import look
from queuectl.settling import Outcome
from queuectl.spool import Claim, Spool

ENV = {"PATH": "/usr/bin:/bin"}
LIMIT = catalog.MAX_BYTES
PLACE = "spool"


@dataclass
class Told:
    """What is known outside about one job: what enqueue, the worker's lines and the command itself have said."""

    there: bool = False  # enqueue has acknowledged it
    decided: State | None = None  # the state that was recorded last, while nobody changes it
    exit: str | None = None  # and how it says that the last attempt ended
    attempts: int = 0  # how many attempts had been recorded so that they last
    succeeded: bool = False  # the command has ended well at least once
    starts: int = 0  # how often the command was started
    going: bool = False  # somebody deletes it


@functools.cache
def _executor() -> LocalExecutor:
    return LocalExecutor()  # one, since it keeps descriptors


class Runner(Hand):
    """A worker in this process, at one level of durability."""

    def __init__(self, path: Path, level: str) -> None:
        self.spool, self.executor, self.said = Spool(path), _executor(), []
        self.level = level
        self.config = Config(durability=level, backoff_base=0, max_retries=2)
        self.admission = Admission(self.spool, limit=LIMIT)

    def take(self, place: str, name: str) -> Claim:
        claim = self.spool.claim(place, name, now=clock.now(), limit=LIMIT, durable=self.level == "full")
        assert isinstance(claim, Claim), claim
        return claim

    def start_over(self) -> None:
        """Do what a worker start does before anything is claimed."""
        recovery.sweep(self.spool, clock.now())
        recovery.settle_twins(self.spool, clock.now())
        recovery.recover(self.spool, self.config, self, self.admission)
        self.admit()

    def admit(self) -> None:
        """Admit the drops that are there."""
        self.admission.admit(look(self.spool, clock.now(), 1000).drops, clock.now())

    def drain(self) -> None:
        """Run all there is, retries at once."""
        for _ in range(20):
            now = clock.now() + 60_000
            seen = look(self.spool, now, 1000)
            found = [(entry.place, entry.name) for entry in seen.candidates]
            found += [("pending", name) for name in self.admission.admit(seen.drops, now).admitted]
            if not found:
                return
            for place, name in found:
                try:
                    claim = self.take(place, name)
                except BadJobFile as error:
                    self.admission.refuse_canonical(place, name, error, now)
                    continue
                attempt.run(self.spool, claim, self.executor, self.config, self, "host.2", ENV)
        raise AssertionError("there is always more to run")


class World:
    """A spool on a mounted disk, a worker on it, and what has been said about its jobs."""

    def __init__(self, mounted: Mounted, outside: Path, level: str) -> None:
        self.mounted, self.level = mounted, level
        self.runs = outside / f"runs-{os.urandom(4).hex()}"
        self.runs.touch()
        self.path = mounted.path / PLACE
        self.told: dict[str, Told] = {}
        self.created = False
        self.config: tuple[str, ...] = ("",)  # what config.toml may say
        self.paused: tuple[bool, ...] = (False,)
        self.kept: tuple[bytes, ...] = ()  # bytes that are no job, and must be somewhere

    def create(self) -> None:
        """Make the spool."""
        self.queue = Queue(self.path, create=True)
        self.created = True
        self.worker = Runner(self.path, self.level)
        self.spool = self.worker.spool

    def close(self) -> None:
        """Let go of the disk, so that it can be unmounted."""
        if self.created:
            self.spool.close()
            self.queue._spool.close()

    def sync(self) -> None:
        """Make all there is durable."""
        root = Directory(str(self.mounted.path))
        disk.sync_file_system(root)
        root.close()

    # Jobs, and what is said of them.

    def job(self, id: str, end: str = "true", **fields: Any) -> dict[str, Any]:
        """Return a job that says outside of the disk that it was started, and that it ended well."""
        self.told.setdefault(id, Told())
        start, ok = (f"echo {word} $QUEUECTL_JOB_ID >>{self.runs}" for word in ("start", "ok"))
        return {"command": f"{start}; ({end}) && {ok}", "id": id, "cwd": "/", **fields}

    def enqueue(self, *ids: str, **fields: Any) -> None:
        """Enqueue jobs of one kind, in one call."""
        self.queue.enqueue_many([self.job(id, **fields) for id in ids])
        for id in ids:
            self.told[id].there = True

    def drop(self, data: bytes, *, durable: bool) -> None:
        """Let a file of these bytes appear in pending/ by rename."""
        draft = self.mounted.path / "draft"
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(fd, data)
        if durable:
            os.fsync(fd)
        os.close(fd)
        os.rename(draft, self.path / "pending" / "drop.json")
        if durable:
            self.spool.directories["pending"].sync()

    def drop_job(self, id: str, *, durable: bool) -> None:
        """Drop a job as another tool does; it is promised once it is durable."""
        self.drop(json.dumps(self.job(id)).encode(), durable=durable)
        self.told[id].there = durable

    def claim(self, id: str) -> Claim:
        """Claim a job, which at the level `full` makes it durable."""
        place, name = self.where(id)
        self.change(id)
        claim = self.worker.take(place, name)
        self.told[id].there = self.told[id].there or self.level == "full"
        return claim

    def execute(self, claim: Claim) -> Outcome:
        """Run a claimed job's command to its end."""
        return attempt.execute(self.spool, claim, self.worker.executor, self.worker.config, self.worker, ENV)

    def settle(self, claim: Claim) -> None:
        """Record what has been decided about a job."""
        assert settling.settle(self.spool, claim, self.worker.config, self.worker)
        self.record(claim.job)

    def run(self, id: str) -> None:
        """Claim a job, run it, and record what becomes of it."""
        claim = self.claim(id)
        settling.decide(claim.job, self.execute(claim), self.worker.config, "host.1")
        self.settle(claim)

    def change(self, id: str) -> None:
        """Note that a job is about to change, so that its state is open until the next record."""
        self.told[id].decided = None

    def record(self, found: Job) -> None:
        """Note that somebody has been told of a job's new state."""
        told = self.told[found.id]
        told.decided, told.exit = found.state, found.exit
        if self.level == "full" or found.state is not State.COMPLETED:
            told.there, told.attempts = True, len(found.history)

    def where(self, id: str) -> tuple[str, str]:
        """Return the place and the name of a job."""
        found = catalog.find(self.spool, [id])[id]
        return found[0].value, found[1]

    def know(self) -> dict[str, Told]:
        """Return what is known of all jobs by now, the commands' own words included."""
        lines = self.runs.read_text().splitlines()
        told = copy.deepcopy(self.told)
        for id, known in told.items():
            known.starts, known.succeeded = lines.count(f"start {id}"), f"ok {id}" in lines
        return told
