"""Our end of the connections to keepers: who is there, who runs what, who waits for a place, who was lost.

A keeper is let in once, by a token that was made for it: what an engine starts a second time finds its token used and
leaves. Nothing here waits, and nothing knows how keepers come to be started.
"""

from __future__ import annotations

import contextlib
import secrets
import select
import selectors
import socket
from collections.abc import Callable, Hashable, Sequence

from queuectl import clock
from queuectl.executors import LOST, Exit
from queuectl.executors.connection import Keeper, Lease, Refusal, RemoteExecution
from queuectl.executors.guard import Guard
from queuectl.executors.keeper import DEAD_S, LEAVE, watch_over

GONE_S = 1.0  # a keeper that was killed: its node ends the command at once


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
            execution.lose(execution.host_lost)
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
