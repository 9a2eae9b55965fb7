"""One worker process: look for work, claim it, run it, settle it; when there is none, wait for a word.

A worker knows nothing of its fellows: the rename is the claim, and losing one is no error. It scans when told that
there may be work, never because time has passed; the supervisor, or whoever else holds its inbox, keeps the clock and
the watch. When the inbox ends it finishes its job and goes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from queuectl import attempt, catalog, channel, clock, expiry, names, recovery, registry, schedule, settling
from queuectl.admission import Admission
from queuectl.admission import Report as AdmissionReport
from queuectl.config import Config
from queuectl.disk import Miss
from queuectl.errors import BadJobFile, QueuectlError
from queuectl.executors import Executor
from queuectl.inbox import Inbox
from queuectl.job import Job, State
from queuectl.room import Gauge
from queuectl.scan import Look, look
from queuectl.settling import CANCELLED, Outcome
from queuectl.spool import Claim, Spool
from queuectl.terminal import Terminal
from queuectl.variables import environment

KEEP_FIRST = 16_384  # candidates that a look keeps at least where there are more than it could keep
KEEP_MOST = 65_536  # and at most; as many as the last list has shown to be of use
FRESH_S = 0.5  # a list of candidates is good for this long, or for 25 times what it cost to make
FRESH_COSTS = 25
NO_ROOM_S = 1.0
REPORT_S = 0.1
TROUBLE_S = 1.0
NO_ROOM_COSTS = 30  # how much longer than a scan the wait for room is


@dataclass(slots=True)
class Tally:
    """How many attempts a worker has settled, by what became of the job."""

    completed: int = 0
    failed: int = 0
    dead: int = 0


@dataclass(slots=True)
class Plan:
    """What is known of the work that waits: candidates in order, drops, and how old the knowledge is."""

    candidates: list[schedule.Candidate] = field(default_factory=list)
    next: int = 0
    soonest: int | None = None
    stale_at: float = 0.0
    scanned: bool = False

    def to_keep(self, kept: int) -> int:
        """Return how many candidates the next look is to keep, when this one has kept up to `kept`."""
        if not self.scanned:
            return kept
        used_up = self.next == len(self.candidates) >= kept
        return min(max(8 * kept if used_up else 4 * self.next, KEEP_FIRST), KEEP_MOST)


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
        self._admission = self._new_admission()
        self._env = environment()
        self._plan = Plan()
        self._recovered_at = self._reported_at = self._expire_at = 0.0
        self._tally = Tally()
        self._left: set[str] = set()
        self._called = True
        self._keep = KEEP_FIRST
        self._scan_cost = 0.0
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
            self.look()
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
            wait = max(NO_ROOM_S, NO_ROOM_COSTS * self._scan_cost)
            self._soonest(clock.now() + round(1000 * wait))  # the supervisor then lets one of us look again
        if bool(short) != self._short:
            self._short = bool(short)
            self._tell("short" if short else "room", short or "")
        return not short

    def _claim_next(self) -> Claim | None:
        if clock.monotonic() > self._plan.stale_at:
            if self._plan.next < len(self._plan.candidates):
                self.look()  # something more urgent may have come
            self._recover_now_and_then()
        for _ in range(2):
            plan = self._plan
            while plan.next < len(plan.candidates):
                found = plan.candidates[plan.next]
                plan.next += 1
                if not self.spool.directories[found.place].has(found.name):
                    continue  # others have it, and there are many of them
                claim = self._claim(found.place, found.name)
                if claim:
                    return claim
            if not (plan.scanned and plan.candidates):
                return None
            self.look()
        return None

    def _claim(self, place: str, name: str) -> Claim | None:
        """Claim one job by name; what cannot be claimed is gone, busy, or refused."""
        now = clock.now()
        try:
            # `max_job_bytes` is for drops: a job that is in has its history too, and must not be lost for its size.
            durable = self.config.durability == "full"
            claim = self.spool.claim(place, name, now=now, limit=catalog.MAX_BYTES, durable=durable)
        except BadJobFile as error:
            self._heed(self._admission.refuse_canonical(place, name, error, now), now)
            return None
        except OSError as error:
            self._heed(AdmissionReport(left=self._admission.stuck(place, name, error)), now)
            return None
        if claim is Miss.BUSY:
            self._soonest(now + 100)
        elif claim is Miss.SPECIAL:
            self._heed(self._admission.refuse_special(place, name, now), now)
        return None if isinstance(claim, Miss) else claim

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
                self._soonest(clock.uniso(found.due_at or ""))
            case State.DEAD:
                self._tally.failed += outcome.exit != CANCELLED
                self._tally.dead += 1
        if outcome.exit == CANCELLED:
            self.spool.unlink("cancel", found.id)
        if clock.monotonic() - self._reported_at > REPORT_S:
            self._report()

    # Looking for work.

    def look(self) -> None:
        """Scan for work, admit drops, and plan what to claim."""
        began, now = clock.monotonic(), clock.now()
        self._keep = self._plan.to_keep(self._keep)
        known = {found.name for found in self._plan.candidates}
        seen: Look = look(self.spool, now, self._keep, KEEP_MOST, known)
        before = self._plan.soonest
        plan = self._plan = Plan(seen.candidates, 0, seen.soonest, scanned=True)
        if before is not None and before > now:
            self._soonest(before)  # a file that is busy or half written is to be looked at again then
        if seen.drops:
            now = clock.now()  # some of them may have come during the scan
            report = self._admission.admit(seen.drops, now, seen.late)
            self._heed(report, now)
        self._scan_cost = clock.monotonic() - began
        plan.stale_at = clock.monotonic() + max(FRESH_S, FRESH_COSTS * self._scan_cost)

    def _heed(self, report: AdmissionReport, now: int) -> None:
        """Take admitted drops into the plan and tell of the others."""
        for name, why in report.rejected:
            self._terminal.warn(f"Rejected {name!r}: {why}")
        for name, why in report.left:
            if name not in self._left:
                self._left.add(name)
                self._tell("left", f"Left {name!r}: {why}")  # each worker sees it, and one line is enough
        if report.again_at is not None:
            self._soonest(report.again_at)
        ready = [schedule.candidate(State.PENDING, name) for name in report.admitted if name[:19] <= clock.stamp(now)]
        later = [clock.unstamp(name) for name in report.admitted if name[:19] > clock.stamp(now)]
        if later:
            self._soonest(min(later))
        if ready:
            plan = self._plan
            plan.candidates[plan.next :] = sorted(plan.candidates[plan.next :] + ready)

    def _soonest(self, instant: int) -> None:
        plan = self._plan
        plan.soonest = instant if plan.soonest is None else min(plan.soonest, instant)

    def recover(self) -> None:
        """Settle what dead workers left, and tell of it."""
        done = recovery.recover(self.spool, self.config, self, self._admission)
        for claim in done.lost:
            self._terminal.lost(claim.job, settling.max_retries(claim.job, self.config))
            if claim.job.state is State.FAILED:
                self._soonest(clock.uniso(claim.job.due_at or ""))
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
            self._expire_at = clock.monotonic() + FRESH_COSTS * (clock.monotonic() - began)

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
        self._tell("idle", f"{'-' if soonest is None else clock.stamp(soonest)} {self._scan_cost:.6f}")

    def _do_tasks(self) -> None:
        """Look where the supervisor points: at everything, or at one name."""
        tasks, self._inbox.tasks = self._inbox.tasks, []
        if self._inbox.reload:
            self._reload()
        verbs = {verb for verb, _ in tasks}
        if "poll" in verbs:
            self._keep_house()
        if verbs & {"poll", "scan"}:
            self.look()
            return
        self._plan = Plan(stale_at=clock.monotonic() + FRESH_S)
        for _, argument in tasks:
            place, _, name = argument.partition("/")
            self._try(place, name)

    def _try(self, place: str, name: str) -> None:
        now = clock.now()
        known = names.waiting(name)
        if known is None:
            if place == State.PENDING and names.is_drop(name):
                self._heed(self._admission.admit([name], now), now)
        elif known.due <= clock.stamp(now):
            self._plan.candidates.append(schedule.candidate(place, name))
        else:
            self._soonest(clock.unstamp(known.due))

    def _call_others(self) -> None:
        """Once after each wait: when there is more than one job to do, let the supervisor wake another worker."""
        if not self._called and (self._plan.next < len(self._plan.candidates) or self._inbox.tasks):
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
        self._admission = self._new_admission()

    def _new_admission(self) -> Admission:
        return Admission(self.spool, limit=self.config.max_job_bytes)
