"""A dashboard as a process of its own, for tests that look at it from outside, and what its page shows in a browser."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from helpers import Cli, end, next_line

UNTIL_GO = "while ! [ -e go ]; do sleep 0.05; done"
Open = Callable[..., Any]  # the fixture `open_page` of the browser's tests


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


# In a browser.


def row(page: Any, id: str) -> Any:
    """Return the row of a job in the table."""
    return page.locator(f"tr[data-id='{id}']")


def shown(page: Any) -> list[str]:
    """Return the ids in the table, from above."""
    found: list[str] = page.eval_on_selector_all(".jobs tbody tr", "rows => rows.map(row => row.dataset.id)")
    return found


def card(page: Any, name: str) -> Any:
    """Return the number on one of the cards above the table."""
    return page.locator(f".card.{name} strong")


def changes(page: Any) -> list[str]:
    """Return a list to which is added whatever the page asks the server to change from now on."""
    found: list[str] = []
    page.on("request", lambda asked: None if asked.method == "GET" else found.append(f"{asked.method} {asked.url}"))
    return found


def styles(page: Any) -> list[list[str]]:
    """Return the styled pieces of the output that is shown, each with its classes."""
    pieces = page.get_by_role("log").locator("span")
    found: list[list[str]] = pieces.evaluate_all("spans => spans.map((span) => [span.textContent, span.className])")
    return found
