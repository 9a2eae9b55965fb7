"""A dashboard as a process of its own, for tests that look at it from outside."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from helpers import Cli, end, next_line


class Dashboard:
    """A running `queuectl dashboard`."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process, self.url = process, url
        self.home = url.removesuffix("/dashboard")
        self.port = urlsplit(url).port or 0

    def stop(self) -> int:
        """End it as Ctrl-C does, and return its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


@contextlib.contextmanager
def dashboard(cli: Cli, *args: str, port: int = 0, **kwargs: Any) -> Iterator[Dashboard]:
    """Serve the spool on this port (0: any that is free) until the block ends."""
    process = cli.start("dashboard", "--port", str(port), *args, **kwargs)
    try:
        line = next_line(process.stdout)
        assert line.startswith("Dashboard: http://"), (line, process.stderr and process.stderr.read())
        yield Dashboard(process, line.split()[1])
    finally:
        end(process)
