"""The worker of a cluster, in this process, on a cluster that does what a test wants."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence

import pytest

from queuectl import channel, clock, registry
from queuectl.config import Config
from queuectl.executors import Exit, Order
from queuectl.inbox import Inbox
from queuectl.queue import Queue
from queuectl.remote import RemoteWorker
from queuectl.spool import Spool
from queuectl.terminal import Terminal


class Command:
    """A command that runs until somebody ends it."""

    asked = False

    def wait(self, _timeout: float | None, _interrupts: Sequence[int]) -> Exit | None:
        return Exit(None, signal.SIGTERM) if self.asked else None

    def terminate(self) -> None:
        self.asked = True

    def kill(self) -> None:
        self.asked = True

    def group_alive(self) -> bool:
        return False


class Nodes:
    """A cluster with room for everything; as soon as a command runs, its worker hears some words."""

    def __init__(self, worker: channel.Writer, *words: tuple[str, str]) -> None:
        self._worker, self._words = worker, words
        self._running: list[Command] = []

    def start(self, _order: Order) -> Command:
        self._running.append(Command())
        for verb, argument in self._words:
            self._worker.say(verb, argument)
        return self._running[-1]

    def pump(self) -> list[tuple[Command, Exit]]:
        ended = [command for command in self._running if command.asked]
        self._running = [command for command in self._running if not command.asked]
        return [(command, Exit(None, signal.SIGTERM)) for command in ended]

    def ready(self) -> bool:
        return True

    def want(self, _count: int) -> None:
        raise AssertionError("it is always ready")

    def fds(self) -> Sequence[int]:
        return ()

    def node(self, _execution: object) -> str:
        return "node1"

    def close(self) -> None:
        assert not self._running


@pytest.fixture
def inbox() -> Iterator[tuple[Inbox, channel.Writer]]:
    """The inbox of a worker, and what its supervisor writes to; signals are as they were afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGQUIT)}
    read, write = os.pipe()
    ears = Inbox(channel.Reader(read))
    yield ears, channel.Writer(write, blocking=True)
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)
    for fd in (read, write):
        os.close(fd)


def test_a_job_that_is_cancelled_while_its_worker_is_stopped_at_once_is_not_put_back(
    queue: Queue, spool: Spool, inbox: tuple[Inbox, channel.Writer]
) -> None:
    queue.enqueue("true", id="one")
    ears, supervisor = inbox
    nodes = Nodes(supervisor, ("cancel", "one"), ("kill", ""))
    registered = registry.register(spool, registry.WORKER, os.getppid(), clock.now(), "dask")
    RemoteWorker(spool, Config, nodes, ears, None, Terminal(1, "ERROR"), registered).run()
    assert (queue.get("one").state, queue.get("one").exit) == ("dead", "cancelled")
