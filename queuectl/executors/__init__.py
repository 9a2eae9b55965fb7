"""The seam between a claimed job and what runs it: start an `Order`, get an `Execution` to wait for, terminate, kill.

An executor knows how commands are started and ended, and nothing of retries, states or the spool. A command that
fails is an `Exit`, never an exception; one that cannot be started raises `CannotStart`, or says so in its `Exit` when
that is known elsewhere and later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

LOST = "lost"
TIMEOUT = "timeout"
NOT_STARTED = "nostart"


class CannotStart(Exception):
    """There is no such program or directory, or it may not be executed; the text says which, in one line."""


class Unavailable(Exception):
    """What runs commands is not installed or cannot be reached; the text says which, in one line."""


class Order(Struct, frozen=True):
    """What to run, where, with which variables and descriptors.

    `command` is a shell line, or a program with its arguments.

    `lock` is inherited by the command, so that its job stays locked while it lives; `log` becomes its output and
    errors. `timeout` and `grace` are seconds, for an executor whose node keeps the time itself (0: no timeout).
    """

    command: str | list[str]
    cwd: str | None
    env: Mapping[str, str]
    lock: int
    log: int
    id: str = ""
    resources: Mapping[str, float | str] = {}
    timeout: float = 0.0
    grace: float = 10.0


class Exit(Struct, frozen=True):
    """How a command ended: by an exit code, by a signal, or for a `reason` of its executor's, told in `error`.

    `reason` is LOST, TIMEOUT or NOT_STARTED; `host` the machine on which it ran and `took_s` its seconds there, None
    where the executor knows no better than its caller.
    """

    code: int | None
    signal: int | None
    reason: str | None = None
    error: str | None = None
    host: str | None = None
    took_s: float | None = None


class Execution(Protocol):
    """A started command, with everything in its process group."""

    def wait(self, timeout: float | None, interrupts: Sequence[int]) -> Exit | None:
        """Wait for the command itself; None after `timeout` seconds or when one of the descriptors is readable."""

    def terminate(self) -> None:
        """Ask the command and its group to end."""

    def kill(self) -> None:
        """End whatever is left of the group at once."""

    def group_alive(self) -> bool:
        """Say whether anything of the group still lives after the command itself has ended."""


class Executor(Protocol):
    """Starts commands."""

    def start(self, order: Order) -> Execution:
        """Start a command; raises `CannotStart`, or OSError when the machine has no room for it now."""


@runtime_checkable
class Cluster(Executor, Protocol):
    """An executor with room for many commands at once, whose executions are told of all at once."""

    def ready(self) -> bool:
        """Say whether a command that asks for nothing particular would start now."""

    def want(self, count: int) -> None:
        """Ask for room for so many commands more; `ready` says when there is some. Raises `Unavailable`."""

    def fds(self) -> Sequence[int]:
        """Return the descriptors that become readable when something has happened."""

    def pump(self) -> list[tuple[Execution, Exit]]:
        """Take note of what has happened, without waiting; returns the executions that have ended since."""

    def node(self, execution: Execution) -> str:
        """Return on which machine a command runs; nothing while it has no place."""

    def close(self) -> None:
        """Give all room back."""
