"""Signals as bytes in a pipe: a handler does nothing but wake whoever waits, who then reads which signals there were.

For the main loops of supervisors and workers. Children that are forked get rid of it with `forget`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable


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
