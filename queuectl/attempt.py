"""One attempt at a job: execute -> decide -> settle, in this order.

Executing asks only for a command's end: start it, wait for it, end it when its time is up or somebody asks, and say
what happened. The rest is in settling.py. A failed command is an `Outcome`, never an exception.
"""

from __future__ import annotations

import errno
import os
import signal

from msgspec import Struct

from queuectl import clock
from queuectl.config import Config
from queuectl.executors import NOT_STARTED, TIMEOUT, CannotStart, Execution, Executor, Exit, Order
from queuectl.job import Job
from queuectl.settling import CANCELLED, STOPPED, Control, Outcome, close, release, settle
from queuectl.spool import Claim, Spool

TICK_S = 0.25  # how often a running job's new output is shown
MEASURE_S = 0.05  # and how often the size of its log is looked at, where that is limited
GROUP_POLL_S = 0.02
FLOOD = f"sig{int(signal.SIGXFSZ)}"  # more output than max_log_bytes: the word that the kernel has for it
_NEVER = (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EACCES, errno.EPERM)  # waiting would not open this log


class Watched(Struct, frozen=True):
    """A running command and what is watched meanwhile; `timeout` is in seconds, 0 for none."""

    execution: Execution
    id: str
    started: int
    log: int
    log_start: int
    timeout: float
    most: int = 0

    def close(self) -> None:
        """Close the log."""
        os.close(self.log)

    def flooded(self, size: int) -> bool:
        """Say whether a log of this size holds more output of this attempt than it may."""
        return bool(self.most) and size - self.log_start > self.most


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
        abandon(spool, claim, config, control)
        raise
    close(spool, claim, outcome, config, control, worker)
    return outcome


def abandon(spool: Spool, claim: Claim, config: Config, control: Control) -> None:
    """Let go of a job whose attempt the machine has refused to begin or to follow."""
    if claim.started:
        claim.close()  # the command still holds the lock; without a record of its end, the attempt is lost
    else:
        release(claim.job, clock.now())
        settle(spool, claim, config, control)


def execute(
    spool: Spool, claim: Claim, executor: Executor, config: Config, control: Control, env: dict[str, str]
) -> Outcome:
    """Run the command of a claimed job to its end, or to its timeout, or until it is cancelled."""
    watched = begin(spool, claim, executor, config, env)
    if isinstance(watched, Outcome):
        return watched
    try:
        end, asked = _wait(watched, config.kill_grace_sec, control)
        outcome = conclude(watched, end, asked)
        if outcome.log_end > outcome.log_start:
            control.tick(watched.log, watched.log_start)
        return outcome
    finally:
        watched.close()


def begin(spool: Spool, claim: Claim, executor: Executor, config: Config, env: dict[str, str]) -> Watched | Outcome:
    """Start the command of a claimed job; an `Outcome` when that cannot be done."""
    found = claim.job
    try:
        log = spool.open_log(found.id)
    except OSError as error:
        if error.errno not in _NEVER:
            raise
        return Outcome(NOT_STARTED, f"cannot open its log: {error.strerror}", clock.now(), clock.now())
    try:
        started, log_start = clock.now(), os.fstat(log).st_size
        timeout = config.job_timeout_sec if found.timeout is None else float(found.timeout)
        environment = _environment(found, spool, env)
        resources = found.resources or {}
        order = Order(
            found.command, found.cwd, environment, claim.fd, log, found.id, resources, timeout, config.kill_grace_sec
        )
        execution = executor.start(order)
    except CannotStart as error:
        os.close(log)
        return Outcome(NOT_STARTED, str(error), started, clock.now(), None, None, log_start, log_start)
    except BaseException:
        os.close(log)
        raise
    claim.started = True
    return Watched(execution, found.id, started, log, log_start, timeout, config.max_log_bytes)


def conclude(watched: Watched, end: Exit, asked: str | None) -> Outcome:
    """Say what happened in an attempt whose command has ended; `asked` is who ended it, None for the command itself."""
    log_end = _size(watched.log, watched.log_start)
    if asked is None and watched.flooded(log_end):
        asked = FLOOD  # it ended before we saw it; what is too much must not depend on that
    word, error = _spell(end, asked or end.reason, watched)
    finished = clock.now()
    started = watched.started if end.took_s is None else finished - round(end.took_s * 1000)
    return Outcome(word, error, started, finished, end.code, end.signal, watched.log_start, log_end, end.host)


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


def _wait(watched: Watched, grace: float, control: Control) -> tuple[Exit, str | None]:
    """Wait for the end of a command; the second part says who ended it, None for the command itself."""
    deadline = clock.monotonic() + watched.timeout if watched.timeout else None
    tick = MEASURE_S if watched.most else TICK_S
    while True:
        left = tick if deadline is None else min(tick, deadline - clock.monotonic())
        end = watched.execution.wait(left, control.fds())
        if end:
            return end, None
        control.tick(watched.log, watched.log_start)
        asked = control.word(watched.id)
        if asked is None and deadline is not None and clock.monotonic() >= deadline:
            asked = TIMEOUT
        if asked is None and floods(watched):
            asked = FLOOD
        if asked:
            return _end_group(watched.execution, grace), asked


def floods(watched: Watched) -> bool:
    """Look whether a running command has printed more than it may."""
    return bool(watched.most) and watched.flooded(_size(watched.log, 0))


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


def _spell(end: Exit, reason: str | None, watched: Watched) -> tuple[str, str | None]:
    """Return the word for how a command ended, and the error for people."""
    if reason == TIMEOUT:
        return TIMEOUT, f"timeout after {clock.brief(watched.timeout)}"
    if reason == CANCELLED:
        return CANCELLED, CANCELLED
    if reason == FLOOD:
        return FLOOD, f"more output than max_log_bytes ({watched.most} bytes)"
    if reason == STOPPED:
        return STOPPED, "stopped with its worker"
    if reason:
        return reason, end.error
    if end.signal is not None:
        return f"sig{end.signal}", f"killed by signal {end.signal}{_signal_name(end.signal)}"
    return str(end.code), f"exit {end.code}" if end.code else None


def _signal_name(number: int) -> str:
    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:
        return ""
