"""Who may come in: the gate that every request passes before anything else looks at it.

Enqueueing is running commands. So: only names that are ours in `Host` (against DNS rebinding), for what changes
something only pages of our own (against other sites in the same browser), the token where one is needed, and no more
of a body than can be a request. Answers carry a policy that lets the page run nothing but its own files.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from queuectl.api.door import Door
from queuectl.api.problems import Trouble, respond

COOKIE = "queuectl_token"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
OPEN_PATHS = ("/login", "/static/")  # needed to say the token
MAX_BODY = 16 * 1024 * 1024
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(?::[0-9]{1,5})?").fullmatch


def policy(script_hashes: Iterable[str]) -> str:
    """Return the Content-Security-Policy of every answer: our own files, and these inline scripts."""
    scripts = " ".join(["'self'", *(f"'sha256-{digest}'" for digest in script_hashes)])
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    )


class Guard:
    """The gate, as ASGI middleware."""

    def __init__(self, app: ASGIApp, door: Door, login: Callable[[], ASGIApp], script_hashes: Iterable[str]) -> None:
        """Stand before `app`; `login` makes the page that asks for the token."""
        self._app, self._door, self._login = app, door, login
        self._headers = {
            "Content-Security-Policy": policy(script_hashes),
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it with the reason why not."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            self._check(scope)
        except Trouble as trouble:
            await self._answer(trouble, scope)(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)

    def _answer(self, trouble: Trouble, scope: Scope) -> ASGIApp:
        wants_page = "text/html" in Headers(scope=scope).get("accept", "")
        if trouble.status == 401 and wants_page and scope["method"] == "GET":
            return self._login()
        return respond(trouble)

    def _check(self, scope: Scope) -> None:
        headers, method = Headers(scope=scope), scope["method"]
        self._check_host(headers, scope)
        if method not in SAFE:
            check_origin(headers)
        path = scope["path"]
        if self._door.token and not path.startswith(OPEN_PATHS) and not self._knows_token(scope):
            raise Trouble(401, "the token is missing or wrong", hint="Authorization: Bearer TOKEN")
        if self._door.read_only and method not in SAFE and path != "/login":
            raise Trouble(403, "this dashboard is read-only")
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length) > MAX_BODY:
            raise Trouble(413, f"a request may hold {MAX_BODY} bytes")

    def _check_host(self, headers: Headers, scope: Scope) -> None:
        named = headers.getlist("host")
        found = _HOST(named[0]) if len(named) == 1 else None
        host = found[1].strip("[]").lower().rstrip(".") if found else ""
        # The address that the client has connected to is ours, whatever it is; a name may be anybody's.
        own = scope.get("server")
        if not host or (host not in self._door.hosts and not (self._door.token and own and host == own[0])):
            raise Trouble(
                421, f"this server is not {host or 'nameless'}", hint="--allow-host NAME lets it be called so"
            )

    def _knows_token(self, scope: Scope) -> bool:
        request = HTTPConnection(scope)
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        offered = [given.strip() if scheme.lower() == "bearer" else "", request.cookies.get(COOKIE, "")]
        return any(is_token(self._door, text) for text in offered)


def is_token(door: Door, text: str) -> bool:
    """Compare with the token, in a time that tells nothing."""
    return hmac.compare_digest(text.encode("utf-8", "replace"), (door.token or "").encode())


def check_origin(headers: Headers) -> None:
    """Refuse a change that a page of another origin asks for; programs that are no browsers send no `Origin`."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    foreign = origin is not None and (origin == "null" or urlsplit(origin).netloc.lower() != headers["host"].lower())
    if foreign or site not in (None, "same-origin", "none"):
        raise Trouble(403, "a page of another site asked for this")
