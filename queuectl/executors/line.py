"""Our end of the connections to keepers: who is there, who runs what, what comes back (keeper.py has the frames).

A keeper is let in once, by a token that was made for it: what an engine starts a second time finds its token used and
leaves. Nothing here waits, and nothing knows how keepers come to be started.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import socket
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from queuectl import clock, shell
from queuectl.executors import LOST, NOT_STARTED, TIMEOUT, Exit, Order
from queuectl.executors.guard import Guard
from queuectl.executors.keeper import (
    DEAD_S,
    EXIT,
    GONE,
    HELLO,
    KILL,
    LEAVE,
    ORDER,
    OUTPUT,
    PIECE,
    TERMINATE,
    frame,
    frames,
    watch_over,
)

GONE_S = 1.0  # a keeper that was killed: its node ends the command at once
TICK_S = 0.25


class RemoteExecution:
    """A command elsewhere, or on its way there. Holds a lock and a log of its own until its end."""

    def __init__(self, line: Line, order: Order, place_by: float) -> None:
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
        """Return the name of the node that it runs on, nothing while it waits for one."""
        return self.keeper.host if self.keeper else ""

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

    def __init__(self, line: Line, connection: socket.socket) -> None:
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
        try:
            data = self.connection.recv(PIECE)
        except BlockingIOError:
            return
        if not data:
            raise EOFError
        self._in += data
        for kind, body in frames(self._in):
            self._hear(kind, body)

    def _hear(self, kind: bytes, body: bytes) -> None:
        if kind == OUTPUT and self.execution:
            self.execution.write(body)
        elif kind == EXIT and self.execution:
            execution, self.execution = self.execution, None
            execution.end(_exit(json.loads(body), self.host))
            self.idle_since = clock.monotonic()
            self._line.is_free(self)
        elif kind == GONE and self.execution:
            execution, self.execution = self.execution, None
            execution.end(Exit(None, None, LOST, f"node {self.host} was lost", self.host))
        elif kind == HELLO and self.lease is None:
            said = json.loads(body)
            self.host = str(said["host"])
            self.lease = self._line.let_in(str(said["token"]))
            self._line.is_free(self)


def _exit(said: dict[str, Any], host: str) -> Exit:
    if "error" in said:
        return Exit(None, None, NOT_STARTED, str(said["error"]), host)
    return Exit(said["code"], said["signal"], TIMEOUT if said["timeout"] else None, None, host, said["took"])


class Refusal(Exception):
    """A connection that we do not want."""


class Line:
    """All keepers of one dispatcher. `gone(lease)` is called when one that had come has left."""

    def __init__(self, address: str, guard: Guard, gone: Callable[[Lease], None]) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, 0), family=family, backlog=1024)
        self._listener.setblocking(False)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self.guard = guard
        self._gone = gone
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._leases: dict[str, Lease] = {}
        self._free: dict[Hashable, list[Keeper]] = {}
        self._waiting: dict[Hashable, list[RemoteExecution]] = {}
        self._losing: list[RemoteExecution] = []
        self.ended: list[tuple[RemoteExecution, Exit]] = []

    def fileno(self) -> int:
        """Return a descriptor that is readable when there is something to `pump`."""
        return self._selector.fileno()

    def sleep(self, seconds: float, interrupts: Sequence[int]) -> bool:
        """Sleep until there is something to pump; True when one of `interrupts` became readable instead."""
        import select

        poll = select.poll()
        for fd in (self.fileno(), *interrupts):
            poll.register(fd, select.POLLIN)
        return any(fd in interrupts for fd, _ in poll.poll(max(0.0, seconds) * 1000))

    def lease(self, kind: Hashable) -> Lease:
        """Make a token for one keeper, for a kind of place."""
        made = Lease(secrets.token_hex(16), kind)
        self._leases[made.token] = made
        return made

    def end_lease(self, lease: Lease) -> None:
        """Let a keeper in no more."""
        self._leases.pop(lease.token, None)

    def let_in(self, token: str) -> Lease:
        """Accept a keeper by its token, once."""
        lease = self._leases.pop(token, None)
        if lease is None:
            raise Refusal  # an engine has started it again elsewhere, or it is none of ours
        lease.came = True
        return lease

    def has_free(self, kind: Hashable) -> bool:
        """Say whether a keeper of a kind has nothing to do."""
        return bool(self._free.get(kind))

    def place(self, execution: RemoteExecution, kind: Hashable) -> bool:
        """Give a command to a free keeper; False when it has to wait for one."""
        free = self._free.get(kind)
        if free:
            free.pop().give(execution)
            return True
        self._waiting.setdefault(kind, []).append(execution)
        return False

    def withdraw(self, execution: RemoteExecution) -> None:
        """Let a command wait no more."""
        for waiting in self._waiting.values():
            if execution in waiting:
                waiting.remove(execution)

    def is_free(self, keeper: Keeper) -> None:
        """Give a free keeper the command that has waited longest, or remember it."""
        assert keeper.lease
        waiting = self._waiting.get(keeper.lease.kind)
        if waiting:
            keeper.give(waiting.pop(0))
        else:
            self._free.setdefault(keeper.lease.kind, []).append(keeper)

    def dismiss(self, idle_s: float, lent_s: float) -> None:
        """Send free keepers away that have been idle, or away from their engine's other work, for so long."""
        now = clock.monotonic()
        for free in self._free.values():
            for keeper in [k for k in free if now - k.idle_since >= idle_s or now - k.since >= lent_s]:
                free.remove(keeper)
                keeper.send(LEAVE)

    def watch(self, keeper: Keeper, *, writing: bool) -> None:
        """Listen to a connection, and when something could not be sent, for room to send it."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if writing else 0)
        with contextlib.suppress(KeyError):  # it has been closed
            if self._selector.get_key(keeper.connection).events != events:
                self._selector.modify(keeper.connection, events, keeper)

    def pump(self) -> None:
        """Take in all that has come."""
        for key, mask in self._selector.select(0):
            if key.fileobj is self._listener:
                self._accept()
            else:
                self._serve(key.data, mask)
        self._lose()

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            connection, _ = self._listener.accept()
            watch_over(connection)
            connection.setblocking(False)
            self._selector.register(connection, selectors.EVENT_READ, Keeper(self, connection))

    def _serve(self, keeper: Keeper, mask: int) -> None:
        try:
            if mask & selectors.EVENT_WRITE:
                keeper.write()
            if mask & selectors.EVENT_READ:
                keeper.read()
        except (EOFError, ConnectionError):
            self._left(keeper, GONE_S)
        except OSError:  # its machine does not answer; there, the kernel finds out by the same rules
            self._left(keeper, DEAD_S)
        except (Refusal, ValueError, KeyError, TypeError):
            self._left(keeper, 0.0)

    def _left(self, keeper: Keeper, after: float) -> None:
        self._selector.unregister(keeper.connection)
        keeper.connection.close()
        if keeper.lease:
            with contextlib.suppress(KeyError, ValueError):
                self._free[keeper.lease.kind].remove(keeper)
            self._gone(keeper.lease)
        if keeper.execution:
            execution, keeper.execution = keeper.execution, None
            execution.keeper = None
            execution.lost_at = clock.monotonic() + after
            execution.host_lost = keeper.host
            self._losing.append(execution)

    def _lose(self) -> None:
        """End what is known to be gone by now, and what has found no place in time."""
        now = clock.monotonic()
        for execution in [e for e in self._losing if e.lost_at is not None and now >= e.lost_at]:
            self._losing.remove(execution)
            host = execution.host_lost
            execution.end(Exit(None, None, LOST, f"node {host} was lost", host))
        for kind, waiting in self._waiting.items():
            for execution in [e for e in waiting if now >= e.place_by]:
                waiting.remove(execution)
                wanted = f" with {kind}" if str(kind) else ""
                execution.end(Exit(None, None, LOST, f"no node{wanted} took it in time"))

    def close(self) -> None:
        """Send all free keepers away and end."""
        self.dismiss(0.0, 0.0)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]  # sockets, all of them
        self._selector.close()
