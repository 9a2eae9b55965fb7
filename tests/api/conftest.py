from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the dashboard's extra is missing: pip install 'queuectl[test]'")

from api.caller import Caller
from hand import Hand

from queuectl.api.door import Door
from queuectl.queue import Queue


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
def api(queue: Queue) -> Iterator[Caller]:
    """A client of a door on that queue, open as on the loopback address."""
    caller = Caller(Door(queue.path))
    yield caller
    caller.door.close()
