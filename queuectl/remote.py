"""A worker whose jobs run elsewhere, many at once: claim, start, follow, settle, never waiting for one of them.

It claims a job only when the cluster has a place for it, so that priority, pause and cancelling stay the spool's. The
rest is a worker's: it looks for work in the same way, and hears and says the same words.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from queuectl import attempt, channel, clock, registry, settling
from queuectl.attempt import FLOOD, Watched
from queuectl.config import Config
from queuectl.executors import TIMEOUT, Cluster, Execution, Exit, Unavailable
from queuectl.inbox import Inbox
from queuectl.settling import STOPPED, Outcome
from queuectl.spool import Claim, Spool
from queuectl.terminal import Terminal
from queuectl.worker import Worker

TICK_S = 0.25
LATE_S = 60.0  # how long after its time a node that ends the command itself may take to say so
AGAIN_S = 2.0


class NoPlace(Exception):
    """The cluster has no place for a job just now."""


@dataclass(slots=True)
class Run:
    """A job that runs elsewhere: who asked for its end, and when patience with that ends."""

    claim: Claim
    watched: Watched
    terminal: Terminal
    end_by: float | None
    asked: str | None = None
    kill_at: float | None = None

    def ask(self, why: str, grace: float) -> None:
        """Have the command ended."""
        if self.asked is None:
            self.asked, self.kill_at = why, clock.monotonic() + grace
            self.watched.execution.terminate()

    def keep_time(self, grace: float) -> None:
        """End what is late, and kill what does not end."""
        now = clock.monotonic()
        if self.end_by is not None and now >= self.end_by:
            self.ask(TIMEOUT, grace)
        if self.kill_at is not None and now >= self.kill_at:
            self.kill_at = None
            self.watched.execution.kill()


class RemoteWorker(Worker):
    """A worker on one spool and one cluster; see `Worker`."""

    def __init__(
        self,
        spool: Spool,
        load: Callable[[], Config],
        executor: Cluster,
        inbox: Inbox,
        supervisor: channel.Writer | None,
        terminal: Terminal,
        registered: int,
    ) -> None:
        super().__init__(spool, load, executor, inbox, supervisor, terminal)
        self._registered = registered
        self._published: dict[str, str] = {}
        self._cluster = executor
        self._runs: dict[Execution, Run] = {}
        self._ended: list[tuple[Execution, Exit]] = []
        self._ticked_at = self._ask_at = 0.0
        self._told: tuple[int | None] | None = None
        self._unreachable = ""

    def run(self) -> None:
        """Work until told to stop, and until the running jobs have ended."""
        while True:
            self._inbox.take()
            self._hear_ends()
            try:
                self._ended += self._cluster.pump()
                while self._ended:
                    self._finish(*self._ended.pop(0))
                self._follow()
                if not self._inbox.stopping:
                    self._take_on()
            except OSError as error:
                self._suffer(error)
            if self._inbox.stopping and not self._runs:
                break
            self._rest()
        self._report()
        self._cluster.close()
        os.close(self._registered)

    # What runs.

    def _follow(self) -> None:
        """Now and then show what the running jobs print, and keep their time."""
        if clock.monotonic() - self._ticked_at < TICK_S:
            return
        self._ticked_at = clock.monotonic()
        for run in self._runs.values():
            run.terminal.echo(run.watched.log, run.watched.log_start)
            if attempt.floods(run.watched):
                run.ask(FLOOD, self.config.kill_grace_sec)
            run.keep_time(self.config.kill_grace_sec)
        self._publish()

    def _publish(self) -> None:
        """Let everybody know where our jobs run."""
        nodes = {run.watched.id: self._cluster.node(execution) for execution, run in self._runs.items()}
        known = {id: node for id, node in nodes.items() if node}
        if known != self._published:
            self._registered = registry.renew(self.spool, self._registered, known)
            self._published = known

    def _finish(self, execution: Execution, end: Exit) -> None:
        """Settle a job whose command has ended."""
        run = self._runs.pop(execution)
        outcome = attempt.conclude(run.watched, end, run.asked)
        run.terminal.echo(run.watched.log, run.watched.log_start)
        run.watched.close()
        self._close(run.claim, outcome, run.terminal)

    def _close(self, claim: Claim, outcome: Outcome, terminal: Terminal) -> None:
        settling.close(self.spool, claim, outcome, self.config, self, self.name)
        self._settled(claim.job, outcome, terminal)

    def _hear_ends(self) -> None:
        """End what is cancelled, what has no place yet when we are to end, or everything when we are to end at once."""
        for execution, run in self._runs.items():
            waits = self._inbox.stopping and not self._cluster.node(execution)
            why = self._inbox.cancels(run.watched.id) or (STOPPED if self._inbox.killed or waits else None)
            if why:
                run.ask(why, self.config.kill_grace_sec)
        self._inbox.forget()

    # What is next.

    def _take_on(self) -> None:
        """Claim jobs while there are places; say that we are idle when there are no jobs."""
        if self._inbox.tasks:
            self._called, self._told = False, None
            self._do_tasks()
        try:
            while self.run_once():
                self._told = None
        except NoPlace:
            self._ask_for_places()
            return
        if self._told != (self._plan.soonest,):
            self._told = (self._plan.soonest,)
            self._say_idle()

    def _claim(self, place: str, name: str) -> Claim | None:
        if not self._cluster.ready():
            self._plan.put_back()
            raise NoPlace
        return super()._claim(place, name)

    def _ask_for_places(self) -> None:
        if clock.monotonic() < self._ask_at:
            return
        try:
            self._cluster.want(self._plan.waiting)
        except Unavailable as error:
            self._ask_at = clock.monotonic() + AGAIN_S
            if str(error) != self._unreachable:
                self._unreachable = str(error)
                self._terminal.warn(f"No new jobs: {error}; trying again")
        else:
            if self._unreachable:
                self._terminal.warn("The cluster is there again: jobs go on")
            self._unreachable = ""

    def _run(self, claim: Claim) -> None:
        """Start a claimed job and leave it running."""
        found = claim.job
        terminal = self._terminal.another()
        terminal.running(found)
        try:
            watched = attempt.begin(self.spool, claim, self._executor, self.config, self._env)
        except OSError as error:
            self._terminal.warn(f"No room to start job {found.id} ({error.strerror}); it waits")
            attempt.abandon(self.spool, claim, self.config, self)
            self._inbox.stopping = self._inbox.stopping or isinstance(error, ConnectionError)  # our guard is dead
            clock.sleep(AGAIN_S)
            return
        if isinstance(watched, Outcome):
            self._close(claim, watched, terminal)
            return
        late = clock.monotonic() + watched.timeout + self.config.kill_grace_sec + LATE_S
        self._runs[watched.execution] = Run(claim, watched, terminal, late if watched.timeout else None)

    def _rest(self) -> None:
        """Sleep until something happens."""
        busy = self._runs or self._unreachable or self._plan.waiting
        self._inbox.wait(TICK_S if busy else None, self._cluster.fds())
