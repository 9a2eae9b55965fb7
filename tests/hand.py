"""A worker without a process of its own, for tests that want to see each step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from queuectl import attempt, clock, settling
from queuectl.config import Config
from queuectl.executors.local import LocalExecutor
from queuectl.job import Job
from queuectl.scan import look
from queuectl.settling import Outcome
from queuectl.spool import Claim, Spool


class Hand:
    """A worker in this process: claims one job at a time and runs it, when it is told to."""

    def __init__(self, path: Path) -> None:
        self.spool = Spool(path)
        self.config = Config()
        self.executor = LocalExecutor()
        self.said: list[str] = []

    # The words of `settling.Control`.

    def fds(self) -> Sequence[int]:
        return ()

    def word(self, _id: str) -> str | None:
        return None

    def tick(self, _log: int, _start: int) -> None:
        return None

    def say(self, text: str) -> None:
        self.said.append(text)

    # What a test asks for.

    def claim(self, id: str = "") -> Claim:
        """Claim the first ready job, or the one of this id."""
        for candidate in look(self.spool, clock.now(), 1000).candidates:
            if not id or candidate.name.endswith(f".{id}.json"):
                claim = self.spool.claim(candidate.place, candidate.name, now=clock.now(), limit=2**20, durable=False)
                assert isinstance(claim, Claim)
                return claim
        raise AssertionError(f"no job {id} is ready")

    def run(self, id: str = "") -> Job:
        """Run the first ready job, or the one of this id, to its end, and return it as it is then."""
        claim = self.claim(id)
        env = {"PATH": "/usr/bin:/bin"}
        attempt.run(self.spool, claim, self.executor, self.config, self, "host.1", env)
        return claim.job

    def fail(self, id: str = "") -> Job:
        """Let an attempt at a job fail without running it."""
        claim = self.claim(id)
        now = clock.now()
        settling.decide(claim.job, Outcome("7", "exit 7", now, now, 7), self.config, "host.1")
        assert self.spool.settle(claim, now=now, durable=False)
        return claim.job
