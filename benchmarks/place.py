"""Places: the directories, and the file systems, that spools are measured on.

A file's creation costs between 20 µs and 900 µs on a long-used ext4, depending on the block group and on what was
deleted nearby. So each benchmark gets a fresh ext4 in a loop-mounted image (needs root), else tmpfs; the headline
figures are measured on the default place, a temporary directory, as well.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import BenchError, output

GIB = 2**30
SHM = Path("/dev/shm")


@dataclass(frozen=True)
class Place:
    """A directory for spools, and how the results speak of it."""

    path: Path
    kind: str

    def fresh(self, prefix: str) -> Path:
        """Return a new directory here."""
        return Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=self.path))


Opened = contextlib.AbstractContextManager[Place]


def settle() -> None:
    """Write out everything dirty, so that no measurement pays for the one before it."""
    os.sync()


def file_system(path: Path) -> str:
    """Return the type of the file system that holds `path`."""
    best, kind = "", "unknown"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mounted, _, source = line.partition(" - ")
        point = mounted.split()[4].encode().decode("unicode_escape")
        inside = point == "/" or f"{path.resolve()}/".startswith(f"{point}/")
        if inside and len(point) >= len(best):
            best, kind = point, source.split()[0]
    return kind


def why_no_image() -> str | None:
    """Return what keeps a loop-mounted image from being made, or None."""
    if os.geteuid() != 0:
        return "not root"
    missing = [tool for tool in ("mkfs.ext4", "mount", "umount", "losetup") if shutil.which(tool) is None]
    if missing:
        return f"no {missing[0]}"
    try:
        with _image(GIB // 16, written=False):
            return None
    except (BenchError, OSError) as error:
        return str(error)


@contextlib.contextmanager
def default() -> Iterator[Place]:
    """Open the default place: a temporary directory where temporary files of this machine lie."""
    with _directory(Path(tempfile.gettempdir()), "default place") as place:
        yield place


@contextlib.contextmanager
def fresh(chosen: Path | None, image: bool, *, size: int, written: bool, roomy: bool = False) -> Iterator[Place]:
    """Open the chosen directory, else a fresh ext4 image, else tmpfs.

    An image that is not `written` makes each flush allocate blocks in the file system below, which doubles and scatters
    its cost. A `roomy` one has a journal of 1 GiB: each rename out of a huge directory dirties another block of it, and
    a journal of the usual 128 MiB makes everybody wait until those blocks are written.
    """
    if chosen is not None:
        with _directory(chosen, "chosen place") as place:
            yield place
    elif image:
        with _image(size, written=written, journal="size=1024" if roomy else "") as place:
            yield place
    else:
        with _directory(SHM if SHM.is_dir() else Path(tempfile.gettempdir()), "instead of a fresh image") as place:
            yield place


@contextlib.contextmanager
def _directory(parent: Path, word: str) -> Iterator[Place]:
    path = Path(tempfile.mkdtemp(prefix="queuectl-bench-", dir=parent))
    try:
        yield Place(path, f"{file_system(path)} ({word})")
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _image(size: int, *, written: bool, journal: str = "") -> Iterator[Place]:
    base = Path(tempfile.mkdtemp(prefix="queuectl-bench-"))
    image, mount = base / "image", base / "mounted"
    mounted = False
    try:
        mount.mkdir()
        _fill(image, size, written)
        output(["mkfs.ext4", "-q", "-F", "-i", "4096", *(["-J", journal] if journal else []), str(image)])
        settle()
        # noinit_itable: no kernel thread that zeroes inode tables during the measurements.
        output(["mount", "-o", "loop,noinit_itable", str(image), str(mount)])
        mounted = True
        yield Place(mount, f"ext4 (fresh, loop-mounted{f', journal {journal} MiB' if journal else ''})")
    finally:
        if mounted:
            _unmount(mount)
        shutil.rmtree(base, ignore_errors=True)


def _fill(image: Path, size: int, written: bool) -> None:
    with open(image, "wb") as file:
        if written:
            block = bytes(2**22)
            for _ in range(size // len(block)):
                file.write(block)
            os.fsync(file.fileno())
        else:
            file.truncate(size)


def _unmount(mount: Path) -> None:
    for _ in range(50):
        if subprocess.run(["umount", str(mount)], capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.1)
    subprocess.run(["umount", "-l", str(mount)], capture_output=True, check=False)
