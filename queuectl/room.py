"""Room on the disk: whether a spool's file system has so little left that no job should be started.

A look costs one system call, and `Gauge` makes one a second at most. Running jobs are never touched for want of room.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from queuectl import clock

LOOK_S = 1.0
LOW_SHARE = 100  # a hundredth of the file system
LOW_BYTES = 100 * 2**20  # but no more than this is asked for by itself
LOW_FILES = 1000


class Gauge:
    """How much room a directory's file system has, as known a second ago at most."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._free = 0
        self._known_until = 0.0

    def short(self, wanted: int) -> str | None:
        """Say that fewer than `wanted` bytes are free; None when there is room."""
        if clock.monotonic() >= self._known_until:
            self._free = free_bytes(self._path)
            self._known_until = clock.monotonic() + LOOK_S
        return shortage(self._free, wanted)


def free_bytes(path: Path) -> int:
    """Return how many bytes whoever asks may still write to the file system of a path."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def shortage(free: int, wanted: int) -> str | None:
    """Say that too little is free, None when it is not."""
    return f"{size(free)} free, less than min_free_bytes ({size(wanted)})" if free < wanted else None


def shortages(path: Path, wanted: int) -> Iterator[str]:
    """Say what a file system is short of: bytes by the setting or nearly all of them, and new files."""
    status = os.statvfs(path)
    total, free = status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize
    if short := shortage(free, wanted):
        yield f"{short}: workers claim nothing"
    elif free < min(total // LOW_SHARE, LOW_BYTES):
        yield f"the disk is nearly full: {size(free)} of {size(total)} free"
    if status.f_files and status.f_favail < min(status.f_files // LOW_SHARE, LOW_FILES):  # btrfs counts none
        yield f"the file system has room for {status.f_favail} more files only, and each job is one"


def size(count: int) -> str:
    """Spell a number of bytes for people: `900 bytes`, `1.5 MiB`."""
    value = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} TiB"
