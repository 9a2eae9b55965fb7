"""Pipes of words between a supervisor and its children: each word ends in NUL, and is read without waiting.

A word is a verb and at most one argument, `try pending/<name>`, `idle 20261122T101500123Z`. The end of the other side
is an end of file. No timing and no threads: whoever reads decides when to wait.
"""

from __future__ import annotations

import contextlib
import os


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
