"""Small real file systems for tests: an image in memory, mounted by a loop device; copies of it are power cuts.

A copy of the image, taken while it is mounted, holds what the file system has written to its device up to then and
nothing of what still is in the memory of the machine: what the disk would hold if the power failed at this instant.
Mounted again, the file system recovers by its log, as it would. The copy is an instant, since it is taken again when
the device was written to meanwhile.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KINDS = {
    # The intervals are long, so that nothing reaches the disk that nobody asked for.
    "ext4": (16, ["mkfs.ext4", "-q", "-F"], "loop,commit=600"),
    "ext4-fast-commit": (16, ["mkfs.ext4", "-q", "-F", "-O", "fast_commit"], "loop,commit=600"),
    "xfs": (300, ["mkfs.xfs", "-q", "-f"], "loop"),
    "btrfs": (128, ["mkfs.btrfs", "-q", "-f"], "loop,commit=600"),
}
_START_SYNC, _WAIT_SYNC, _FORGET = 0x80089418, 0x40089416, 0x50009405  # linux/btrfs.h
_MEBIBYTE = 2**20


def run(*words: str | Path) -> None:
    """Run a command that must succeed; its output is in the error."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    assert done.returncode == 0, f"{words}: exit {done.returncode}: {done.stdout}{done.stderr}"


@functools.cache
def unable() -> str | None:
    """Return why nothing can be mounted here, None when it can."""
    if os.geteuid() != 0:
        return "needs root, to mount"
    with tempfile.TemporaryDirectory() as place:
        tried = subprocess.run(["mount", "-t", "tmpfs", "none", place], capture_output=True, text=True)
        if tried.returncode != 0:
            return f"may not mount here: {tried.stderr.strip()}"
        subprocess.run(["umount", place], check=True)
    return None


@functools.cache
def missing(kind: str) -> str | None:
    """Return why a file system of this kind cannot be mounted here, None when it can."""
    maker, module = KINDS[kind][1][0], kind.partition("-")[0]
    if unable():
        return unable()
    if shutil.which(maker) is None:
        return f"needs {maker}"
    if shutil.which("modprobe"):
        subprocess.run(["modprobe", "-q", module], capture_output=True)
    if f"\t{module}\n" not in Path("/proc/filesystems").read_text():
        return f"needs a kernel with {module}"
    free = subprocess.run(["losetup", "-f"], capture_output=True, text=True)
    return None if free.returncode == 0 else f"needs loop devices: {free.stderr.strip()}"


@contextlib.contextmanager
def memory(place: Path, *options: str) -> Iterator[Path]:
    """Mount a file system in memory, for images: nothing here waits for a real disk."""
    place.mkdir()
    run("mount", "-t", "tmpfs", "-o", ",".join(options or ["size=1g"]), "none", place)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def copy(source: Path, target: Path) -> None:
    """Copy a file, its holes as holes."""
    with source.open("rb") as old, target.open("wb") as new:
        size, end = os.fstat(old.fileno()).st_size, 0
        with contextlib.suppress(OSError):  # ENXIO: only a hole is left
            while end < size:
                start = os.lseek(old.fileno(), end, os.SEEK_DATA)
                end = os.lseek(old.fileno(), start, os.SEEK_HOLE)
                os.lseek(old.fileno(), start, os.SEEK_SET)
                os.lseek(new.fileno(), start, os.SEEK_SET)
                while start < end:
                    start += os.sendfile(new.fileno(), old.fileno(), None, end - start)
        new.truncate(size)


@dataclass(frozen=True)
class Disk:
    """An image of a file system, in a directory in memory."""

    kind: str
    image: Path

    @classmethod
    def make(cls, kind: str, place: Path, *extra: str) -> Disk:
        """Make a file system of a kind, with extra words for its mkfs."""
        made = cls(kind, place / f"{kind}-{uuid.uuid4().hex[:8]}.img")
        size, command, _ = KINDS[kind]
        with made.image.open("wb") as file:
            file.truncate(size * _MEBIBYTE)
        run(*command, *extra, made.image)
        run("fallocate", "--dig-holes", made.image)  # a log of zeros would make each copy slow
        return made

    def copy(self) -> Disk:
        """Return a copy of the image: of a mounted one, what a power cut would leave."""
        made = Disk(self.kind, self.image.with_name(f"{self.kind}-{uuid.uuid4().hex[:8]}.img"))
        copy(self.image, made.image)
        return made

    def delete(self) -> None:
        """Delete the image."""
        self.image.unlink(missing_ok=True)

    @contextlib.contextmanager
    def mounted(self, options: str = "") -> Iterator[Mounted]:
        """Mount the image beside it."""
        place = self.image.with_suffix(".mnt")
        place.mkdir()
        if self.kind == "btrfs":
            _forget()
        own = KINDS[self.kind][2] + (",nouuid" if self.kind == "xfs" else "")
        try:
            run("mount", "-o", own + (f",{options}" if options else ""), self.image, place)
            mounted = Mounted(self, place)
            try:
                yield mounted
            finally:
                # The loop device goes with the mount; a lazy one ends when the last process has let go of it.
                if subprocess.run(["umount", place], capture_output=True).returncode != 0:
                    subprocess.run(["umount", "-l", place], check=True)
        finally:
            place.rmdir()


@dataclass
class Mounted:
    """A file system while it is mounted."""

    disk: Disk
    path: Path

    @functools.cached_property
    def number(self) -> int:
        """What stat(2) calls the file system."""
        return os.stat(self.path).st_dev

    @functools.cached_property
    def device(self) -> str:
        """The loop device, by its name in /sys/block."""
        for line in Path("/proc/self/mounts").read_text().splitlines():
            device, place, *_ = line.split()
            if place == str(self.path):
                return Path(device).name
        raise AssertionError(f"{self.path} is not mounted")

    def cut(self, device: str) -> Disk:
        """Return what the disk would hold if the power failed now."""
        while True:
            before = written(device)
            made = self.disk.copy()
            if before == written(device) and not before[2]:
                return made
            made.delete()

    def commit(self) -> None:
        """Let the file system commit its journal without writing the data of files, as it does by itself at times."""
        if self.disk.kind == "btrfs":
            fd = os.open(self.path, os.O_RDONLY)
            try:
                number = fcntl.ioctl(fd, _START_SYNC, bytes(8))
                fcntl.ioctl(fd, _WAIT_SYNC, number)
            finally:
                os.close(fd)
            return
        fd = os.open(self.path / "bystander", os.O_RDWR | os.O_CREAT)
        try:
            os.pwrite(fd, os.urandom(8), 0)
            os.fsync(fd)
        finally:
            os.close(fd)


def written(device: str) -> tuple[int, ...]:
    """Return how often a device was written to, and what is under way; equal numbers mean equal contents."""
    fields = [int(field) for field in Path(f"/sys/block/{device}/stat").read_text().split()]
    return fields[4], fields[6], fields[8], *fields[11:14:2]


def _forget() -> None:
    """Let btrfs forget images that it has seen: it would take an older copy for the same device, gone wrong."""
    with open("/dev/btrfs-control", "rb") as control:
        fcntl.ioctl(control, _FORGET, bytearray(4096))
