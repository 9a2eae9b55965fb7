"""One attempt at a job: execute -> decide -> settle, in this order.

Executing asks only for a command's end; deciding is the rules' part; settling writes the decision down, and when the
disk does not take it, keeps the job and tries again. A failed command is an `Outcome`, never an exception.
"""

from __future__ import annotations

import errno
import os
import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from queuectl import clock, job, retry
from queuectl.config import Config
from queuectl.executors import CannotStart, Execution, Executor, Exit, Order
from queuectl.job import Job, State
from queuectl.spool import Claim, Spool

TICK_S = 0.25  # how often a running job's new output is shown
MEASURE_S = 0.05  # and how often the size of its log is looked at, where that is limited
RETRY_SETTLE_S = 1.0
GROUP_POLL_S = 0.02
CANCELLED = "cancelled"
STOPPED = "stopped"
TIMEOUT = "timeout"
LOST = "lost"
FLOOD = f"sig{int(signal.SIGXFSZ)}"  # more output than max_log_bytes: the word that the kernel has for it
NOT_STARTED = "nostart"
_NEVER = (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EACCES, errno.EPERM)  # waiting would not open this log


@dataclass(slots=True)
class Outcome:
    """What happened in one attempt; `exit` is the word for the job's name (`0`, `7`, `sig9`, `timeout`)."""

    exit: str
    error: str | None
    started: int
    finished: int
    exit_code: int | None = None
    signal: int | None = None
    log_start: int = 0
    log_end: int = 0
    recorded: bool = True

    @property
    def succeeded(self) -> bool:
        """Whether the command ended with exit code 0, unasked."""
        return self.exit == "0"


@dataclass(frozen=True, slots=True)
class Watched:
    """A running command and what is watched meanwhile."""

    execution: Execution
    control: Control
    id: str
    log: int
    log_start: int
    most: int = 0

    def flooded(self, size: int) -> bool:
        """Say whether a log of this size holds more output of this attempt than it may."""
        return bool(self.most) and size - self.log_start > self.most


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


def run(
    spool: Spool, claim: Claim, executor: Executor, config: Config, control: Control, worker: str, env: dict[str, str]
) -> Outcome:
    """Make one attempt at a claimed job and settle it; afterwards `claim.job` says what became of it.

    Raises OSError when the machine has no room to start the command; the job has then been put back, unspent. When it
    refuses something later, `claim.started` is set, and recovery counts the attempt once the command has ended.
    """
    try:
        outcome = execute(spool, claim, executor, config, control, env)
    except OSError:
        if claim.started:
            claim.close()  # the command still holds the lock; without a record of its end, the attempt is lost
        else:
            release(claim.job, clock.now())
            settle(spool, claim, config, control)
        raise
    if outcome.exit == STOPPED:
        release(claim.job, clock.now())
    else:
        decide(claim.job, outcome, config, worker)
    outcome.recorded = settle(spool, claim, config, control)
    return outcome


def execute(
    spool: Spool, claim: Claim, executor: Executor, config: Config, control: Control, env: dict[str, str]
) -> Outcome:
    """Run the command of a claimed job to its end, or to its timeout, or until it is cancelled."""
    found = claim.job
    try:
        log = spool.open_log(found.id)
    except OSError as error:
        if error.errno not in _NEVER:
            raise
        return Outcome(NOT_STARTED, f"cannot open its log: {error.strerror}", clock.now(), clock.now())
    try:
        started, log_start = clock.now(), os.fstat(log).st_size
        order = Order(found.command, found.cwd, _environment(found, spool, env), claim.fd, log)
        try:
            execution = executor.start(order)
        except CannotStart as error:
            return Outcome(NOT_STARTED, str(error), started, clock.now(), None, None, log_start, log_start)
        claim.started = True
        timeout = config.job_timeout_sec if found.timeout_s is None else found.timeout_s
        watched = Watched(execution, control, found.id, log, log_start, config.max_log_bytes)
        end, asked = _wait(watched, timeout, config.kill_grace_sec)
        log_end = _size(log, log_start)
        if asked is None and watched.flooded(log_end):
            asked = FLOOD  # it ended before we saw it; what is too much must not depend on that
        outcome = _outcome(end, asked, timeout, started, config.max_log_bytes)
        outcome.log_start, outcome.log_end = log_start, log_end
        if log_end > log_start:
            control.tick(log, log_start)
        return outcome
    finally:
        os.close(log)


