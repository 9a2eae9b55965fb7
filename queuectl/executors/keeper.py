"""What runs commands on a node: it takes orders over one connection, one at a time, and sends back what they print.

A program of its own, sent to the node as text and run by its Python (`python -c TEXT HOST PORT TOKEN`): it may use
nothing but the standard library. Its standard input is a leash, a pipe that ends with whoever started it; on its
standard output it says which process group it has started, for that one to kill when the keeper dies. Whatever way the
connection or the leash ends, the command is killed first: nobody may run a job that nobody answers for.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from typing import Any

HEAD = struct.Struct("!cI")  # the kind of a frame, and how many bytes follow
HELLO, ORDER, TERMINATE, KILL, LEAVE = b"h", b"o", b"t", b"k", b"l"
OUTPUT, EXIT, GONE = b"d", b"e", b"g"
PIECE = 65_536
MOST_UNSENT = 1 << 20  # bytes; then the command waits in its writes
# The kernel finds out within this time that the other side's machine is gone, and both ends rely on it.
SILENT_S, ASK_S, ASKS = 4, 2, 4
DEAD_S = SILENT_S + ASK_S * ASKS
_DEFAULTED = [
    *(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD),
    *(signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP),
]


def watch_over(connection: socket.socket) -> None:
    """Let the kernel end a connection whose other machine says nothing any more: tcp(7)."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", SILENT_S),
        ("TCP_KEEPINTVL", ASK_S),
        ("TCP_KEEPCNT", ASKS),
        ("TCP_USER_TIMEOUT", DEAD_S * 1000),
    ):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def frame(kind: bytes, body: bytes = b"") -> bytes:
    """Spell a frame."""
    return HEAD.pack(kind, len(body)) + body


def frames(buffer: bytearray) -> list[tuple[bytes, bytes]]:
    """Take the whole frames out of the beginning of a buffer."""
    found, at = [], 0
    while len(buffer) - at >= HEAD.size:
        kind, size = HEAD.unpack_from(buffer, at)
        end = at + HEAD.size + size
        if len(buffer) < end:
            break
        found.append((kind, bytes(buffer[at + HEAD.size : end])))
        at = end
    del buffer[:at]
    return found


def receive(connection: socket.socket, buffer: bytearray) -> list[tuple[bytes, bytes]]:
    """Take in what has come and return the whole frames; raises EOFError or OSError at the end of the connection."""
    try:
        data = connection.recv(PIECE)
    except BlockingIOError:
        return []
    if not data:
        raise EOFError
    buffer += data
    return frames(buffer)


