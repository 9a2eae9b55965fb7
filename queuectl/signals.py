"""Signals: as bytes in a pipe for main loops, and out of the way of children that are forked.

A handler does nothing but wake whoever waits, who then reads which signals there were.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable

# What a supervisor hears, and its children do not.
SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM)


def fork() -> int:
    """Fork, with signals held back in the child until it calls `part`."""
    # RACE: a Ctrl-C goes to the whole group, and in a child that is just being born it would be written into the
    # supervisor's pipe once more, which is the second Ctrl-C that ends the jobs.
    before, pid = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS), -1
    try:
        pid = os.fork()
    finally:
        if pid != 0:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def part() -> None:
    """In a forked child: leave the signals to the supervisor."""
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


class Signals:
    """The signals with these numbers, from now on. `fd` is readable when one has come."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self.fd, self._out = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._out, False)
        # The handlers do nothing: python's own C handler writes the byte that wakes us.
        signal.set_wakeup_fd(self._out, warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda *_: None)

    def read(self) -> bytes:
        """Return the numbers of the signals that have come, without waiting."""
        try:
            return os.read(self.fd, 512)
        except BlockingIOError:
            return b""

    def forget(self) -> None:
        """In a forked child: close the pipe."""
        os.close(self.fd)
        os.close(self._out)
