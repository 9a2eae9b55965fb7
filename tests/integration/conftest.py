from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from queuectl.queue import Queue
from queuectl.spool import Spool


@pytest.fixture
def spool(queue: Queue) -> Spool:
    return Spool(queue.path)


@pytest.fixture
def gone() -> int:
    """The pid of a process that has ended."""
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


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
