from __future__ import annotations

import signal
from pathlib import Path

import figures
import pytest
from hand import Hand
from helpers import Cli, new_cli

from queuectl.queue import Queue


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options for longer and for narrower runs; what they are for stands where they are used."""
    parser.addoption("--thorough", action="store_true", help="try everything where a sample is tried otherwise")
    parser.addoption("--point", default="", metavar="TEXT", help="attack only at system calls that contain this text")


def pytest_configure() -> None:
    """Take signals that a shell lets its background jobs ignore; commands inherit that, and Ctrl-C is under test."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The installed command on a new spool, called from a directory of its own."""
    return new_cli(tmp_path)


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """A queue on a new spool; the test runs in a directory of its own."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return Queue(tmp_path / "spool", create=True)


@pytest.fixture
def hand(queue: Queue) -> Hand:
    """A worker on that queue, without a process of its own."""
    return Hand(queue.path)


@pytest.fixture
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether the attacks are to take their time."""
    return bool(request.config.getoption("--thorough"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how much the attacks have tried, and how far the model was explored."""
    figures.show(terminalreporter)
