"""The stream of events: one look at the queue for all who listen, sent when something has changed.

Nobody looks while nobody listens. A stream ends by itself when the server is about to, and so never holds that up.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

import anyio
import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from queuectl import clock
from queuectl.api import shapes, whole
from queuectl.api.door import Door
from queuectl.api.logs import EVENTS, event
from queuectl.errors import QueuectlError

LOOK_S = 0.4
SLOW = 5  # a look that costs much processor time is followed by a rest of so many times as long
HEARTBEAT_S = 5.0


class Hub:
    """Looks for all listeners: whoever finds the last look too old makes the next one."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._lock: anyio.Lock | None = None
        self._last: shapes.Overview | None = None
        self._cost_s = 0.0
        self._next_at = float("-inf")

    async def latest(self) -> shapes.Overview | None:
        """Return the queue as it was a moment ago; None when it cannot be read."""
        self._lock = self._lock or anyio.Lock()
        async with self._lock:
            if clock.monotonic() >= self._next_at:
                self._last = None
                with suppress(QueuectlError, OSError):
                    self._last = await anyio.to_thread.run_sync(self._look)
                self._next_at = clock.monotonic() + max(LOOK_S * 0.9, SLOW * self._cost_s)
            return self._last

    def _look(self) -> shapes.Overview:
        began = clock.worked()  # not the time that passes: a machine that stalls for a second is no reason to rest five
        try:
            return whole.describe(self._door, self._door.view.snapshot())
        finally:
            self._cost_s = clock.worked() - began


async def listen(_request: Request, door: Door, hub: Hub) -> Response:
    """Stream the overview: at once, at every change, and every five seconds as a sign of life."""
    return StreamingResponse(_events(door, hub), media_type=EVENTS)


async def _events(door: Door, hub: Hub) -> AsyncIterator[bytes]:
    yield b"retry: 1000\n\n"
    sent, sent_at = b"", float("-inf")
    while not door.closing():
        now = await hub.latest()
        if now is None:
            return  # the spool cannot be read; the client comes again, and finds out by asking
        same_but_time = msgspec.json.encode(msgspec.structs.replace(now, at=""))
        if same_but_time != sent or clock.monotonic() - sent_at >= HEARTBEAT_S:
            sent, sent_at = same_but_time, clock.monotonic()
            yield event("overview", now)
        await anyio.sleep(LOOK_S)
