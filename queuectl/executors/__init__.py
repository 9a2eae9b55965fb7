"""The seam between a claimed job and what runs it: start an `Order`, get an `Execution` to wait for, terminate, kill.

An executor knows how commands are started and ended, and nothing of retries, states or the spool. A command that
fails is an `Exit`, never an exception; one that cannot be started raises `CannotStart`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class CannotStart(Exception):
    """There is no such program or directory, or it may not be executed; the text says which, in one line."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to run, where, with which variables and descriptors.

    `command` is a shell line, or a program with its arguments.

    `lock` is inherited by the command, so that its job stays locked while it lives; `log` becomes its output and
    errors.
    """

    command: str | list[str]
    cwd: str | None
    env: Mapping[str, str]
    lock: int
    log: int


@dataclass(frozen=True, slots=True)
class Exit:
    """How a command ended: by an exit code, or by a signal."""

    code: int | None
    signal: int | None


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
