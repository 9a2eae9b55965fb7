"""What a worker is told: by its supervisor through a pipe, and by signals, which only write to a pipe.

Reading never waits and waiting reads nothing, so that a worker may listen in the middle of a job. A supervisor that has
died is an order to stop.
"""

from __future__ import annotations

import select
import signal
from collections.abc import Sequence

from queuectl import channel
from queuectl.settling import CANCELLED, STOPPED
from queuectl.signals import Signals


class Inbox:
    """What a worker is told, by its supervisor's pipe and by signals."""

    def __init__(self, pipe: channel.Reader | None) -> None:
        self._pipe = pipe
        self._signals = Signals((signal.SIGTERM, signal.SIGQUIT))
        self.stopping = False
        self.killed = False
        self.reload = False
        self.tasks: list[tuple[str, str]] = []
        self._cancelled: set[str] = set()
        self._poll = select.poll()
        for fd in self.fds():
            self._poll.register(fd, select.POLLIN)

    def fds(self) -> Sequence[int]:
        """Return the descriptors to wait on."""
        if self._pipe is None or self._pipe.ended:
            return (self._signals.fd,)
        return (self._signals.fd, self._pipe.fd)

    def take(self) -> None:
        """Read what has arrived."""
        if self._poll.poll(0):
            self._read()

    def _read(self) -> None:
        numbers = self._signals.read()
        self.stopping = self.stopping or bool(numbers)
        self.killed = self.killed or signal.SIGQUIT in numbers
        if self._pipe is None or self._pipe.ended:
            return
        for verb, argument in self._pipe.words():
            if verb == "cancel":
                self._cancelled.add(argument)
            elif verb == "reload":
                self.reload = True
            elif verb in ("stop", "kill"):
                self.stopping = True
                self.killed = self.killed or verb == "kill"
            else:
                self.tasks.append((verb, argument))
        if self._pipe.ended:
            self.stopping = True
            self._poll.unregister(self._pipe.fd)

    def asks_to_end(self, id: str) -> str | None:
        """Return why the running job is to be ended, None when it is not."""
        self.take()
        return self.cancels(id) or (STOPPED if self.killed else None)

    def cancels(self, id: str) -> str | None:
        """Return CANCELLED when a request to cancel a job has arrived, without looking for more."""
        return CANCELLED if id in self._cancelled else None

    def forget(self) -> None:
        """Drop requests to cancel jobs that are not running here."""
        self._cancelled.clear()

    def wait(self, timeout: float | None = None, others: Sequence[int] = ()) -> None:
        """Sleep until something arrives, here or at `others`, for at most `timeout` seconds."""
        poll = select.poll()
        for fd in (*self.fds(), *others):
            poll.register(fd, select.POLLIN)
        poll.poll(None if timeout is None else timeout * 1000)
