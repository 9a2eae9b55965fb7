"""What becomes of a job after an attempt: decide by the rules, write the decision down, move the job.

When the disk does not take the decision, the job is kept and writing is tried again. A failed command is an `Outcome`,
never an exception.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from queuectl import clock, job, retry
from queuectl.config import Config
from queuectl.job import Job, State
from queuectl.spool import Claim, Spool

RETRY_SETTLE_S = 1.0
CANCELLED = "cancelled"
STOPPED = "stopped"


class Outcome(Struct):
    """What happened in one attempt; `exit` is the word for the job's name (`0`, `7`, `sig9`, `timeout`)."""

    exit: str
    error: str | None
    started: int
    finished: int
    exit_code: int | None = None
    signal: int | None = None
    log_start: int = 0
    log_end: int = 0
    host: str | None = None
    recorded: bool = True

    @property
    def succeeded(self) -> bool:
        """Whether the command ended with exit code 0, unasked."""
        return self.exit == "0"


class Control(Protocol):
    """What an attempt hears from outside while its command runs."""

    def fds(self) -> Sequence[int]:
        """Return descriptors that become readable when there may be a word."""

    def word(self, id: str) -> str | None:
        """Return CANCELLED or STOPPED when the job is to be ended, else None."""

    def tick(self, log: int, start: int) -> None:
        """Show what the command has printed meanwhile into its log, from the offset `start` on."""

    def say(self, text: str) -> None:
        """Tell the operator."""


def max_retries(found: Job, config: Config) -> int:
    """Return how many runs a job may have after its first."""
    return config.max_retries if found.max_retries is None else found.max_retries


def policy(found: Job, config: Config) -> retry.Policy:
    """Return the job's retry policy, its own fields over the configuration."""
    return retry.Policy(
        max_retries=max_retries(found, config),
        backoff_base=config.backoff_base if found.backoff_base is None else found.backoff_base,
        backoff_max=config.backoff_max,
        jitter=config.backoff_jitter,
    )


def close(spool: Spool, claim: Claim, outcome: Outcome, config: Config, control: Control, worker: str) -> None:
    """Decide what becomes of a job after an attempt, and settle it."""
    if outcome.exit == STOPPED:
        release(claim.job, clock.now())
    else:
        decide(claim.job, outcome, config, worker)
    outcome.recorded = settle(spool, claim, config, control)


def decide(found: Job, outcome: Outcome, config: Config, worker: str) -> None:
    """Write into a job what becomes of it after an attempt: completed, failed until its retry, or dead."""
    found.attempts += 1
    found.rev += 1
    found.updated_at = finished = clock.iso(outcome.finished)
    found.exit, found.exit_code, found.last_error = outcome.exit, outcome.exit_code, outcome.error
    found.history.append(
        job.Attempt(
            attempt=found.attempts,
            worker=worker,
            started_at=clock.iso(outcome.started),
            finished_at=finished,
            host=outcome.host or worker.rpartition(".")[0] or None,
            exit_code=outcome.exit_code,
            signal=outcome.signal,
            error=outcome.error,
            log_start=outcome.log_start,
            log_end=outcome.log_end,
        )
    )
    if outcome.succeeded:
        found.state = State.COMPLETED
        return
    again = None
    if outcome.exit != CANCELLED:
        from random import random  # whose import costs as much as a few jobs

        again = retry.at(found.attempts, policy(found, config), outcome.finished, random())
    if again is None:
        found.state = State.DEAD
    else:
        found.state, found.due_at = State.FAILED, clock.iso(again)


def release(found: Job, now: int) -> None:
    """Put a job back where it waited, its attempt unspent."""
    found.rev += 1
    found.state = State.PENDING
    found.updated_at = clock.iso(now)


def settle(spool: Spool, claim: Claim, config: Config, control: Control) -> bool:
    """Write the decision down and move the job; while the disk refuses, keep the job, say so once and try again.

    Returns False when the decision was not recorded: the job was moved by hand, or the worker may not wait.
    """
    durable = config.durability == "full" or claim.job.state is not State.COMPLETED
    told = False
    while True:
        try:
            recorded = spool.settle(claim, now=clock.now(), durable=durable)
            if not recorded:
                control.say(f"Job {claim.job.id} was moved by hand while it ran; its result is not recorded")
            elif told:
                control.say(f"Job {claim.job.id} is recorded now")
            return recorded
        except OSError as error:
            if not told:
                reason = errno.errorcode.get(error.errno or 0, "?")
                control.say(f"Cannot record job {claim.job.id} ({reason}: {error.strerror}); trying again every second")
            told = True
            if control.word(claim.job.id) == STOPPED or spool.deleted():
                control.say(f"Job {claim.job.id} is left for recovery, its result unrecorded")
                claim.close()
                return False
            clock.sleep(RETRY_SETTLE_S)
