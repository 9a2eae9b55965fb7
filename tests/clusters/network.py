"""A second machine as far as the network goes: a namespace of its own, a cable to it, and scissors."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass


def lacking() -> str:
    """Return what keeps us from making one, or nothing."""
    if shutil.which("ip") is None:
        return "no ip here: apt-get install iproute2"
    if os.geteuid() != 0:
        return "a network namespace needs root"
    made = subprocess.run(["ip", "netns", "add", f"try{os.getpid()}"], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", f"try{os.getpid()}"], capture_output=True)
    return made.stderr.strip()


@dataclass(frozen=True)
class Machine:
    """The other machine: the words that run something there, and our own address as it sees it."""

    within: list[str]
    our_address: str
    _cable: str

    def cut(self) -> None:
        """Cut the cable: from now on nothing arrives, and nobody is told."""
        _ip("link", "set", self._cable, "down")


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    """Have another machine for the length of the block."""
    name = f"q{os.getpid() % 100_000}"
    ours, theirs = f"{name}a", f"{name}b"
    net = f"10.{os.getpid() % 200 + 20}.77"
    _ip("netns", "add", name)
    try:
        _ip("link", "add", ours, "type", "veth", "peer", "name", theirs)
        _ip("link", "set", theirs, "netns", name)
        _ip("addr", "add", f"{net}.1/24", "dev", ours)
        _ip("link", "set", ours, "up")
        for words in (["addr", "add", f"{net}.2/24", "dev", theirs], ["link", "set", theirs, "up"]):
            _ip("-n", name, *words)
        _ip("-n", name, "link", "set", "lo", "up")
        yield Machine(["ip", "netns", "exec", name], f"{net}.1", ours)
    finally:
        subprocess.run(["ip", "link", "del", ours], capture_output=True)
        _ip("netns", "del", name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
