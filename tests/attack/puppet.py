"""A process that forks puppets: workers and operators that stop before each system call that others could notice.

A puppet is the real code on a real spool. Before it opens, locks, renames or unlinks a file, starts a command or gives
a lock back, it says so on its strings and waits to be let on, and it lives by the clock that it is given there. So
whoever holds the strings chooses the order of everything, and may kill a puppet between any two steps.
"""

from __future__ import annotations

import datetime  # noqa: F401 - so that no puppet has to import it
import gc
import json
import os
import random
import signal
import socket
import sys
from typing import Any

import portalocker  # noqa: F401

from queuectl import channel, clock, config, disk, ids, registry
from queuectl.errors import QueuectlError
from queuectl.executors.local import LocalExecutor
from queuectl.inbox import Inbox
from queuectl.queue import Queue
from queuectl.spool import Spool
from queuectl.terminal import Terminal
from queuectl.worker import Worker


class Strings:
    """The puppet's end: where it stands, and the time that it is told."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self.now, self.monotonic = 0, 0.0

    def tell(self, **what: Any) -> None:
        self._socket.send(json.dumps(what).encode())

    def stop(self, at: str) -> None:
        """Say what comes next, and wait to be let on."""
        self.tell(at=at)
        told = self._socket.recv(1000)
        if not told:
            os._exit(0)
        self.now = int(told)
        self.monotonic += 0.02

    def sleep(self, seconds: float) -> None:
        self.monotonic += seconds
        self.stop("sleep")


def settle_chance(seed: int) -> None:
    """Let nothing depend on chance: ids come from a seed, and names in a directory are met in their order."""
    chance = random.Random(seed)
    listing = disk.Directory.listing
    ids._random = lambda: chance.getrandbits(80)
    disk.Directory.listing = lambda self: sorted(listing(self))  # type: ignore[method-assign]
    disk.Directory.names = lambda self: iter(sorted(listing(self)))  # type: ignore[method-assign]
    disk.Directory.chunks = lambda self, _size: iter([sorted(listing(self))])  # type: ignore[method-assign]


def tie(strings: Strings) -> None:  # noqa: C901 - one call after the other
    """Tie the strings to all that a process does to the spool, and to its clock."""
    locked: set[int] = set()
    real = {name: getattr(os, name) for name in ("open", "close", "rename", "unlink", "posix_spawn")}
    flock = disk.flock

    def stopping(name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            strings.stop(f"{name} {args[0]!s}")
            return real[name](*args, **kwargs)

        return call

    def open_(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if kwargs.get("dir_fd") is not None and path != ".":
            strings.stop(f"open {path}")
        fd: int = real["open"](path, flags, *args, **kwargs)
        return fd

    def close(fd: int) -> None:
        if fd in locked:
            strings.stop("unlock")
            locked.discard(fd)
        real["close"](fd)

    def lock(fd: int) -> bool:
        strings.stop("lock")
        if flock(fd):
            locked.add(fd)
        return fd in locked

    def lock_wait(fd: int) -> None:
        while not lock(fd):
            continue

    def spawn(path: str, argv: list[str], env: dict[str, str], **kwargs: Any) -> int:
        strings.stop("spawn")
        pid: int = real["posix_spawn"](path, argv, env, **kwargs)
        strings.tell(spawned=pid, token=env["TOKEN"], id=env["QUEUECTL_JOB_ID"])
        return pid

    for name in ("rename", "unlink"):
        setattr(os, name, stopping(name))
    os.open, os.close, os.posix_spawn, os.fsync = open_, close, spawn, lambda _fd: None  # type: ignore[assignment]
    disk.flock, disk.flock_wait = lock, lock_wait
    clock.now, clock.monotonic, clock.sleep = lambda: strings.now, lambda: strings.monotonic, strings.sleep
    Inbox.wait = lambda _self, _timeout=None: strings.stop("idle")  # type: ignore[method-assign]


def work(strings: Strings, path: str, inbox: int) -> None:
    """Be a worker until told to stop."""
    spool = Spool(path)
    registered = registry.register(spool, registry.WORKER, os.getppid(), clock.now())
    executor, terminal = LocalExecutor(), Terminal(1, "WARNING")
    tie(strings)
    strings.stop("begin")
    worker = Worker(
        spool,
        lambda: config.load(spool.config_text()),
        executor=executor,
        inbox=Inbox(channel.Reader(inbox)),
        supervisor=None,
        terminal=terminal,
    )
    worker.run()
    os.close(registered)


def operate(strings: Strings, path: str, verb: str, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Do what one command of an operator does, and tell how it ended."""
    queue = Queue(path)
    tie(strings)
    strings.stop("begin")
    try:
        getattr(queue, verb)(*args, **kwargs)
    except QueuectlError as error:
        strings.tell(done=type(error).__name__)
    else:
        strings.tell(done="")


def main() -> None:
    """Fork a puppet for each order that arrives, until nobody can give orders."""
    orders = socket.socket(fileno=int(sys.argv[1]))
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that the dead are gone at once
    while True:
        data, fds, _, _ = socket.recv_fds(orders, 1 << 16, 2)
        if not data:
            return
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            orders.close()
            order = json.loads(data)
            settle_chance(order["seed"])
            if order["verb"] == "work":
                work(Strings(fds[0]), order["spool"], fds[1])
            else:
                operate(Strings(fds[0]), order["spool"], order["verb"], order["args"], order["kwargs"])
            os._exit(0)
        for fd in fds:
            os.close(fd)
        orders.send(str(pid).encode())


if __name__ == "__main__":
    main()