def _size(log: int, otherwise: int) -> int:
    try:
        return os.fstat(log).st_size
    except OSError:
        return otherwise


def _environment(found: Job, spool: Spool, env: dict[str, str]) -> dict[str, str]:
    own = dict(env)
    if found.cwd is not None:
        own["PWD"] = found.cwd  # a shell that finds another directory there would correct it; a program cannot
    if found.env:
        own.update(found.env)
    own["QUEUECTL_JOB_ID"] = found.id
    own["QUEUECTL_ATTEMPT"] = str(found.attempts + 1)
    own["QUEUECTL_SPOOL"] = spool.place
    return own


def _wait(watched: Watched, timeout: float, grace: float) -> tuple[Exit, str | None]:
    """Wait for the end of a command; the second part says who ended it, None for the command itself."""
    deadline = clock.monotonic() + timeout if timeout else None
    tick = MEASURE_S if watched.most else TICK_S
    while True:
        left = tick if deadline is None else min(tick, deadline - clock.monotonic())
        end = watched.execution.wait(left, watched.control.fds())
        if end:
            return end, None
        watched.control.tick(watched.log, watched.log_start)
        asked = watched.control.word(watched.id)
        if asked is None and deadline is not None and clock.monotonic() >= deadline:
            asked = TIMEOUT
        if asked is None and watched.most and watched.flooded(_size(watched.log, 0)):
            asked = FLOOD
        if asked:
            return _end_group(watched.execution, grace), asked


def _end_group(execution: Execution, grace: float) -> Exit:
    """End a command and its group: TERM, the grace period, KILL."""
    execution.terminate()
    deadline = clock.monotonic() + grace
    end = None
    while end is None and clock.monotonic() < deadline:
        end = execution.wait(deadline - clock.monotonic(), ())
    while end and execution.group_alive() and clock.monotonic() < deadline:
        clock.sleep(GROUP_POLL_S)
    execution.kill()
    while end is None:
        end = execution.wait(None, ())
    return end


def _outcome(end: Exit, asked: str | None, timeout: float, started: int, most: int) -> Outcome:
    error: str | None
    if asked == TIMEOUT:
        word, error = TIMEOUT, f"timeout after {clock.brief(timeout)}"
    elif asked == CANCELLED:
        word, error = CANCELLED, CANCELLED
    elif asked == FLOOD:
        word, error = FLOOD, f"more output than max_log_bytes ({most} bytes)"
    elif asked:
        word, error = STOPPED, "stopped with its worker"
    elif end.signal is not None:
        word, error = f"sig{end.signal}", f"killed by signal {end.signal}{_signal_name(end.signal)}"
    else:
        word, error = str(end.code), f"exit {end.code}" if end.code else None
    return Outcome(word, error, started, clock.now(), end.code, end.signal)


def _signal_name(number: int) -> str:
    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:
        return ""


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
            exit_code=outcome.exit_code,
            signal=outcome.signal,
            error=outcome.error,
            log_start=outcome.log_start,
            log_end=outcome.log_end,
        )
    )
    decision: retry.Decision = retry.Bury()
    if outcome.exit != CANCELLED:
        decision = retry.decide(
            succeeded=outcome.succeeded,
            attempts=found.attempts,
            policy=policy(found, config),
            now=outcome.finished,
            chance=random.random(),
        )
    match decision:
        case retry.Complete():
            found.state = State.COMPLETED
        case retry.Retry(at):
            found.state, found.due_at = State.FAILED, clock.iso(at)
        case retry.Bury():
            found.state = State.DEAD


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
