"""A client of the API in this process: requests go into the application itself, without a server or a socket."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import anyio

from queuectl.api.app import build
from queuectl.api.door import Door

HOST = "127.0.0.1:8000"
PATIENCE_S = 30


@dataclass
class Answer:
    """What came back; the names of headers are in lower case."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        return json.loads(self.content)

    def events(self) -> list[tuple[str, Any]]:
        """Return the whole events of a stream by name and value."""
        found = []
        for block in self.content.decode().split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in block.splitlines())
            if "data" in fields:
                found.append((fields["event"], json.loads(fields["data"])))
        return found


class Caller:
    """Asks one application; `server` is the address at which clients have reached it."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.server = ("127.0.0.1", 8000)
        self._app = build(door)

    def ask(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        content: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str | Sequence[str]] | None = None,
        until: Callable[[Answer], bool] | None = None,
        raw: bool = False,
    ) -> Answer:
        """Make one request and return the answer; with `until`, go away as soon as that is true of it.

        A header that is sent more than once has a list of values. With `raw` the target is spelt as on the wire, and
        nothing is said of the type of the body.
        """
        usual = {} if raw else {"content-type": "application/json"}
        sent: dict[str, str | Sequence[str]] = {"host": HOST, **usual, **(headers or {})}
        target = target if raw else quote(target, safe="/?=&%,:-_~.")
        pieces = [json.dumps(body).encode()] if body is not None else [b""]
        if content is not None:
            pieces = [content] if isinstance(content, bytes) else list(content)
        if isinstance(content, bytes | None):
            sent.setdefault("content-length", str(sum(map(len, pieces))))
        # In a thread of its own: a browser that other tests drive keeps its loop in this one.
        with ThreadPoolExecutor(1) as thread:
            scope = {**_scope(method, target, sent), "server": self.server}
            return thread.submit(anyio.run, self._run, scope, pieces, until).result()

    async def _run(self, scope: Any, pieces: list[bytes], until: Callable[[Answer], bool] | None) -> Answer:
        answer = Answer()
        waiting = list(pieces)
        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as group:

                async def receive() -> dict[str, Any]:
                    if waiting:
                        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}
                    await anyio.sleep_forever()
                    raise AssertionError

                async def send(message: Any) -> None:
                    if message["type"] == "http.response.start":
                        answer.status = message["status"]
                        answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
                    else:
                        answer.content += message.get("body", b"")
                    if until and until(answer):
                        group.cancel_scope.cancel()

                await self._app(scope, receive, send)
                group.cancel_scope.cancel()
        return answer

    def get(self, target: str, **kwargs: Any) -> Any:
        """Get JSON that must come."""
        answer = self.ask("GET", target, **kwargs)
        assert answer.status == 200, (target, answer.status, answer.text)
        return answer.json()

    def post(self, target: str, body: Any = None, **kwargs: Any) -> Any:
        """Post JSON that must be taken."""
        answer = self.ask("POST", target, body, **kwargs)
        assert answer.status in (200, 201), (target, answer.status, answer.text)
        return answer.json()

    def status(self, method: str, target: str, body: Any = None, **kwargs: Any) -> int:
        """Ask for something, and return the status; what is no success must be a problem document."""
        answer = self.ask(method, target, body, **kwargs)
        if answer.status >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            assert (answer.json()["status"], bool(answer.json()["detail"])) == (answer.status, True)
        return answer.status


def _scope(method: str, target: str, headers: Mapping[str, str | Sequence[str]]) -> dict[str, Any]:
    parts = urlsplit(target)
    pairs = [(name, text) for name, told in headers.items() for text in ([told] if isinstance(told, str) else told)]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(parts.path),
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), text.encode("latin-1")) for name, text in pairs],
        "client": ("127.0.0.1", 40000),
    }
