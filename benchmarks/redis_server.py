"""An own redis for the peers that need one: a unix socket in a temporary directory, nothing written to the disk."""

from __future__ import annotations

import contextlib
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.processes import running, wait_until


@contextlib.contextmanager
def server(directory: Path) -> Iterator[str]:
    """Have a redis running for the length of the block; gives its URL."""
    with tempfile.TemporaryDirectory(prefix="redis-") as short:  # a socket's path may not exceed 107 bytes
        path = Path(short) / "socket"
        args = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no"]
        with running([*args, "--dir", str(directory), "--daemonize", "no"]):
            wait_until(lambda: _answers(path), "redis-server")
            yield f"unix://{path}"


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"
        except OSError:
            return False
