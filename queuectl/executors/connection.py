"""One keeper's connection, and a command that is elsewhere or on its way there (keeper.py has the frames).

Nothing here waits but `RemoteExecution.wait`, and nothing knows how keepers come to be started.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from queuectl import clock, shell
from queuectl.executors import LOST, NOT_STARTED, TIMEOUT, Exit, Order
from queuectl.executors.guard import Guard
from queuectl.executors.keeper import EXIT, GONE, HELLO, KILL, ORDER, OUTPUT, TERMINATE, frame, receive

TICK_S = 0.25
_MOST_UNKNOWN = 4096  # bytes that are taken from somebody who has not said who it is


class Refusal(Exception):
    """A connection that we do not want."""


class Hub(Protocol):
    """Where all connections come together."""

    guard: Guard
    ended: list[tuple[RemoteExecution, Exit]]

    def pump(self) -> None:
        """Take in all that has come."""

    def sleep(self, seconds: float, interrupts: Sequence[int]) -> bool:
        """Sleep until there is something to pump; True when one of `interrupts` became readable instead."""

    def withdraw(self, execution: RemoteExecution) -> None:
        """Let a command wait for a place no more."""

    def watch(self, keeper: Keeper, *, writing: bool) -> None:
        """Listen to a connection, and when something could not be sent, for room to send it."""

    def let_in(self, token: str) -> Lease:
        """Accept a keeper by its token, once; raises `Refusal`."""

    def is_free(self, keeper: Keeper) -> None:
        """Take note that a keeper has nothing to do."""


class RemoteExecution:
    """A command elsewhere, or on its way there. Holds a lock and a log of its own until its end."""

    def __init__(self, line: Hub, order: Order, place_by: float) -> None:
        self.order, self.place_by = order, place_by
        self.keeper: Keeper | None = None
        self.exit: Exit | None = None
        self.lost_at: float | None = None
        self.host_lost = ""
        self._line = line
        self._log = os.dup(order.log)
        self._unwritten: OSError | None = None
        self._held = line.guard.hold(order.lock)

    def wait(self, timeout: float | None, interrupts: Sequence[int]) -> Exit | None:
        """Wait for the command; see `Execution.wait`."""
        deadline = None if timeout is None else clock.monotonic() + timeout
        self._line.pump()
        while self.exit is None:
            left = TICK_S if deadline is None else min(TICK_S, deadline - clock.monotonic())
            if left <= 0 or self._line.sleep(left, interrupts):
                break
            self._line.pump()
        return self.exit

    def node(self) -> str:
        """Return the name of the node that it runs on or was lost with, nothing while it waits for one."""
        return self.keeper.host if self.keeper else self.host_lost

    def terminate(self) -> None:
        """Have SIGTERM sent to the group; a command that has found no place yet ends here."""
        self._tell(TERMINATE)

    def kill(self) -> None:
        """Have SIGKILL sent to the group."""
        self._tell(KILL)

    def _tell(self, kind: bytes) -> None:
        if self.keeper:
            self.keeper.send(kind)
        elif self.exit is None and self.lost_at is None:
            self._line.withdraw(self)
            self.end(Exit(None, None, LOST, "ended before it had a place"))

    def group_alive(self) -> bool:
        """Say whether it may still run; nothing of its group outlives it."""
        return self.exit is None

    def order_frame(self) -> bytes:
        """Spell the order for a keeper."""
        order = self.order
        tries = [order.command] if isinstance(order.command, list) else [shell.line(order.command)]
        plain = None if isinstance(order.command, list) else shell.words(order.command)
        if plain:
            tries.insert(0, plain)  # and the shell says what is wrong with it
        body = {"tries": tries, "env": dict(order.env), "cwd": order.cwd}
        return frame(ORDER, json.dumps({**body, "timeout": order.timeout, "grace": order.grace}).encode())

    def write(self, data: bytes) -> None:
        """Append output to the log; when that cannot be, the command is ended, as a full disk would end it here."""
        try:
            while data:
                data = data[os.write(self._log, data) :]
        except OSError as error:
            if self._unwritten is None:
                self._unwritten = error
                self.kill()

    def lose(self, host: str) -> None:
        """Take note that it was lost with its node."""
        self.end(Exit(None, None, LOST, f"node {host} was lost", host))

    def end(self, end: Exit) -> None:
        """Take note of the end, and let go of the lock and the log."""
        if self.exit is None:
            if self._unwritten:
                end = Exit(end.code, end.signal, LOST, f"cannot write its log: {self._unwritten.strerror}", end.host)
            self.exit, self.keeper = end, None
            self._line.ended.append((self, end))
            os.close(self._log)
            self._line.guard.release(self._held)


@dataclass(slots=True, eq=False)
class Lease:
    """A keeper that has been asked for: its token, what kind of place it is for, and whether it has come."""

    token: str
    kind: Hashable
    came: bool = False


class Keeper:
    """A connected keeper, idle or with one command."""

    def __init__(self, line: Hub, connection: socket.socket) -> None:
        self.connection = connection
        self.lease: Lease | None = None
        self.host = ""
        self.since = self.idle_since = clock.monotonic()
        self.execution: RemoteExecution | None = None
        self._line = line
        self._in, self._out = bytearray(), bytearray()

    def give(self, execution: RemoteExecution) -> None:
        """Send it a command to run."""
        self.execution, execution.keeper = execution, self
        self._put(execution.order_frame())

    def send(self, kind: bytes) -> None:
        """Send it a word."""
        self._put(frame(kind))

    def _put(self, data: bytes) -> None:
        self._out += data
        self.write()

    def write(self) -> None:
        """Send what has not been sent."""
        with contextlib.suppress(BlockingIOError, ConnectionError, TimeoutError):  # reading will tell
            del self._out[: self.connection.send(self._out)]
        self._line.watch(self, writing=bool(self._out))

    def read(self) -> None:
        """Take in what has come; raises OSError or EOFError at the end of the connection."""
        for kind, body in receive(self.connection, self._in):
            self._hear(kind, body)
        if self.lease is None and len(self._in) > _MOST_UNKNOWN:
            raise Refusal  # whoever it is, it is no keeper

    def _hear(self, kind: bytes, body: bytes) -> None:
        if (self.lease is None) != (kind == HELLO):
            raise Refusal  # a stranger, or one that says hello again
        if kind == OUTPUT and self.execution:
            self.execution.write(body)
        elif kind == EXIT and self.execution:
            execution, self.execution = self.execution, None
            execution.end(_exit(json.loads(body), self.host))
            self.idle_since = clock.monotonic()
            self._line.is_free(self)
        elif kind == GONE and self.execution:
            execution, self.execution = self.execution, None
            execution.lose(self.host)
        elif kind == HELLO:
            said = json.loads(body)
            self.host = str(said["host"])
            self.lease = self._line.let_in(str(said["token"]))
            self._line.is_free(self)


def _exit(said: dict[str, Any], host: str) -> Exit:
    if "error" in said:
        return Exit(None, None, NOT_STARTED, str(said["error"]), host)
    return Exit(said["code"], said["signal"], TIMEOUT if said["timeout"] else None, None, host, said["took"])
