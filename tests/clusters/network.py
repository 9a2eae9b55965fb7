"""Two machines as far as the network goes: two namespaces, a cable between them, and scissors.

This machine's own network is left as it is, since browsers notice each change of it.
"""

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
class Machines:
    """The words that run something here and there, and the address of here as it is seen from there."""

    here: list[str]
    there: list[str]
    address: str
    _here: str
    _cable: str

    def cut(self) -> None:
        """Cut the cable: from now on nothing arrives, and nobody is told."""
        _ip("-n", self._here, "link", "set", self._cable, "down")


@contextlib.contextmanager
def machines() -> Iterator[Machines]:
    """Have two machines for the length of the block."""
    here, there = names = (f"here{os.getpid()}", f"there{os.getpid()}")
    made = []
    try:
        for name in names:
            _ip("netns", "add", name)
            made.append(name)
        _ip("link", "add", "cable", "netns", here, "type", "veth", "peer", "name", "cable", "netns", there)
        for name, address in zip(names, ("10.77.0.1/24", "10.77.0.2/24"), strict=True):
            _ip("-n", name, "addr", "add", address, "dev", "cable")
            _ip("-n", name, "link", "set", "cable", "up")
            _ip("-n", name, "link", "set", "lo", "up")
        enter = ["ip", "netns", "exec"]
        yield Machines([*enter, here], [*enter, there], "10.77.0.1", here, "cable")
    finally:
        for name in made:
            _ip("netns", "del", name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
