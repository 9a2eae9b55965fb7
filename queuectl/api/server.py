"""The server: an address, a token where it needs one, uvicorn until a signal ends it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import uvicorn

from queuectl.api.app import build
from queuectl.api.door import LOOPBACK, Door
from queuectl.errors import QueuectlError, Refused
from queuectl.queue import Queue

GRACE_S = 2
READY_S = 1.0  # for so long the first look may hold up the first request, which would wait for it longer
BACKLOG = 128


@dataclass(frozen=True, slots=True)
class Options:
    """What a person asked for. `token` asks for one on the loopback address too."""

    host: str = "127.0.0.1"
    port: int = 8000
    read_only: bool = False
    token: bool = False
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """Where the page is, and the token where one is needed: itself when it was made just now."""

    url: str
    needs_token: bool
    new_token: str | None


def serve(queue: Queue, options: Options, opened: Callable[[Opened], None]) -> None:
    """Serve until SIGINT or SIGTERM, which come back as they are. Raises `Refused` for an address that cannot be."""
    listener = listen(options.host, options.port)
    with listener:
        address = listener.getsockname()[0]
        needs_token = options.token or not is_loopback(address)
        token, made = queue.token() if needs_token else (None, False)
        door = Door(queue.path, _names(options, address), token, options.read_only)
        config = uvicorn.Config(
            build(door),
            log_level="error",
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
        server = uvicorn.Server(config)
        door.closing = lambda: server.should_exit
        first = threading.Thread(target=_warm, args=(door,), daemon=True)
        first.start()
        first.join(READY_S)
        opened(Opened(_url(options.host, listener.getsockname()[1]), needs_token, token if made else None))
        server.run(sockets=[listener])


def _warm(door: Door) -> None:
    """Take the first looks before anybody asks for them: the second one arms the watch, where there is much."""
    with suppress(QueuectlError, OSError):
        door.view.snapshot()
        door.view.look()


def listen(host: str, port: int) -> socket.socket:
    """Open the address; raises `Refused` when that cannot be."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise Refused(f"{host}: {_reason(error)}", hint="--host takes an address or a name of this machine") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise Refused(f"{host}:{port}: {_reason(error)}", hint="--port takes another one, 0 any") from None
    return listener


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def is_loopback(address: str) -> bool:
    """Say whether only this machine can reach an address."""
    import ipaddress

    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _names(options: Options, address: str) -> frozenset[str]:
    own = {options.host.lower(), address, *(name.lower() for name in options.names)}
    if not is_loopback(address):
        own.add(os.uname().nodename.lower())
    return LOOPBACK | own - {"0.0.0.0", "::"}


def _url(host: str, port: int) -> str:
    shown = {"0.0.0.0": os.uname().nodename, "::": os.uname().nodename}.get(host, host)
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/dashboard"
