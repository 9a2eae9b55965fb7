"""What jobs print, over HTTP: by range (RFC 9110, section 14), one attempt's, or followed as a stream of events."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator

import anyio
import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from queuectl.api import shapes
from queuectl.api.calls import Call, Operation
from queuectl.api.door import Door
from queuectl.api.problems import Trouble, respond
from queuectl.errors import NotFound, QueuectlError
from queuectl.job import State
from queuectl.overview import Place

MEDIA_TYPE = "text/plain; charset=utf-8"
EVENTS = "text/event-stream"
PIECE = 65_536
LOOK_S = 0.25
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.ASCII).fullmatch


def get_log(call: Call) -> Response:
    """Return a log, or the part of it that the `Range` header or `attempt` asks for."""
    queue = call.queue()
    query: shapes.LogQuery = call.query
    if query.attempt is not None:
        return Response(queue.logs(call.id, attempt=query.attempt), 200, {"Accept-Ranges": "none"}, MEDIA_TYPE)
    if call.door.view.place(call.id) is None:
        raise NotFound(f"{call.id}: no such job")
    size = queue.log_size(call.id)
    headers = {"Accept-Ranges": "bytes"}
    wanted = read_range(call.headers.get("range"), size) if size else None  # of nothing, the whole is the answer
    if wanted == ():
        refused = respond(Trouble(416, f"the log has {size} bytes"))
        refused.headers["Content-Range"] = f"bytes */{size}"
        return refused
    start, end = wanted or (0, size)
    headers["Content-Length"] = str(end - start)
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    pieces = _exactly(queue.read_log(call.id, start, end), end - start)
    return StreamingResponse(pieces, 206 if wanted else 200, headers, MEDIA_TYPE)


def read_range(header: str | None, size: int) -> tuple[int, int] | tuple[()] | None:
    """Read a `Range` header: from and up to where; () when nothing of it is there; None for the whole."""
    found = _RANGE((header or "").strip())
    if not found or found.group(1, 2) == ("", ""):
        return None  # to be passed over: RFC 9110, section 14.2
    first, last = found.groups()
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    return (start, end) if start < end else ()


def _exactly(pieces: Iterator[bytes], length: int) -> Iterator[bytes]:
    """Yield as many bytes as were promised, also when the log has been cut meanwhile."""
    left = length
    for piece in pieces:
        left -= len(piece)
        yield piece
    while left > 0:
        yield bytes(min(left, PIECE))
        left -= PIECE


async def follow(request: Request, door: Door) -> Response:
    """Stream a log as it grows: events with the text, whose ids are offsets; at the job's end `end` with its state."""
    id, given = request.path_params["id"], request.headers.get("last-event-id") or request.query_params.get("from", "0")
    if not (given.isascii() and given.isdigit() and len(given) < 19):
        return respond(Trouble(422, "from: not an offset"))
    try:
        place = await anyio.to_thread.run_sync(door.view.place, id)
    except (QueuectlError, OSError) as error:
        return respond(error)
    if place is None:
        return respond(NotFound(f"{id}: no such job"))
    return StreamingResponse(_followed(door, id, int(given), place), media_type=EVENTS)


async def _followed(door: Door, id: str, offset: int, place: Place | None) -> AsyncIterator[bytes]:
    tail = b""  # the beginning of a character whose rest has not come
    yield b"retry: 1000\n\n"
    while place and not door.closing():
        place = await anyio.to_thread.run_sync(_where, door, id, place)
        ended = place is None or place[0] in (State.COMPLETED, State.DEAD)
        while data := await anyio.to_thread.run_sync(_piece, door, id, offset):
            offset += len(data)
            text, tail = _whole_characters(tail + data)
            yield event("log", text, offset - len(tail))
        if ended:
            if tail:
                yield event("log", tail.decode("utf-8", "replace"), offset)
            yield event("end", place[0].value if place else None, offset)
            return
        await anyio.sleep(LOOK_S)


def _where(door: Door, id: str, place: Place) -> Place | None:
    return place if door.view.is_at(place) else door.view.place(id)


def _piece(door: Door, id: str, offset: int) -> bytes:
    return next(door.queue().read_log(id, offset, offset + PIECE), b"")


def _whole_characters(data: bytes) -> tuple[str, bytes]:
    """Decode UTF-8 up to a character that is cut off at the end, which is returned as it is."""
    for length in range(1, min(4, len(data) + 1)):
        if data[-length] & 0xC0 == 0xC0:  # the first byte of a character of several
            needed = 2 if data[-length] < 0xE0 else 3 if data[-length] < 0xF0 else 4
            if needed > length:
                return data[:-length].decode("utf-8", "replace"), data[-length:]
            break
        if data[-length] < 0x80:
            break
    return data.decode("utf-8", "replace"), b""


def event(name: str, value: object, id: int | None = None) -> bytes:
    """Spell a server-sent event; JSON has no line breaks of its own."""
    head = f"id: {id}\n" if id is not None else ""
    return f"{head}event: {name}\ndata: ".encode() + msgspec.json.encode(value) + b"\n\n"


def operations() -> list[Operation]:
    """Return what can be asked about logs."""
    return [
        Operation(
            tag="Logs", method="GET", path="/api/v1/jobs/{id}/log", name="getLog",
            summary="What a job has printed; takes Range", run=get_log, query=shapes.LogQuery,
            answers={200: "text/plain", 206: "text/plain"}, problems=(404, 416, 422),
        ),
    ]  # fmt: skip
