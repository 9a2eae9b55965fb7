"""The other end of the puppets' strings: make puppets, let them on step by step, kill them, end their commands."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers import PATIENCE_S, environment, is_alive

TESTS = Path(__file__).parent.parent


def wait_until(condition: Callable[[], bool], what: str = "") -> None:
    """Wait for what comes within a millisecond, as a rule."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.0005)


@dataclass
class Command:
    """A command that some puppet has started."""

    pid: int
    token: str
    id: str

    def lives(self) -> bool:
        """Say whether it runs; a zombie has given its lock back already."""
        return is_alive(self.pid)

    def end(self, fifo: Path, code: int) -> None:
        """Let it exit with a code, and wait until it has."""

        def told() -> bool:
            if not self.lives():
                return True
            try:
                fd = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                return False  # it has not come to reading yet
            os.write(fd, f"{code}\n".encode())
            os.close(fd)
            return True

        wait_until(told)
        self.gone()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.gone()

    def gone(self) -> None:
        wait_until(lambda: not self.lives(), what=f"the end of {self}")


@dataclass
class Puppet:
    """A process on strings: where it stands, what it runs, and, once it has ended, how."""

    pid: int
    strings: socket.socket
    inbox: int
    verb: str
    args: list[Any]
    at: str = ""
    runs: Command | None = None
    done: str | None = None
    killed: bool = False
    stopped: bool = False
    started: list[Command] = field(default_factory=list)

    @property
    def lives(self) -> bool:
        return self.done is None and not self.killed

    def hear(self) -> None:
        """Take note of where it stands now."""
        data = self.strings.recv(65_536)
        if not data:
            self.done = ""  # a worker that was told to stop
            return
        told = json.loads(data)
        if "spawned" in told:
            self.runs = Command(told["spawned"], told["token"], told["id"])
            self.started.append(self.runs)
            if self.stopped:
                self.runs_ended()  # its worker ends it at once
        elif "done" in told:
            self.done = told["done"]
        else:
            self.at = told["at"]

    def step(self, now: int) -> None:
        """Let it on by one step, unless it waits for its command."""
        if not self.lives or self.runs:
            return
        if self.at == "idle" and not self.stopped:
            os.write(self.inbox, b"poll\0")
        self.strings.send(str(now).encode())
        self.hear()

    def runs_ended(self) -> None:
        """Its command has ended or is being ended: wait until the worker has noticed."""
        assert self.runs
        self.runs = None
        self.hear()

    def say(self, word: str) -> None:
        os.write(self.inbox, word.encode() + b"\0")

    def kill(self) -> None:
        """Kill it and wait until the system has taken its locks."""
        if self.lives:
            os.kill(self.pid, signal.SIGKILL)
            self.killed = True
            wait_until(lambda: not os.path.exists(f"/proc/{self.pid}"))
        self.strings.close()
        if self.inbox >= 0:
            os.close(self.inbox)
            self.inbox = -1


class Stage:
    """Makes puppets; one process that imports everything once and forks them."""

    def __init__(self, log: Path) -> None:
        self.seed = 0
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(TESTS / "attack" / "puppet.py"), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=environment({"PYTHONPATH": str(TESTS.parent)}),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        theirs.close()

    def puppet(self, spool: Path, verb: str, *args: Any, **kwargs: Any) -> Puppet:
        """Make a worker (`work`), or an operator with a method of Queue; it stands at its beginning."""
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        mine.settimeout(2 * PATIENCE_S)
        ear, mouth = os.pipe()
        order = {"spool": str(spool), "verb": verb, "args": args, "kwargs": kwargs, "seed": self.seed}
        self.seed += 1
        socket.send_fds(self._orders, [json.dumps(order).encode()], [theirs.fileno(), ear])
        theirs.close()
        os.close(ear)
        made = Puppet(int(self._orders.recv(100)), mine, mouth, verb, list(args))
        made.hear()
        return made

    def close(self) -> None:
        self._orders.close()
        self._process.wait(PATIENCE_S)
