"""Operations: what can be asked, and the way from a request to a function and back.

An operation is a plain function of a `Call`, run in a thread, that returns a value for JSON; its parameters and body
are checked against the structs that the OpenAPI document is made of.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from queuectl.api.door import Door
from queuectl.api.guard import MAX_BODY
from queuectl.api.problems import Trouble, respond
from queuectl.errors import QueuectlError
from queuectl.job import explain
from queuectl.queue import Queue

T = TypeVar("T")
JSON = "application/json"


@dataclass(slots=True)
class Call:
    """A request that has been understood."""

    door: Door
    path: Mapping[str, str]
    query: Any = None
    body: Any = None
    raw: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The job's id in the path."""
        return self.path["id"]

    def queue(self) -> Queue:
        """Open the queue."""
        return self.door.queue()


@dataclass(slots=True)
class Reply:
    """An answer that is more than a value: another status, headers."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing that can be asked, as the router and the OpenAPI document need it.

    `answers` gives by status the type of the JSON, or the media type of another answer, or None for nothing.
    """

    method: str
    path: str
    name: str
    summary: str
    tag: str
    run: Callable[[Call], Any]
    query: type | None = None
    body: Any = None
    answers: Mapping[int, Any] = field(default_factory=dict)
    problems: tuple[int, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


def endpoint(operation: Operation, door: Door) -> Callable[[Request], Awaitable[Response]]:
    """Return what Starlette calls for an operation."""

    async def handle(request: Request) -> Response:
        try:
            call = Call(door, request.path_params, headers=request.headers)
            call.query = read_query(request, operation.query)
            if operation.body is not None:
                call.raw = await read_body(request)
                call.body = decode(call.raw, operation.body)
            return answer(await anyio.to_thread.run_sync(operation.run, call))
        except (Trouble, QueuectlError, OSError) as error:
            return respond(error)

    return handle


def answer(result: Any) -> Response:
    """Turn what an operation returned into a response."""
    if isinstance(result, Response):
        return result
    reply = result if isinstance(result, Reply) else Reply(result)
    if reply.status == 204:
        return Response(status_code=204, headers=reply.headers)
    return Response(msgspec.json.encode(reply.body), reply.status, reply.headers, JSON)


def read_query(request: Request, shape: type[T] | None) -> T | None:
    """Read the query string; raises `Trouble` for a parameter that is unknown, repeated or malformed."""
    given = request.query_params.multi_items()
    values = dict(given)
    if len(values) < len(given):
        raise Trouble(422, "a parameter stands twice in the query")
    if shape is None:
        if values:
            raise Trouble(422, f"unknown parameter {next(iter(values))!r}")
        return None
    try:
        return msgspec.convert(values, shape, strict=False)
    except msgspec.ValidationError as error:
        raise Trouble(422, f"query: {_plain(error)}") from None


async def read_body(request: Request) -> bytes:
    """Read the body of a request; raises `Trouble` when it is not JSON by its type, or too long."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON:
        raise Trouble(415, f"the body must be {JSON}")
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > MAX_BODY:
            raise Trouble(413, f"a request may hold {MAX_BODY} bytes")
    return bytes(data)


def decode(data: bytes, shape: Any) -> Any:
    """Read JSON of a shape; raises `Trouble`: 400 for what is no JSON, 422 for JSON of another shape."""
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.ValidationError as error:
        raise Trouble(422, _plain(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Trouble(400, f"the body is not JSON: {error}") from None


def _plain(error: msgspec.ValidationError) -> str:
    text = str(error)
    if "unknown field `" in text:
        return "unknown key " + repr(text.split("unknown field `", 1)[1].split("`", 1)[0])
    return explain(text)
