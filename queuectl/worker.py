"""One worker process: look for work, claim it, run it, settle it; when there is none, wait for a word.

A worker knows nothing of its fellows: the rename is the claim, and losing one is no error. It scans when told that
there may be work, never because time has passed; the supervisor, or whoever else holds its inbox, keeps the clock and
the watch. When the inbox ends it finishes its job and goes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from queuectl import attempt, channel, clock, expiry, recovery, registry, settling
from queuectl.config import Config
from queuectl.errors import QueuectlError
from queuectl.executors import Executor
from queuectl.inbox import Inbox
from queuectl.job import Job, State
from queuectl.plan import Plan
from queuectl.room import Gauge
from queuectl.settling import CANCELLED, Outcome
from queuectl.spool import Claim, Spool
from queuectl.terminal import Terminal
from queuectl.variables import environment

NO_ROOM_S = 1.0
REPORT_S = 0.1
TROUBLE_S = 1.0
NO_ROOM_COSTS = 30  # how much longer than a scan the wait for room is
EXPIRY_COSTS = 25  # and how much longer than an expiry the wait for the next


@dataclass(slots=True)
class Tally:
    """How many attempts a worker has settled, by what became of the job."""

    completed: int = 0
    failed: int = 0
    dead: int = 0


class Worker:
    """A worker on one spool. `supervisor` hears when it is idle and what it has done."""

    def __init__(
        self,
        spool: Spool,
        load: Callable[[], Config],
        executor: Executor,
        inbox: Inbox,
        supervisor: channel.Writer | None,
        terminal: Terminal,
    ) -> None:
        self.spool, self._load, self.config = spool, load, load()
        self.name = registry.worker_name()
        self._executor, self._inbox, self._supervisor, self._terminal = executor, inbox, supervisor, terminal
        self._env = environment()
        self._plan = Plan(spool, self.config, terminal, self._tell)
        self._recovered_at = self._reported_at = self._expire_at = 0.0
        self._tally = Tally()
        self._called = True
        self._trouble = ""
        self._gauge = Gauge(spool.path)
        self._short = False

    # The words of `settling.Control`.

    def fds(self) -> Sequence[int]:
        """Return what may interrupt a wait."""
        return self._inbox.fds()

    def word(self, id: str) -> str | None:
        """Return why the job is to be ended."""
        return self._inbox.asks_to_end(id)

    def tick(self, log: int, start: int) -> None:
        """Show new output, and report what the jobs before have come to."""
        self._terminal.echo(log, start)
        if clock.monotonic() - self._reported_at > REPORT_S:
            self._report()

    def say(self, text: str) -> None:
        """Warn the operator."""
        self._terminal.warn(text)

    # The loop.

    def run(self) -> None:
        """Work until told to stop."""
        while True:
            self._inbox.take()
            if self._inbox.stopping:
                break
            self._inbox.forget()
            try:
                if not self.run_once():
                    self._idle()
            except OSError as error:
                self._suffer(error)
        self._report()

    def _suffer(self, error: OSError) -> None:
        """Say what the machine refuses, once, and try again in a moment: nothing is claimed here."""
        trouble = f"{error.strerror}{f': {error.filename}' if error.filename else ''}"
        if trouble != self._trouble:
            self._trouble = trouble
            self._terminal.warn(f"Cannot look for work ({trouble}); trying again")
        self._inbox.wait(TROUBLE_S)

    def run_once(self) -> bool:
        """Claim the next job that is ready and run it; False when there is none."""
        if self._inbox.reload:
            self._reload()
        if not self._recovered_at:
            self.recover()
            self._plan.look()
        claim = None if self.spool.paused() or not self._has_room() else self._claim_next()
        if claim is None:
            return False
        self._call_others()
        self._run(claim)
        return True

    def _has_room(self) -> bool:
        """Say whether the disk has room for another job by the settings, and tell when that changes."""
        wanted = self.config.min_free_bytes
        short = self._gauge.short(wanted) if wanted else None
        if short:
            wait = max(NO_ROOM_S, NO_ROOM_COSTS * self._plan.cost_s)
            self._plan.note(clock.now() + round(1000 * wait))  # the supervisor then lets one of us look again
        if bool(short) != self._short:
            self._short = bool(short)
            self._tell("short" if short else "room", short or "")
        return not short

    def _claim_next(self) -> Claim | None:
        if self._plan.is_stale():
            if self._plan.waiting:
                self._plan.look()  # something more urgent may have come
            self._recover_now_and_then()
        return self._plan.take_next(self._claim)

    def _claim(self, place: str, name: str) -> Claim | None:
        return self._plan.claim(place, name)

    def _run(self, claim: Claim) -> None:
        found = claim.job
        self._terminal.running(found)
        try:
            outcome = attempt.run(self.spool, claim, self._executor, self.config, self, self.name, self._env)
        except OSError as error:
            if claim.started:
                self._terminal.warn(f"Cannot see job {found.id} to its end ({error.strerror}); it is left for recovery")
            else:
                self._terminal.warn(f"No room to start job {found.id} ({error.strerror}); it waits")
            clock.sleep(NO_ROOM_S)
            return
        self._settled(found, outcome, self._terminal)

    def _settled(self, found: Job, outcome: Outcome, terminal: Terminal) -> None:
        """Tell what became of a job after an attempt, and count it."""
        if outcome.recorded:
            terminal.settled(found, outcome, settling.max_retries(found, self.config))
            self._count(found, outcome)

    def _count(self, found: Job, outcome: Outcome) -> None:
        match found.state:
            case State.COMPLETED:
                self._tally.completed += 1
            case State.FAILED:
                self._tally.failed += 1
                self._plan.note(clock.uniso(found.due_at or ""))
            case State.DEAD:
                self._tally.failed += outcome.exit != CANCELLED
                self._tally.dead += 1
        if outcome.exit == CANCELLED:
            self.spool.unlink("cancel", found.id)
        if clock.monotonic() - self._reported_at > REPORT_S:
            self._report()

    # Keeping house.

    def recover(self) -> None:
        """Settle what dead workers left, and tell of it."""
        done = recovery.recover(self.spool, self.config, self, self._plan.admission)
        for claim in done.lost:
            self._terminal.lost(claim.job, settling.max_retries(claim.job, self.config))
            if claim.job.state is State.FAILED:
                self._plan.note(clock.uniso(claim.job.due_at or ""))
        for name, why in done.rejected:
            self._terminal.warn(f"Rejected {name!r}: {why}")
        self._recovered_at = clock.monotonic()

    def _recover_now_and_then(self) -> None:
        if clock.monotonic() - self._recovered_at > self.config.poll_interval_sec:
            self._keep_house()

    def _keep_house(self) -> None:
        """Settle what dead workers left; delete completed jobs that are older than they are kept, at a small cost."""
        self.recover()
        began, keep = clock.monotonic(), self.config.keep_completed
        if keep is not None and began >= self._expire_at:
            before = clock.now() - round(keep * 1000)
            expiry.purge(self.spool, [State.COMPLETED], before=before, dry_run=False)
            self._expire_at = clock.monotonic() + EXPIRY_COSTS * (clock.monotonic() - began)

    # Waiting.

    def _idle(self) -> None:
        """Say that there is nothing to do, and wait for a task."""
        self._say_idle()
        while not self._inbox.tasks and not self._inbox.stopping:
            self._inbox.wait()
            self._inbox.take()
        self._called = False
        if self._inbox.tasks:
            self._do_tasks()

    def _say_idle(self) -> None:
        self._report()
        soonest = self._plan.soonest
        self._tell("idle", f"{'-' if soonest is None else clock.stamp(soonest)} {self._plan.cost_s:.6f}")

    def _do_tasks(self) -> None:
        """Look where the supervisor points: at everything, or at one name."""
        tasks, self._inbox.tasks = self._inbox.tasks, []
        if self._inbox.reload:
            self._reload()
        verbs = {verb for verb, _ in tasks}
        if "poll" in verbs:
            self._keep_house()
        if verbs & {"poll", "scan"}:
            self._plan.look()
            return
        self._plan.look_at([argument for _, argument in tasks])

    def _call_others(self) -> None:
        """Once after each wait: when there is more than one job to do, let the supervisor wake another worker."""
        if not self._called and (self._plan.waiting or self._inbox.tasks):
            self._tell("more")
        self._called = True

    def _report(self) -> None:
        done, self._tally, self._reported_at = self._tally, Tally(), clock.monotonic()
        if done != Tally():
            self._tell("count", f"{done.completed} {done.failed} {done.dead}")

    def _tell(self, verb: str, argument: str = "") -> None:
        if self._supervisor is not None:
            self._supervisor.say(verb, argument)

    def _reload(self) -> None:
        """Take up a changed configuration; a bad one is named, and the old one stays."""
        self._inbox.reload = False
        try:
            self.config = self._load()
        except QueuectlError as error:
            self._terminal.warn(f"Configuration not taken up: {error}")
            return
        self._terminal.level = self.config.log_level
        self._plan.configure(self.config)
