"""Which worker looks where, and when: the part of a supervisor that keeps the time and the watch for its workers.

The watch is armed while a worker is idle, and only then: events cost more than a busy worker's own scans. Whatever
may have been missed meanwhile makes the queue `dirty`, and a dirty queue is scanned by the next idle worker.
"""

from __future__ import annotations

import stat
from collections.abc import Callable

from queuectl import clock, names
from queuectl.admission import YOUNG_MS
from queuectl.crew import Crew, Member
from queuectl.job import State
from queuectl.listener import Listener
from queuectl.scan import look
from queuectl.spool import Spool

DISARM_AFTER_S = 0.1
LISTEN_AFTER_S = 1.0
LISTEN_AGAIN_S = 5.0
POLL_WITHOUT_WATCH_S = 1.0
DRAIN_LOOK = 1000  # more than there will ever be strange things with the names of ready jobs
POLL_COSTS = 30  # a poll may cost a thirtieth of the time at most


class Dispatcher:
    """Gives tasks to idle workers: `try` a name that has come, `scan`, or `poll`, which recovers too."""

    def __init__(self, spool: Spool, crew: Crew, listener: Listener, forget: Callable[[], None]) -> None:
        self._spool, self._crew, self._listener, self._forget = spool, crew, listener, forget
        now = clock.monotonic()
        # There may be work that no worker has looked at since it came. At first all of them look by themselves.
        self._dirty = False
        self._due: int | None = None
        self._scan_cost = 0.0
        self._poll_at = now + POLL_WITHOUT_WATCH_S
        self._listen_at = now + LISTEN_AFTER_S
        self._disarm_at: float | None = None

    def sleep_s(self) -> float:
        """Return for how many seconds there is nothing to do."""
        now = clock.monotonic()
        waits = [self._poll_at - now]
        if self._due is not None and self._crew.idle():
            waits.append((self._due - clock.now()) / 1000)
        if self._disarm_at is not None:
            waits.append(self._disarm_at - now)
        if self._must_listen():
            waits.append(self._listen_at - now)
        return min(waits)

    def look_again(self) -> None:
        """Let the next idle worker scan."""
        self._dirty = True

    def became_idle(self, member: Member, argument: str) -> None:
        """Take note that a worker has nothing to do, when it thinks the next job is due, and what its scan cost."""
        stamp, _, cost = argument.partition(" ")
        member.idle = True
        self._scan_cost = float(cost)
        if stamp != "-":
            self._note_due(clock.unstamp(stamp))

    def _note_due(self, instant: int) -> None:
        self._due = instant if self._due is None else min(self._due, instant)

    def more(self) -> None:
        """A worker has found more than it can do: wake another one."""
        idle = self._crew.idle()
        if idle:
            self._give(idle[0], "scan")
        else:
            self._dirty = True

    def _give(self, member: Member, verb: str, argument: str = "") -> None:
        member.idle = False
        if not member.inbox.say(verb, argument):
            self._dirty = True  # it is dead; whoever comes next must look

    def arrived(self, tag: str, name: str) -> None:
        """Hand a name that has come to an idle worker, or remember that one must look."""
        known = names.waiting(name)
        if known is None and not (tag == State.PENDING and names.is_drop(name)):
            return
        if known is not None and known.due > clock.stamp(clock.now()):
            self._note_due(clock.unstamp(known.due))
            return
        status = self._spool.directories[tag].lstat(name)
        if status is None:
            return  # claimed already; most of all a drop that a worker has just admitted under this name
        if status.st_size == 0 and stat.S_ISREG(status.st_mode):
            self._note_due(clock.now() + YOUNG_MS)  # it is being written: its closing will be told, or it is empty
            return
        idle = self._crew.idle()
        # What has come before and was handed to nobody goes first, so then a scan it is.
        if idle and self._listener.armed and not self._dirty and not self._spool.paused():
            self._give(idle[0], "try", f"{tag}/{name}")
        else:
            self._dirty = True

    def dispatch(self) -> None:
        """See to it that work which may be there is looked at, and that the watch is armed while a worker is idle."""
        idle = self._crew.idle()
        if self._must_listen() and (idle or clock.monotonic() >= self._listen_at):
            self._listen()
        if not idle:
            self._disarm()
            return
        self._disarm_at = None
        self._listener.arm()
        if self._due is not None and self._due <= clock.now():
            self._due, self._dirty = None, True
        if self._dirty and not self._spool.paused():
            self._dirty = False
            self._give(idle[0], "scan")

    def _must_listen(self) -> bool:
        return self._listener.events is None and not self._listener.unavailable

    def _listen(self) -> None:
        """Start the listener; one that dies at once is not started again at once."""
        now = clock.monotonic()
        if self._listener.pid == 0 or now >= self._listen_at:
            self._listen_at = now + LISTEN_AGAIN_S
            self._listener.start(self._forget)

    def _disarm(self) -> None:
        """Watch no more when no worker has been idle for a moment."""
        now = clock.monotonic()
        if self._listener.asked and self._disarm_at is None:
            self._disarm_at = now + DISARM_AFTER_S
        elif self._disarm_at is not None and now >= self._disarm_at:
            self._disarm_at = None
            self._listener.disarm()

    def poll_is_due(self) -> bool:
        """Say whether it is time for the safety net."""
        return clock.monotonic() >= self._poll_at

    def poll_within(self, interval: float) -> None:
        """Let the next poll come in at most `interval` seconds."""
        self._poll_at = min(self._poll_at, clock.monotonic() + interval)

    def poll(self, interval: float) -> None:
        """Let a worker recover and look, and pass on what may have been missed; next in `interval` seconds or more."""
        if self._listener.unavailable:
            interval = min(interval, POLL_WITHOUT_WATCH_S)
            self._crew.tell_all("reload")
        self._poll_at = clock.monotonic() + max(interval, POLL_COSTS * self._scan_cost)
        for id in self._spool.cancel_requests():
            self._crew.tell_all("cancel", id)
        idle = self._crew.idle()
        if idle:  # also while paused: what a dead worker left is settled, and nothing is claimed
            self._give(idle[0], "poll")

    def drained(self) -> bool:
        """Say whether no job is ready, running or waiting for a retry."""
        if self._dirty:
            return False
        # RACE: a job may go from processing/ to failed/ between two looks, so failed/ is looked at again.
        for state in (State.FAILED, State.PROCESSING, State.FAILED):
            if any(self._may_be_job(state, name) for name in self._spool.directories[state].names()):
                return False
        seen = look(self._spool, clock.now(), DRAIN_LOOK)
        return not any(self._may_be_job(found.place, found.name) for found in seen.candidates) and not any(
            self._may_be_job(State.PENDING, name) for name in seen.drops
        )

    def _may_be_job(self, place: str, name: str) -> bool:
        """Say whether a worker will see to this name; what is strange in the spool's directories stays there."""
        known = names.is_waiting(name) if place == State.FAILED else names.is_drop(name)
        status = self._spool.directories[place].lstat(name) if known else None
        return status is not None and stat.S_ISREG(status.st_mode)
