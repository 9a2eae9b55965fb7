"""N worker processes on one spool: start them, wake them, restart those that die, stop them.

The supervisor keeps the time and the watch for all of them, so that its workers have no threads and an idle one
sleeps in a read. It never touches a job: correctness does not depend on it, and when it dies its workers finish what
they run and go. Signals only write to a pipe.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from queuectl import channel, clock, config, daemon, names, recovery, registry, startcheck
from queuectl.crew import Crew, Member
from queuectl.executors.local import LocalExecutor
from queuectl.inbox import Inbox
from queuectl.job import State
from queuectl.listener import BUSY, Listener
from queuectl.scan import look
from queuectl.spool import Spool
from queuectl.terminal import ERASE, Terminal
from queuectl.worker import Worker

LOG = "workers.log"
DISARM_AFTER_S = 0.1
POLL_WITHOUT_WATCH_S = 1.0
RESTART_DELAYS_S = (0.0, 0.1, 0.5, 1.0, 5.0, 10.0)
STEADY_S = 30.0
PROGRESS_S = 0.1
DRAIN_CHECK_S = 0.5
POLL_COSTS = 30  # a poll may cost a thirtieth of the time at most


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
class Totals:
    """What all workers together have done."""

    completed: int = 0
    failed: int = 0
    dead: int = 0


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

    def __init__(self, spool: Spool, options: Options, started: Callable[[], None] | None = None) -> None:
        self._spool, self._options, self._started = spool, options, started
        self._config = self._load()
        self._crew = Crew(self._be_worker, self._forget)
        self._totals = Totals()
        self._listener = Listener({tag: str(spool.path / tag) for tag in (*BUSY, "cancel", ".")})
        self._registered = -1
        self._wake = self._wake_out = -1
        self._stopping = False
        self._exit_code = 0
        # There may be work that no worker has looked at since it came.
        self._dirty = False
        self._due: int | None = None
        self._poll_at = clock.monotonic() + self._config.poll_interval_sec
        self._scan_cost = 0.0
        self._disarm_at: float | None = None
        self._end_at = None if options.for_s is None else clock.monotonic() + options.for_s
        self._restarts: list[tuple[float, int]] = []
        self._deaths = 0
        self._total = 0
        self._progress_at = 0.0

    def _load(self) -> config.Config:
        return config.load(self._spool.config_text(), **self._options.settings)

    def run(self) -> Result:
        """Start the workers, and return when they have stopped."""
        self._listen_to_signals()
        self._registered = registry.register(self._spool, registry.SUPERVISOR, os.getpid(), clock.now())
        try:
            if self._options.progress:
                self._total = self._unfinished()
            for number in range(1, self._options.count + 1):
                self._crew.start(number)
            if self._started:
                self._started()
            while len(self._crew) or (self._restarts and not self._stopping):
                self._turn()
        finally:
            self._listener.close()
            os.close(self._registered)
        return self._result()

    def _turn(self) -> None:
        """Sleep until something happens, and see to it."""
        poll = select.poll()
        watched = [self._wake, *(member.words.fd for member in self._crew)]
        if self._listener.events:
            watched.append(self._listener.events.fd)
        for fd in watched:
            poll.register(fd, select.POLLIN)
        poll.poll(max(0.0, self._sleep_s()) * 1000)
        self._hear_signals()
        self._hear_workers()
        self._hear_listener()
        self._reap()
        self._keep_time()
        self._dispatch()
        self._show_progress()

    def _sleep_s(self) -> float:
        now = clock.monotonic()
        waits = [self._poll_at - now]
        if self._due is not None and self._crew.idle() and not self._stopping:
            waits.append((self._due - clock.now()) / 1000)
        waits += [at - now for at in (self._disarm_at, self._end_at) if at is not None]
        waits += [at - now for at, _ in self._restarts]
        if self._options.progress:
            waits.append(self._progress_at - now)
        if self._options.drain and self._crew.idle():
            waits.append(DRAIN_CHECK_S)
        return min(waits)

    # Workers.

    def _be_worker(self, number: int, inbox: int, words: int) -> None:
        """Live as a worker, in a forked process."""
        registered = registry.register(self._spool, registry.WORKER, os.getppid(), clock.now())
        worker = Worker(
            self._spool,
            self._load,
            executor=LocalExecutor(),
            inbox=Inbox(channel.Reader(inbox)),
            supervisor=channel.Writer(words, blocking=True),
            terminal=Terminal(number, self._config.log_level, over_bar=self._options.progress is not None),
        )
        worker.run()
        os.close(registered)

    def _forget(self) -> None:
        """In a forked child: close what belongs to the supervisor."""
        for fd in (self._wake, self._wake_out, self._registered, *self._listener.fds()):
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
        self._dirty = True

    def _give(self, member: Member, verb: str, argument: str = "") -> None:
        """Give an idle worker something to do."""
        member.idle = False
        if not member.inbox.say(verb, argument):
            self._dirty = True  # it is dead; whoever comes next must look

    # What is heard.

    def _hear_workers(self) -> None:
        for member in self._crew:
            for verb, argument in member.words.words():
                self._heed(member, verb, argument)

    def _heed(self, member: Member, verb: str, argument: str) -> None:
        if verb == "idle":
            stamp, _, cost = argument.partition(" ")
            member.idle = True
            self._scan_cost = float(cost)
            if stamp != "-":
                self._note_due(clock.unstamp(stamp))
        elif verb == "more":
            idle = self._crew.idle()
            if idle:
                self._give(idle[0], "scan")
            else:
                self._dirty = True
        elif verb == "count":
            completed, failed, dead = map(int, argument.split())
            self._totals.completed += completed
            self._totals.failed += failed
            self._totals.dead += dead

    def _note_due(self, instant: int) -> None:
        self._due = instant if self._due is None else min(self._due, instant)

    def _hear_listener(self) -> None:
        for tag, name in self._listener.read():
            if tag in BUSY:
                self._arrived(tag, name)
            elif tag == "cancel":
                self._crew.tell_all("cancel", name)
            elif tag == "." and name == "paused":
                self._dirty = True
            elif tag == "." and name == "config.toml":
                self._reload()
            elif tag == "armed":
                self._dirty = True  # what came before the watch was armed
            elif tag == "unavailable":
                self._say(f"No file notification to be had ({name}); looking every {POLL_WITHOUT_WATCH_S:g} s instead")

    def _arrived(self, tag: str, name: str) -> None:
        """Hand a name that has come to an idle worker, or remember that one must look."""
        known = names.waiting(name)
        if known is None and not (tag == State.PENDING and names.is_drop(name)):
            return
        if known is not None and known.due > clock.stamp(clock.now()):
            self._note_due(clock.unstamp(known.due))
            return
        idle = self._crew.idle()
        if idle and not self._stopping and not self._spool.paused():
            self._give(idle[0], "try", f"{tag}/{name}")
        else:
            self._dirty = True

    def _reload(self) -> None:
        try:
            self._config = self._load()
        except Exception as error:  # each worker says so too, and goes on with what it had
            self._say(f"Configuration not taken up: {error}")
        self._crew.tell_all("reload")

    # Time.

    def _keep_time(self) -> None:
        now = clock.monotonic()
        if self._end_at is not None and now >= self._end_at:
            self._end_at = None
            self._stop("stop")
        for restart in [r for r in self._restarts if r[0] <= now]:
            self._restarts.remove(restart)
            if not self._stopping:
                self._crew.start(restart[1])
        if self._disarm_at is not None and now >= self._disarm_at:
            self._disarm_at = None
            self._listener.disarm()
        if now >= self._poll_at:
            self._poll(now)

    def _poll(self, now: float) -> None:
        """The safety net under notifications: let a worker recover and look, and pass on what may have been missed."""
        interval = self._config.poll_interval_sec
        if self._listener.unavailable:
            interval = min(interval, POLL_WITHOUT_WATCH_S)
        self._poll_at = now + max(interval, POLL_COSTS * self._scan_cost)
        if not self._spool.still_there():
            self._say(f"{self._spool.path} is not the spool any more (moved or deleted); stopping")
            self._exit_code = 6
            self._stop("stop")
            return
        for id in self._spool.cancel_requests():
            self._crew.tell_all("cancel", id)
        if self._listener.unavailable:
            self._crew.tell_all("reload")
        idle = self._crew.idle()
        if idle and not self._stopping and not self._spool.paused():
            self._give(idle[0], "poll")

    def _dispatch(self) -> None:
        """See to it that work which may be there is looked at, and that the watch is armed while a worker is idle."""
        if self._stopping:
            return
        idle = self._crew.idle()
        if not idle:
            if self._listener.asked and self._disarm_at is None:
                self._disarm_at = clock.monotonic() + DISARM_AFTER_S
            return
        self._disarm_at = None
        if self._options.drain and len(idle) == self._options.count and not self._dirty and self._drained():
            self._stop("stop")
            return
        if self._listener.events is None and not self._listener.unavailable:
            self._listener.start(self._forget_all)
        self._listener.arm()
        if self._due is not None and self._due <= clock.now():
            self._due, self._dirty = None, True
        if self._dirty and not self._spool.paused():
            self._dirty = False
            self._give(idle[0], "scan")

    def _drained(self) -> bool:
        """Say whether no job is ready, running or waiting for a retry."""
        # RACE: a job may go from processing/ to failed/ between two looks, so failed/ is looked at again.
        for state in (State.FAILED, State.PROCESSING, State.FAILED):
            if any(not name.startswith(".") for name in self._spool.directory(state).names()):
                return False
        seen = look(self._spool, clock.now(), 1)
        return not seen.candidates and not any(self._may_be_job(name) for name in seen.drops)

    def _may_be_job(self, name: str) -> bool:
        return not os.path.isdir(self._spool.path / "pending" / name)

    # The end.

    def _listen_to_signals(self) -> None:
        self._wake, self._wake_out = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._wake_out, False)
        signal.set_wakeup_fd(self._wake_out, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)

    def _hear_signals(self) -> None:
        try:
            numbers = os.read(self._wake, 512)
        except BlockingIOError:
            return
        for number in numbers:
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
        remaining = self._unfinished() if self._options.drain else 0
        return Result(self._exit_code, totals.completed, totals.failed, totals.dead, remaining)

    def _unfinished(self) -> int:
        return sum(
            sum(1 for name in self._spool.directory(state).names() if names.is_drop(name))
            for state in (State.PENDING, State.FAILED, State.PROCESSING)
        )

    def _show_progress(self) -> None:
        if self._options.progress and clock.monotonic() >= self._progress_at:
            self._progress_at = clock.monotonic() + PROGRESS_S
            done = self._totals.completed + self._totals.dead
            self._options.progress(done, max(self._total, done))

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
    recovery.sweep(spool, clock.now())
    given = dict(settings or {})
    configured = config.load(spool.config_text(), **given)
    options = Options(count or configured.worker_count, drain, for_s, given, progress)
    if detach:
        log = str(spool.path / LOG)
        pid = daemon.detach(log, lambda started: Supervisor(spool, options, started).run().exit_code)
        return Result(0, pid=pid, log=log)
    return Supervisor(spool, options).run()
