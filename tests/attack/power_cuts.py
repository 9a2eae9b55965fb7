"""Power cuts: a copy of the disk before each system call that changes it, and what had been promised by then."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from attack.loops import Disk, written
from attack.power_world import Told, World
from queuectl import disk


@dataclass
class Known:
    """What had been told before one power cut, and which call it came before."""

    call: str
    told: dict[str, Told]
    created: bool
    config: tuple[str, ...]
    paused: tuple[bool, ...]
    kept: tuple[bytes, ...]  # bytes that are no job, and must be somewhere


@dataclass
class Point:
    """What the disk holds at one or more power cuts in a row, none of which found anything new on it."""

    disk: Disk
    cuts: list[Known]


@dataclass
class Recorder:
    """Takes a point before each call that changes the disk; may let single ones of the fsyncs do nothing."""

    world: World
    points: list[Point]
    commit_at: Callable[[int], bool] = lambda _number: False
    without: Collection[int] = ()
    calls: list[str] = field(default_factory=list)
    syncs: list[str] = field(default_factory=list)
    _last: tuple[int, ...] = ()
    _paused: bool = False

    def point(self, call: str) -> None:
        self.calls.append(call)
        self._paused = True
        if self.commit_at(len(self.calls)):
            self.world.mounted.commit()
        self._paused = False
        device = self.world.mounted.device
        if written(device) != self._last:
            self.points.append(Point(self.world.mounted.cut(device), []))
            self._last = written(device)
        world = self.world
        known = Known(call, world.know(), world.created, world.config, world.paused, world.kept)
        self.points[-1].cuts.append(known)

    def __call__(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return a call that takes a point first."""

        def cut_first(*args: Any, **kwargs: Any) -> Any:
            if self._paused or not self._concerned(name, args, kwargs):
                return original(*args, **kwargs)
            call = f"{name} {self._where(name, args, kwargs)}"
            self.point(call)
            if "sync" in name:
                self.syncs.append(call)
                if len(self.syncs) - 1 in self.without:
                    return None
            return original(*args, **kwargs)

        return cut_first

    def _concerned(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        if name == "open" and not args[1] & os.O_CREAT:
            return False
        device = self.world.mounted.number
        for word in (args[0], kwargs.get("dir_fd"), kwargs.get("dst_dir_fd")):
            if isinstance(word, disk.Directory):
                word = word.fd
            if isinstance(word, int) and os.fstat(word).st_dev == device:
                return True
        return isinstance(args[0], str | Path) and str(args[0]).startswith(str(self.world.mounted.path))

    def _where(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return what a call is about, as paths in the spool."""
        if "sync" in name or name == "write":
            fd = args[0].fd if isinstance(args[0], disk.Directory) else args[0]
            return self._short(os.readlink(f"/proc/self/fd/{fd}"))
        words = []
        for path, key in zip(args[:2], ("src_dir_fd", "dst_dir_fd"), strict=False):
            directory = kwargs.get(key, kwargs.get("dir_fd"))
            start = f"{os.readlink(f'/proc/self/fd/{directory}')}/" if directory is not None else ""
            words += [self._short(f"{start}{path}")] if isinstance(path, str | Path) else []
        return " -> ".join(words)

    def _short(self, path: str) -> str:
        return os.path.relpath(path, self.world.path)


_CALLS = ("open", "write", "fsync", "fdatasync", "rename", "replace", "unlink", "remove", "link", "mkdir", "chmod")


@contextlib.contextmanager
def recording(recorder: Recorder) -> Iterator[Recorder]:
    """Take points while the block runs, and one at its end."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _CALLS:
            patch.setattr(os, name, recorder(name, getattr(os, name)))
        patch.setattr(disk, "_EARLY_S", 3600.0)  # no syncfs of its own accord, which would hide one that is missing
        patch.setattr(disk, "sync_file_system", recorder("syncfs", disk.sync_file_system))
        yield recorder
    recorder.point("the end")
