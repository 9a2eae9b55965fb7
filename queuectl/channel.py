"""Between a supervisor and what it forks: the fork, and pipes of words that end in NUL, read without waiting.

A word is a verb and at most one argument, `try pending/<name>`, `idle 20261122T101500123Z`. The end of the other side
is an end of file. No timing and no threads: whoever reads decides when to wait.
"""

from __future__ import annotations

import contextlib
import os
import signal

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


class Reader:
    """The reading end of a pipe of words."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.ended = False
        self._rest = b""

    def words(self) -> list[tuple[str, str]]:
        """Return the (verb, argument) pairs that have arrived; sets `ended` when the other side is gone."""
        return [_split(word) for word in self.pieces()]

    def pieces(self) -> list[bytes]:
        """Return the words that have arrived, as they are."""
        data = b""
        with contextlib.suppress(BlockingIOError):
            while more := os.read(self.fd, 65536):
                data += more
            self.ended = True
        *whole, self._rest = (self._rest + data).split(b"\0")
        return whole


class Writer:
    """The writing end of a pipe of words."""

    def __init__(self, fd: int, *, blocking: bool) -> None:
        os.set_blocking(fd, blocking)
        self.fd = fd

    def say(self, verb: str, argument: str = "") -> bool:
        """Write one word; False when it does not arrive: the other side is gone, or has no room. Never an error."""
        word = os.fsencode(f"{verb} {argument}" if argument else verb) + b"\0"
        try:
            return os.write(self.fd, word) == len(word)
        except OSError:
            return False


def _split(word: bytes) -> tuple[str, str]:
    verb, _, argument = word.partition(b" ")
    return os.fsdecode(verb), os.fsdecode(argument)
