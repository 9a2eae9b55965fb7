"""N worker processes on one spool: start them, wake them, restart those that die, stop them.

The supervisor keeps the time and the watch for all of them, so that its workers have no threads and an idle one
sleeps in a read. It never touches a job: correctness does not depend on it, and when it dies its workers finish what
they run and go. Signals only write to a pipe.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import select
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from queuectl import channel, clock, config, daemon, recovery, registry, startcheck
from queuectl.crew import Crew, Member
from queuectl.dispatcher import POLL_WITHOUT_WATCH_S, Dispatcher
from queuectl.executors import Cluster, Unavailable, choice
from queuectl.inbox import Inbox
from queuectl.listener import BUSY, Listener
from queuectl.progress import Bar, Totals, unfinished
from queuectl.remote import RemoteWorker
from queuectl.signals import SIGNALS, Signals
from queuectl.spool import Spool
from queuectl.terminal import ERASE, Terminal
from queuectl.variables import environment
from queuectl.worker import Worker

LOG = "workers.log"
RESTART_DELAYS_S = (0.0, 0.1, 0.5, 1.0, 5.0, 10.0)
STEADY_S = 30.0
DRAIN_CHECK_S = 0.5
STOPPING_CHECK_S = 60.0
_HEARD = (*SIGNALS, signal.SIGCHLD)


@dataclass(frozen=True, slots=True)
class Result:
    """How a run of workers ended: the exit code, attempts by what became of them, and the jobs that remain."""

    exit_code: int
    completed: int = 0
    failed: int = 0
    dead: int = 0
    remaining: int = 0
    pid: int | None = None
    log: str | None = None


@dataclass(slots=True)
class Options:
    """What a person asked for."""

    count: int
    drain: bool = False
    for_s: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    progress: Callable[[int, int], None] | None = None


class Supervisor:
    """Runs the workers of one spool until they are to stop."""

    def __init__(self, spool: Spool, options: Options, started: Callable[[str], None] | None = None) -> None:
        self._spool, self._options, self._started = spool, options, started
        self._config = self._load()
        self._crew = Crew(self._be_worker, self._forget)
        self._totals = Totals()
        self._left: set[str] = set()
        self._short = False
        self._listener = Listener({tag: str(spool.path / tag) for tag in (*BUSY, "cancel", ".")})
        self._dispatcher = Dispatcher(spool, self._crew, self._listener, self._forget_all)
        self._registered = -1
        self._stopping = False
        self._exit_code = 0
        self._end_at = None if options.for_s is None else clock.monotonic() + options.for_s
        self._restarts: list[tuple[float, int]] = []
        self._deaths = 0
        self._up = 0
        self._refused = False
        self._bar: Bar | None = None

    def _load(self) -> config.Config:
        return config.load(self._spool.config_text(), **self._options.settings)

    def run(self) -> Result:
        """Start the workers, and return when they have stopped."""
        self._signals = Signals(_HEARD)
        self._registered = registry.register(self._spool, registry.SUPERVISOR, os.getpid(), clock.now())
        try:
            self._begin()
            while len(self._crew) or (self._restarts and not self._stopping):
                self._turn()
        finally:
            self._listener.close()
            os.close(self._registered)
        return self._result()

    def _begin(self) -> None:
        """Look through the spool and start the workers, unless they are to stop already."""
        # In a large spool this takes seconds, and only now can `worker stop` see us.
        recovery.settle_twins(self._spool, clock.now())
        if self._options.progress:
            self._bar = Bar(self._options.progress, unfinished(self._spool))
        self._hear_signals()
        if not self._stopping:
            for number in range(1, self._options.count + 1):
                self._crew.start(number)

    def _turn(self) -> None:
        """Sleep until something happens, and see to it."""
        poll = select.poll()
        watched = [self._signals.fd, *(member.words.fd for member in self._crew)]
        if self._listener.events:
            watched.append(self._listener.events.fd)
        for fd in watched:
            poll.register(fd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(self._sleep_s() * 1000)}
        if self._signals.fd in ready:
            self._hear_signals()
        for member in self._crew:
            if member.words.fd in ready:
                self._hear(member)
        self._reap()
        try:
            self._hear_listener()
            self._keep_time()
            if not self._stopping:
                self._dispatcher.dispatch()
        except OSError as error:
            self._give_up(error)
        if self._bar:
            self._bar.update(self._totals)

    def _give_up(self, error: OSError) -> None:
        """Stop gracefully when the spool itself cannot be used any more."""
        if self._exit_code != 6:
            self._say(f"{error.filename or self._spool.path}: {error.strerror}; stopping")
        self._exit_code = 6
        self._stop("stop")

    # Workers.

    def _be_worker(self, number: int, inbox: int, words: int) -> None:
        """Live as a worker, in a forked process."""
        gc.freeze()  # what has been imported stays, and need not be gone through at each collection
        supervisor = channel.Writer(words, blocking=True)
        try:
            executor = choice.make(self._config, environment())
        except Unavailable as error:
            supervisor.say("refused", str(error))
            return
        ears = Inbox(channel.Reader(inbox))  # before others can see it, and signal it: a signal would be lost
        registered = registry.register(self._spool, registry.WORKER, os.getppid(), clock.now(), self._config.executor)
        supervisor.say("up")
        terminal = Terminal(number, self._config.log_level, over_bar=self._options.progress is not None)
        if isinstance(executor, Cluster):
            RemoteWorker(self._spool, self._load, executor, ears, supervisor, terminal, registered).run()
        else:
            Worker(self._spool, self._load, executor, ears, supervisor, terminal).run()
            os.close(registered)

    def _forget(self) -> None:
        """In a forked child: close what belongs to the supervisor."""
        self._signals.forget()
        for fd in (self._registered, *self._listener.fds()):
            os.close(fd)

    def _forget_all(self) -> None:
        self._crew.forget_in_child()
        self._forget()

    def _reap(self) -> None:
        """Start workers again that ended without having been told to."""
        for member, code, words in self._crew.reap():
            for verb, argument in words:
                self._heed(member, verb, argument)
            if not self._stopping:
                self._plan_restart(member, code)

    def _plan_restart(self, member: Member, code: int) -> None:
        now = clock.monotonic()
        self._deaths = 0 if now - member.started > STEADY_S else self._deaths + 1
        delay = RESTART_DELAYS_S[min(self._deaths, len(RESTART_DELAYS_S) - 1)]
        how = f"killed by signal {-code}" if code < 0 else f"exit {code}"
        self._say(f"Worker {member.number} has ended ({how}); starting another")
        self._restarts.append((now + delay, member.number))
        self._dispatcher.look_again()
        self._announce()  # whoever waits for the start is not to wait for a worker that cannot

    def _refuse(self, why: str) -> None:
        """A worker has nothing to run jobs with: give up at the start, and try again when it has worked before."""
        if not self._refused:
            self._say(f"error: {why}" if not self._up else f"No new jobs: {why}; trying again")
        self._refused = True
        if not self._up:
            self._exit_code = 6
            self._announce(why)
            self._stop("stop")

    def _announce(self, problem: str = "") -> None:
        """Tell whoever waits for the start, once, that the workers are there, or why there are none."""
        if self._started:
            self._started(problem)
            self._started = None

    # What is heard.

    def _heed(self, member: Member, verb: str, argument: str) -> None:
        if verb == "idle":
            self._dispatcher.became_idle(member, argument)
        elif verb == "up":
            self._up += 1
            self._refused = False
            if self._up == self._options.count:
                self._announce()
        elif verb == "refused":
            self._refuse(argument)
        elif verb == "more":
            self._dispatcher.more()
        elif verb == "count":
            self._totals.add(argument)
        elif verb == "left" and argument not in self._left:
            self._left.add(argument)
            self._say(argument)
        elif verb in ("short", "room") and self._short != (verb == "short"):
            self._short = verb == "short"  # each worker notices, and one line is enough
            self._say(f"No new jobs: {argument}" if self._short else "There is room again: jobs go on")

    def _hear_listener(self) -> None:
        for tag, name in self._listener.read():
            if not name:  # the system has lost names
                self._dispatcher.look_again()
            elif tag in BUSY:
                self._dispatcher.arrived(tag, name)
            elif tag == "cancel":
                self._crew.tell_all("cancel", name)
            elif (tag, name) == (".", "config.toml") or (tag == "armed" and "." in name.split()):
                self._reload()  # it may have changed before it was watched
                self._dispatcher.look_again()
            elif tag == "armed" or (tag, name) == (".", "paused"):
                self._dispatcher.look_again()
            elif tag == "unavailable":
                self._say(f"No file notification to be had ({name}); looking every {POLL_WITHOUT_WATCH_S:g} s instead")

    def _hear(self, member: Member) -> None:
        for verb, argument in member.words.words():
            self._heed(member, verb, argument)

    def _reload(self) -> None:
        try:
            self._config = self._load()
        except Exception as error:  # each worker says so too, and goes on with what it had
            self._say(f"Configuration not taken up: {error}")
        self._dispatcher.poll_within(self._config.poll_interval_sec)
        self._crew.tell_all("reload")

    # Time.

    def _sleep_s(self) -> float:
        now = clock.monotonic()
        waits = [STOPPING_CHECK_S]
        if not self._stopping:  # else only the workers' ends matter, and they are heard
            waits = [self._dispatcher.sleep_s(), *(at - now for at, _ in self._restarts)]
        if self._end_at is not None:
            waits.append(self._end_at - now)
        if self._bar:
            waits.append(self._bar.sleep_s())
        if self._options.drain and self._crew.idle():
            waits.append(DRAIN_CHECK_S)
        return max(0.0, min(waits))

    def _keep_time(self) -> None:
        now = clock.monotonic()
        if self._end_at is not None and now >= self._end_at:
            self._end_at = None
            self._stop("stop")
        for restart in [r for r in self._restarts if r[0] <= now]:
            self._restarts.remove(restart)
            if not self._stopping:
                self._crew.start(restart[1])
        if self._stopping:
            return
        if self._options.drain and len(self._crew.idle()) == self._options.count and self._dispatcher.drained():
            self._stop("stop")
        elif self._dispatcher.poll_is_due():
            self._poll()

    def _poll(self) -> None:
        """The safety net under notifications: look again, and see whether the spool is still where it was."""
        if not self._spool.still_there():
            raise FileNotFoundError(errno.ENOENT, "not the spool any more (moved or deleted)", str(self._spool.path))
        self._dispatcher.poll(self._config.poll_interval_sec)

    # The end.

    def _hear_signals(self) -> None:
        for number in self._signals.read():
            if number == signal.SIGCHLD:
                continue
            again = self._stopping and number == signal.SIGINT
            self._exit_code = 130 if number == signal.SIGINT else 143
            if again or number == signal.SIGQUIT:
                self._say("Ending the running jobs; they will be put back")
                self._stop("kill")
            elif not self._stopping:
                hint = " (Ctrl-C again ends them)" if number == signal.SIGINT else ""
                self._say(f"Stopping when the running jobs have ended{hint}")
                self._stop("stop")

    def _stop(self, verb: str) -> None:
        self._stopping = True
        self._crew.tell_all(verb)

    def _result(self) -> Result:
        totals = self._totals
        remaining = unfinished(self._spool, clock.now()) if self._options.drain else 0
        return Result(self._exit_code, totals.completed, totals.failed, totals.dead, remaining)

    def _say(self, text: str) -> None:
        mark = ERASE if self._options.progress else ""
        with contextlib.suppress(OSError):
            os.write(2, f"{mark}{text}\n".encode("utf-8", "backslashreplace"))


def run(
    path: str | os.PathLike[str],
    *,
    count: int | None = None,
    drain: bool = False,
    for_s: float | None = None,
    force: bool = False,
    detach: bool = False,
    settings: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Run worker processes on the spool at `path` until they are to stop.

    `count` processes (None: as configured); `drain` ends when nothing is ready, running or waiting for a retry; `for_s`
    stops after so many seconds; `settings` lie over the configuration. With `detach` it returns at once, pid and log
    file in the result. Raises `Refused` when the spool is not safe to run jobs from.
    """
    spool = Spool(path)
    for warning in startcheck.check(spool, force=force):
        os.write(2, f"warning: {warning}\n".encode("utf-8", "backslashreplace"))
    recovery.sweep(spool, clock.now())  # before anything is written: it may make room
    if spool.paused():
        os.write(2, b"The queue is paused; queuectl resume lets it go on\n")
    given = dict(settings or {})
    configured = config.load(spool.config_text(), **given)
    options = Options(count or configured.worker_count, drain, for_s, given, progress)
    if detach:
        log = str(spool.path / LOG)
        pid = daemon.detach(log, lambda started: Supervisor(spool, options, started).run().exit_code)
        return Result(0, pid=pid, log=log)
    return Supervisor(spool, options).run()
