"""The worker processes of a supervisor: fork them, talk to them, notice when they end.

A forked worker keeps the spool's descriptors and closes all that is the supervisor's: one that held its fellows' pipes
would hide the supervisor's death from them. Nothing here decides what a worker is to do.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from queuectl import channel, clock, signals
from queuectl.errors import QueuectlError


@dataclass(slots=True)
class Member:
    """A worker process as its supervisor sees it."""

    number: int
    pid: int
    words: channel.Reader
    inbox: channel.Writer
    started: float
    idle: bool = False


class Crew:
    """The workers that live. `be_worker(number, inbox, words)` is a worker's whole life, in its own process."""

    def __init__(self, be_worker: Callable[[int, int, int], None], forget: Callable[[], None]) -> None:
        self._be_worker, self._forget = be_worker, forget
        self._members: dict[int, Member] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._members.values()))

    def start(self, number: int) -> None:
        """Fork a worker."""
        inbox_read, inbox_write = os.pipe()
        words_read, words_write = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = signals.fork()
        if pid == 0:
            code = 1
            try:
                os.close(inbox_write)
                os.close(words_read)
                self.forget_in_child()
                self._forget()
                self._be_worker(number, inbox_read, words_write)
                code = 0
            except (OSError, QueuectlError) as error:
                _complain(number, error)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(inbox_read)
        os.close(words_write)
        self._members[pid] = Member(
            number, pid, channel.Reader(words_read), channel.Writer(inbox_write, blocking=False), clock.monotonic()
        )

    def forget_in_child(self) -> None:
        """In a forked child: close the pipes of the workers, and leave the signals to the supervisor."""
        signals.part()
        for member in self:
            os.close(member.words.fd)
            os.close(member.inbox.fd)

    def reap(self) -> Iterator[tuple[Member, int, list[tuple[str, str]]]]:
        """Yield each worker that has ended, its exit code (negative: the signal), and its last words."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            member = self._members.pop(pid, None)
            if member is not None:
                words = member.words.words()
                os.close(member.words.fd)
                os.close(member.inbox.fd)
                yield member, os.waitstatus_to_exitcode(status), words

    def idle(self) -> list[Member]:
        """Return the workers that wait for something to do."""
        return [member for member in self if member.idle]

    def tell_all(self, verb: str, argument: str = "") -> None:
        """Say a word to every worker."""
        for member in self:
            member.inbox.say(verb, argument)


def _complain(number: int, error: OSError | QueuectlError) -> None:
    """Say in one line why a worker cannot begin, or cannot go on; its supervisor starts another."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{f'{error.filename}: ' if error.filename else ''}{error.strerror}"
    with contextlib.suppress(OSError):
        os.write(2, f"[Worker {number}] Cannot work: {text}\n".encode("utf-8", "backslashreplace"))
