"""A terminal for tests: a command on a pseudo-terminal of a given size, what it shows there, and keys for it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from helpers import PATIENCE_S, Cli, command, end, environment

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
CTRL_C = "\x03"


def plain(text: str) -> str:
    """Return text without colours and other escape sequences."""
    return _ESCAPES.sub("", text)


class Screen:
    """A command whose three streams are one terminal, its controlling terminal; a context manager that ends it."""

    def __init__(
        self, args: Sequence[str], cwd: Path, *, env: Mapping[str, str] | None = None, columns: int = 100
    ) -> None:
        self._fd, side = pty.openpty()
        termios.tcsetwinsize(side, (40, columns))
        settings = {"TERM": "xterm", "NO_COLOR": "", "COLUMNS": "", "TZ": "UTC", **(env or {})}
        self.process = subprocess.Popen(
            args,
            cwd=cwd,
            env=environment(settings),
            **dict.fromkeys(("stdin", "stdout", "stderr"), side),  # type: ignore[call-overload]
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(side)
        self._bytes = b""

    @property
    def shown(self) -> str:
        """All that has been shown up to now, line ends as in a file."""
        return self._bytes.decode("utf-8", "replace").replace("\r\n", "\n")

    def _read(self, timeout: float) -> bool:
        """Take what is there to be shown; False at the end."""
        if not select.select([self._fd], [], [], timeout)[0]:
            return True
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # EIO: the last process has closed the terminal
            return False
        self._bytes += data
        return bool(data)

    def wait_for(self, text: str, timeout: float = PATIENCE_S) -> str:
        """Return what has been shown as soon as it holds `text`; fail the test when it does not come."""
        deadline = time.monotonic() + timeout
        while text not in self.shown:
            more = self._read(0.05) and time.monotonic() < deadline
            assert more or text in self.shown, f"{text!r} is not in {self.shown[-3000:]!r}"
        return self.shown

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._fd, keys.encode())

    def hang_up(self) -> None:
        """Close the terminal, as when its window is closed."""
        os.close(self._fd)
        self._fd = -1

    def finish(self, timeout: float = PATIENCE_S) -> str:
        """Read to the end; returns all that has been shown. The exit code is then in `process.returncode`."""
        deadline = time.monotonic() + timeout
        while self._read(0.05):
            assert time.monotonic() < deadline, f"not at an end: {self.shown[-3000:]!r}"
        self.process.wait(timeout)
        return self.shown

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        end(self.process)
        if self._fd >= 0:
            self.hang_up()


def screen(cli: Cli, *args: str, env: Mapping[str, str] | None = None, columns: int = 100) -> Screen:
    """Start `queuectl` on a terminal, on the spool of `cli`."""
    return Screen([*command(), "--spool", str(cli.spool), *args], cli.cwd, env=env, columns=columns)


def shown(cli: Cli, *args: str, env: Mapping[str, str] | None = None, columns: int = 100) -> str:
    """Run `queuectl` to its end on a terminal, and return what it showed."""
    with screen(cli, *args, env=env, columns=columns) as running:
        return running.finish()
