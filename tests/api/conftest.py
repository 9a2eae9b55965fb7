from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("starlette", reason="the dashboard's extra is missing: pip install 'queuectl[test]'")

from api.caller import Caller

from queuectl.api.door import Door
from queuectl.queue import Queue


@pytest.fixture
def api(queue: Queue) -> Iterator[Caller]:
    """A client of a door on that queue, open as on the loopback address."""
    caller = Caller(Door(queue.path))
    yield caller
    caller.door.close()
