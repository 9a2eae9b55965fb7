from __future__ import annotations

import os
from pathlib import Path

import pytest
from hand import Hand

from queuectl.queue import Queue
from queuectl.spool import Spool


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """A queue on a new spool; the test runs in a directory of its own."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return Queue(tmp_path / "spool", create=True)


@pytest.fixture
def hand(queue: Queue) -> Hand:
    return Hand(queue.path)


@pytest.fixture
def spool(queue: Queue) -> Spool:
    return Spool(queue.path)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is made durable, in order."""
    found: list[str] = []
    fsync = os.fsync

    def note(fd: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        found.append(path.parent.name if path.is_file() else path.name)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", note)
    return found
