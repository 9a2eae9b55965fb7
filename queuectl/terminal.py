"""What workers show on the terminal that they were started from: a line as a job begins and ends, and its output.

Each line is one write, so that the lines of several workers stay whole. A terminal that goes away is no reason to stop.
"""

from __future__ import annotations

import contextlib
import os

from queuectl import clock
from queuectl.job import Job, State
from queuectl.settling import CANCELLED, STOPPED, Outcome

STDOUT, STDERR = 1, 2
_LEVELS = {"DEBUG": 0, "INFO": 1, "WARNING": 2, "ERROR": 3}
_CHUNK = 65_536
ERASE = "\r\x1b[2K"


class Terminal:
    """The terminal as worker number `number` uses it; `over_bar` erases a progress bar before each line."""

    def __init__(self, number: int, level: str, *, over_bar: bool = False) -> None:
        self.level, self._number, self._over_bar = level, number, over_bar
        self._mark = f"{ERASE if over_bar else ''}[Worker {number}] "
        self._erase = ERASE.encode() if over_bar else b""
        self._shown = 0

    def another(self) -> Terminal:
        """Return the same terminal for another job that runs at the same time."""
        return Terminal(self._number, self.level, over_bar=self._over_bar)

    @property
    def chatty(self) -> bool:
        """Whether the course of jobs is shown."""
        return _LEVELS[self.level] <= _LEVELS["INFO"]

    def running(self, found: Job) -> None:
        """Tell that a job's attempt begins."""
        self._shown = 0
        self._line(f"Running job {found.id} (attempt {found.attempts + 1})")

    def echo(self, log: int, start: int) -> None:
        """Show what a running job has printed since the last time."""
        if not self.chatty:
            return
        offset = max(self._shown, start)
        with contextlib.suppress(OSError):  # a log that cannot be read back is no trouble of the job's
            offset = self._pass_on(log, offset)
        self._shown = offset

    def _pass_on(self, log: int, offset: int) -> int:
        while data := os.pread(log, _CHUNK, offset):
            self._put(STDOUT, self._erase + data)
            offset += len(data)
        return offset

    def settled(self, found: Job, outcome: Outcome, max_retries: int) -> None:
        """Tell what became of a job after an attempt."""
        took = clock.brief((outcome.finished - outcome.started) / 1000)
        if found.state is State.COMPLETED:
            self._line(f"Completed job {found.id} ({took})")
        elif outcome.exit == STOPPED:
            self._line(f"Job {found.id} was put back (attempt not counted)")
        elif outcome.exit == CANCELLED:
            self._line(f"Job {found.id} was cancelled")
        else:
            self._failed(found, max_retries)

    def lost(self, found: Job, max_retries: int) -> None:
        """Tell of a job whose worker had died."""
        self._failed(found, max_retries)

    def _failed(self, found: Job, max_retries: int) -> None:
        runs = f"attempt {found.attempts} of {max(max_retries + 1, found.attempts)}"
        if found.state is State.DEAD:
            self._line(f"Job {found.id} is dead: {found.last_error} ({runs})", "WARNING")
        else:
            wait = clock.uniso(found.due_at or "") - clock.uniso(found.updated_at or "")
            line = f"Job {found.id} failed: {found.last_error} ({runs}), retry in {clock.brief(wait / 1000)}"
            self._line(line, "WARNING")

    def warn(self, text: str) -> None:
        """Tell of something that a person should look at."""
        self._put(STDERR, f"{self._mark}{text}\n".encode("utf-8", "backslashreplace"))

    def _line(self, text: str, level: str = "INFO") -> None:
        if _LEVELS[level] >= _LEVELS[self.level]:
            self._put(STDOUT, f"{self._mark}{text}\n".encode("utf-8", "backslashreplace"))

    def _put(self, fd: int, data: bytes) -> None:
        try:
            os.write(fd, data)
        except OSError:
            return  # a terminal that has gone
