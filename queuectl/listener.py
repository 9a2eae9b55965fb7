"""The process that holds the watch for a supervisor, so that neither it nor its workers have threads.

A forked child imports watchdog, arms and disarms on order, and writes what it sees into a pipe. It ends with its
supervisor; when it dies it is started again, and when the system has no notification to give it says so once.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping

from queuectl import channel, signals, wakeup

BUSY = ("pending", "failed")
QUIET = ("cancel", ".")


class Listener:
    """A watch in a process of its own. `armed` once arrivals in the busy directories are reported."""

    def __init__(self, directories: Mapping[str, str]) -> None:
        self._directories = directories
        self.pid = 0
        self.events: channel.Reader | None = None
        self.armed = False
        self.asked = False
        self.unavailable: str | None = None
        self._orders = -1

    def fds(self) -> list[int]:
        """Return the descriptors that forked children must close."""
        return [self.events.fd, self._orders] if self.events else []

    def start(self, in_child: Callable[[], None]) -> None:
        """Fork the process and let it watch the quiet directories; `in_child` closes what it must not keep."""
        orders, self._orders = os.pipe()
        events, out = os.pipe()
        self.pid = signals.fork()
        if self.pid == 0:
            try:
                os.close(self._orders)
                os.close(events)
                in_child()
                wakeup.serve(orders, out, self._directories)
            finally:
                os._exit(0)
        os.close(orders)
        os.close(out)
        self.events = channel.Reader(events)
        self.armed = self.asked = False
        self._order("arm", QUIET)

    def arm(self) -> None:
        """Ask for arrivals in the busy directories; an `armed` event tells when they are watched."""
        if self.events and not self.asked and not self.unavailable:
            self.asked = True
            self._order("arm", BUSY)

    def disarm(self) -> None:
        """Ask for no more arrivals."""
        if self.asked:
            self.asked = self.armed = False
            self._order("disarm", BUSY)

    def _order(self, verb: str, tags: tuple[str, ...]) -> None:
        with contextlib.suppress(BrokenPipeError):  # its end is seen when its events end
            os.write(self._orders, f"{verb} {' '.join(tags)}\n".encode())

    def read(self) -> Iterator[tuple[str, str]]:
        """Yield the (tag, name) pairs that have arrived, and take note of those that are about the watch itself."""
        if self.events is None:
            return
        for tag, rest in map(wakeup.split, self.events.pieces()):
            if tag == "armed" and BUSY[0] in rest.split():
                self.armed = self.asked
            elif tag == "unavailable":
                self.unavailable = rest
            yield tag, rest
        if self.events.ended:
            self.close()

    def close(self) -> None:
        """Let the process end."""
        for fd in self.fds():
            os.close(fd)
        self.events, self._orders, self.armed, self.asked = None, -1, False, False