class Command:
    """A command that runs: its process and group, the pipe with its output, and when it is to end."""

    def __init__(self, pid: int, pidfd: int, output: int, order: dict[str, Any]) -> None:
        self.pid, self.pidfd, self.output = pid, pidfd, output
        self.began = time.monotonic()
        self.grace: float = order["grace"]
        self.end_at: float | None = self.began + order["timeout"] if order["timeout"] else None
        self.timed_out = False

    def signal(self, number: int) -> None:
        """Send a signal to the whole group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def keep_time(self) -> None:
        """End it when its time is up: TERM, the grace period, KILL."""
        if self.end_at is None or time.monotonic() < self.end_at:
            return
        self.signal(signal.SIGKILL if self.timed_out else signal.SIGTERM)
        self.signal(signal.SIGCONT)
        self.end_at = None if self.timed_out else time.monotonic() + self.grace
        self.timed_out = True

    def read(self) -> bytes | None:
        """Return some output, None when there is none now, nothing when there will be no more."""
        try:
            return os.read(self.output, PIECE)
        except BlockingIOError:
            return None


class Keeper:
    """Serves one connection until it, or whoever started us, ends."""

    def __init__(self, connection: socket.socket, leash: int) -> None:
        self._connection, self._leash = connection, leash
        self._in, self._out = bytearray(), bytearray()
        self._command: Command | None = None
        self._leaving = False

    def serve(self) -> None:
        """Run what is ordered until there is nobody left to run it for."""
        try:
            while not (self._leaving and not self._command and not self._out):
                self._turn()
        except (ConnectionError, TimeoutError, EOFError):
            pass  # whoever ordered it has gone
        finally:
            self._end_command()

    def _turn(self) -> None:
        poll = select.poll()
        poll.register(self._connection, select.POLLIN | (select.POLLOUT if self._out else 0))
        poll.register(self._leash, select.POLLIN)
        command, wait = self._command, None
        if command:
            poll.register(command.pidfd, select.POLLIN)
            if command.output >= 0 and len(self._out) < MOST_UNSENT:
                poll.register(command.output, select.POLLIN)
            if command.end_at is not None:
                wait = max(0.0, command.end_at - time.monotonic()) * 1000 + 1
        ready = dict(poll.poll(wait))
        if self._leash in ready:
            self._leave_behind()
        if command:
            command.keep_time()
            if command.output in ready:
                self._pass_on(command)
            if command.pidfd in ready:
                self._finish(command)
        if self._connection.fileno() in ready:
            self._receive()
        self._send()

    def _leave_behind(self) -> None:
        """Whoever started us is dead: end the command, say so, and go."""
        self._end_command()
        self._connection.settimeout(1.0)
        self._connection.sendall(bytes(self._out) + frame(GONE))
        raise EOFError

    def _pass_on(self, command: Command) -> bool:
        """Take over some output; False when there is none."""
        data = command.read()
        if data:
            self._out += frame(OUTPUT, data)
        elif data == b"":
            os.close(command.output)
            command.output = -1
        return bool(data)

    def _finish(self, command: Command) -> None:
        """Tell how a command has ended, after all that it has printed; what it has left behind is killed."""
        _, status = os.waitpid(command.pid, 0)
        took = time.monotonic() - command.began
        command.signal(signal.SIGKILL)
        while command.output >= 0 and self._pass_on(command):
            pass
        if command.output >= 0:
            os.close(command.output)
        os.close(command.pidfd)
        code = os.waitstatus_to_exitcode(status)
        end = {"code": code if code >= 0 else None, "signal": -code if code < 0 else None, "took": took}
        self._out += frame(EXIT, json.dumps({**end, "timeout": command.timed_out}).encode())
        self._command = None
        os.write(1, b"0\n")

    def _receive(self) -> None:
        for kind, body in receive(self._connection, self._in):
            if kind == ORDER:
                self._begin(json.loads(body))
            elif kind == LEAVE:
                self._leaving = True
            elif self._command:
                self._command.signal(signal.SIGTERM if kind == TERMINATE else signal.SIGKILL)
                self._command.signal(signal.SIGCONT)

    def _send(self) -> None:
        if self._out:
            with contextlib.suppress(BlockingIOError):
                del self._out[: self._connection.send(self._out)]

    def _begin(self, order: dict[str, Any]) -> None:
        """Start a command, or say why that cannot be."""
        read, write = os.pipe2(os.O_CLOEXEC)
        error = ""
        for argv in order["tries"]:
            pid, error = start(argv, order["env"], order["cwd"], write)
            if not error:
                break
        os.close(write)
        if error:
            os.close(read)
            self._out += frame(EXIT, json.dumps({"error": error}).encode())
            return
        os.write(1, b"%d\n" % pid)
        os.set_blocking(read, False)
        self._command = Command(pid, os.pidfd_open(pid), read, order)

    def _end_command(self) -> None:
        if self._command:
            self._command.signal(signal.SIGKILL)
            os.waitpid(self._command.pid, 0)
            self._command = None


_home = "."  # for a command that does not say where


def start(argv: list[str], env: dict[str, str], cwd: str | None, output: int) -> tuple[int, str]:
    """Start a program in a session of its own; returns its pid, and the error when it cannot be."""
    try:
        os.chdir(cwd or _home)
    except OSError as error:
        return 0, f"cannot enter directory {cwd or _home}: {error.strerror}"
    actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    actions += [(os.POSIX_SPAWN_DUP2, output, target) for target in (1, 2)]  # type: ignore[misc]
    try:
        program = find(argv[0], env.get("PATH", os.defpath))
        pid = os.posix_spawn(program, argv, env, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_DEFAULTED)
    except OSError as error:
        return 0, f"cannot start {argv[0]}: {error.strerror}"
    except UnicodeEncodeError:
        return 0, f"cannot start {argv[0]!r}: not to be spelt in this locale"
    return pid, ""


def find(program: str, path: str) -> str:
    """Look a program up in the command's own PATH, as execvp(3) does."""
    if "/" in program:
        return program
    denied = ""
    for folder in path.split(":"):
        candidate = f"{folder or '.'}/{program}"
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
            return candidate
        if not denied and os.path.isfile(candidate):
            denied = f"{candidate} is not executable"
    raise OSError(errno.ENOENT, denied or "no such program in PATH")


def main(host: str, port: str, token: str) -> int:
    """Connect, say who we are, and serve."""
    global _home
    _home = os.getcwd()
    try:
        connection = socket.create_connection((host, int(port)), 10)
    except OSError as error:
        sys.stderr.write(f"cannot connect to {host} port {port}: {error.strerror or error}\n")
        return 1
    watch_over(connection)
    hello = {"token": token, "host": os.uname().nodename}
    connection.sendall(frame(HELLO, json.dumps(hello).encode()))
    connection.setblocking(False)
    Keeper(connection, 0).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
