"""The application: the operations and pages behind the guard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from queuectl.api import jobs, logs, metrics, openapi, pages, whole
from queuectl.api.calls import JSON, Operation, endpoint
from queuectl.api.door import Door
from queuectl.api.events import Hub, listen
from queuectl.api.guard import Guard
from queuectl.api.problems import Trouble, respond

Handler = Callable[[Request], Awaitable[Response]]


def operations() -> list[Operation]:
    """Return all that can be asked for."""
    return [*jobs.operations(), *logs.operations(), *whole.operations(), *metrics.operations()]


def build(door: Door) -> Starlette:
    """Return the application of a door."""
    every = operations()
    return Starlette(
        routes=[*_by_path(every, door), *_streams(door), *_pages(door, every)],
        middleware=[Middleware(Guard, door=door, login=pages.login_page, script_hashes=pages.script_hashes())],
        exception_handlers={HTTPException: _not_routed, Exception: _bug},
    )


def _by_path(every: list[Operation], door: Door) -> list[Route]:
    """Return one route a path, which knows all its methods, so that another one is answered with those."""
    routes = []
    for path in dict.fromkeys(operation.path for operation in every):
        methods = {o.method: endpoint(o, door) for o in every if o.path == path}
        routes.append(Route(path, _choose(methods), methods=list(methods)))
    return routes


def _choose(methods: dict[str, Handler]) -> Handler:
    async def handle(request: Request) -> Response:
        return await methods["GET" if request.method == "HEAD" else request.method](request)

    return handle


def _streams(door: Door) -> list[Route]:
    hub = Hub(door)

    async def events(request: Request) -> Response:
        return await listen(request, door, hub)

    async def follow(request: Request) -> Response:
        return await logs.follow(request, door)

    return [Route("/api/v1/events", events), Route("/api/v1/jobs/{id}/log/follow", follow)]


def _pages(door: Door, every: list[Operation]) -> list[Route]:
    described = msgspec.json.encode(openapi.document(every, token=door.token is not None))

    async def page(request: Request) -> Response:
        return await pages.dashboard(request, door)

    async def login(request: Request) -> Response:
        return await pages.login(request, door)

    return [
        Route("/", lambda _: RedirectResponse("/dashboard", 307)),
        Route("/dashboard", page),
        Route("/dashboard/{rest:path}", page),
        Route("/docs", pages.api_page),
        Route("/openapi.json", lambda _: Response(described, media_type=JSON)),
        Route("/login", login, methods=["POST"]),
        Route("/static/{path:path}", pages.static),
    ]


async def _not_routed(request: Request, error: Exception) -> Response:
    """Answer what no route takes, with a problem as everywhere."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        return respond(Trouble(404, f"{request.url.path}: nothing here", hint="/docs shows what there is"))
    allow = (getattr(error, "headers", None) or {}).get("Allow")
    return respond(Trouble(status, f"{request.method}: not possible here", allow=allow))


async def _bug(_request: Request, _error: Exception) -> Response:
    """Answer for a bug; the server prints what it was."""
    return respond(Trouble(500, "queuectl itself has failed; its terminal says how"))
