"""The pages: a few static files of ours, and those of others in `static/vendor/`; no template, no build."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from queuectl.api.calls import JSON
from queuectl.api.door import Door
from queuectl.api.guard import COOKIE, is_token

STATIC = Path(__file__).parent / "static"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".json": JSON,
}
_INLINE = re.compile(r'<script type="importmap">(.*?)</script>', re.DOTALL)
_YEAR_S = 365 * 86400
_LOGIN_BODY = 4096


@cache
def text_of(name: str) -> str:
    """Return the text of one of our pages."""
    return (STATIC / name).read_text("utf-8")


def script_hashes() -> list[str]:
    """Return the SHA-256 of the inline import maps, which the policy lets through."""
    found = [script for name in ("index.html", "api.html") for script in _INLINE.findall(text_of(name))]
    return sorted({base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in found})


async def dashboard(request: Request, door: Door) -> Response:
    """Return the page; a token in the address becomes a cookie, and leaves the address."""
    given = request.query_params.get("token")
    if door.token and given and is_token(door, given):
        return _enter(door)
    return HTMLResponse(text_of("index.html"))


async def api_page(_request: Request) -> Response:
    """Return the page that shows the OpenAPI document."""
    return HTMLResponse(text_of("api.html"))


def login_page(status: int = 401) -> Response:
    """Return the page that asks for the token."""
    return HTMLResponse(text_of("login.html"), status)


async def login(request: Request, door: Door) -> Response:
    """Take the token from the form."""
    from urllib.parse import parse_qs

    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > _LOGIN_BODY:
            return login_page(413)
    given = parse_qs(data.decode("utf-8", "replace")).get("token", [""])[0].strip()
    if not door.token or not is_token(door, given):
        return login_page()
    return _enter(door)


def _enter(door: Door) -> Response:
    response = RedirectResponse("/dashboard", 303)
    response.set_cookie(COOKIE, door.token or "", httponly=True, samesite="strict", max_age=_YEAR_S)
    return response


@cache
def file_of(name: str) -> tuple[bytes, str, str] | None:
    """Return the bytes of a static file, its media type and its tag; None when there is no such file."""
    path = (STATIC / name).resolve()
    if not path.is_relative_to(STATIC) or not path.is_file() or path.suffix not in TYPES:
        return None
    data = path.read_bytes()
    return data, TYPES[path.suffix], f'"{hashlib.sha256(data).hexdigest()[:16]}"'


async def static(request: Request) -> Response:
    """Return one of the static files. From memory and without a thread: a page asks for twenty of them at once."""
    found = file_of(request.path_params["path"])
    if found is None:
        return Response("no such file", 404, media_type="text/plain")
    data, kind, tag = found
    headers = {"Cache-Control": "no-cache", "ETag": tag}
    if tag in (word.strip() for word in request.headers.get("if-none-match", "").split(",")):
        return Response(None, 304, headers)
    return Response(data, 200, headers, kind)
