"""A process that holds the locks of jobs which run elsewhere, for as long as they may still run after our death.

A command on this machine inherits its job's lock; one elsewhere cannot. So the descriptor is handed to a guard, which
outlives us: when we die it keeps what it holds for as long as a node may take to see that, and to kill the command.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct

from queuectl import clock

_RECORD = struct.Struct("!cQ")
_HOLD, _RELEASE = b"h", b"r"


class Guard:
    """Forked while the process has no threads. `fence_s` is how long it keeps the locks when we have died."""

    def __init__(self, fence_s: float) -> None:
        self._line, other = socket.socketpair()
        self._next = 0
        if os.fork() == 0:
            try:
                _become_guard(other, fence_s)
            finally:
                os._exit(0)
        other.close()

    def hold(self, lock: int) -> int:
        """Have a descriptor held; returns the number to release it by. Raises OSError when the guard is dead."""
        self._next += 1
        socket.send_fds(self._line, [_RECORD.pack(_HOLD, self._next)], [lock])
        return self._next

    def release(self, number: int) -> None:
        """Have a descriptor closed: its command is known to have ended."""
        with contextlib.suppress(OSError):  # it is dead and holds nothing; the next `hold` says so
            self._line.sendall(_RECORD.pack(_RELEASE, number))

    def close(self) -> None:
        """Let the guard end; nothing may be held any more."""
        self._line.close()


def _become_guard(line: socket.socket, fence_s: float) -> None:
    os.setsid()  # out of the reach of what is sent to our group
    keep = line.fileno()
    os.closerange(0, keep)
    os.closerange(keep + 1, 65_536)
    held: dict[int, int] = {}
    while True:
        record, fds, _, _ = socket.recv_fds(line, _RECORD.size, 1)
        while 0 < len(record) < _RECORD.size:
            more = line.recv(_RECORD.size - len(record))
            record = record + more if more else b""
        if not record:
            break
        kind, number = _RECORD.unpack(record)
        if kind == _HOLD:
            held[number] = fds[0]
        elif number in held:
            os.close(held.pop(number))
    if held:
        clock.sleep(fence_s)
