"""Sleep until something arrives in a directory or a deadline passes; the only user of watchdog.

An event is a hint and the scan is the truth: arm the watch before the first scan, and poll beside it. Watchdog's
threads only write names into a pipe, as `<tag>/<name>` and a NUL, which the reader takes when it likes. The inotify
mask is our own: watchdog holds the first half of each rename out of a watched directory back for half a second.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Mapping
from typing import Any

_MOST = 4096  # PIPE_BUF: up to this, a write to a pipe is one piece


class WatchUnavailable(Exception):
    """The system has no notification to give; the text says why."""


class Watch:
    """Watches on directories by tag, whose events go into a pipe: the one given, or its own with `fd` to read from."""

    def __init__(self, out: int | None = None) -> None:
        self.fd = -1
        if out is None:
            self.fd, out = os.pipe()
            os.set_blocking(self.fd, False)
            os.set_blocking(out, False)
        self._out = out
        self._buffer = b""
        self._observer: Any = None
        self._armed: dict[str, Any] = {}

    def arm(self, directories: Mapping[str, str]) -> None:
        """Watch these directories, by tag; raises `WatchUnavailable`. What is watched already stays so."""
        for tag, path in directories.items():
            if tag in self._armed:
                continue
            try:
                if self._observer is None:
                    self._observer = _start_observer()
                # The real path, since watchdog is silent about a directory behind a symbolic link.
                self._armed[tag] = self._observer.schedule(_handler(tag, self._out), os.path.realpath(path))
            except (OSError, ImportError, RuntimeError, AttributeError) as error:
                raise WatchUnavailable(str(error)) from None

    def disarm(self, *tags: str) -> None:
        """Watch these directories no more."""
        for tag in tags:
            watch = self._armed.pop(tag, None)
            if watch is not None:
                with contextlib.suppress(KeyError, OSError):
                    self._observer.unschedule(watch)

    def wait(self, timeout: float | None) -> list[tuple[str, str]]:
        """Return the (tag, name) pairs that have arrived, after at most `timeout` seconds; empty then."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        poll.poll(None if timeout is None else max(0.0, timeout) * 1000)
        return self.read()

    def read(self) -> list[tuple[str, str]]:
        """Return the (tag, name) pairs that have arrived, without waiting."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.fd, 65536):
                self._buffer += data
        *events, self._buffer = self._buffer.split(b"\0")
        return [split(event) for event in events]

    def close(self) -> None:
        """End all watches."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(2)
        if self.fd >= 0:
            os.close(self.fd)
            os.close(self._out)


def why_unavailable(path: str) -> str | None:
    """Say why the system has no notification to give for a directory; None when it has."""
    watch = Watch()
    try:
        watch.arm({"": path})
    except WatchUnavailable as error:
        return str(error)
    finally:
        watch.close()
    return None


def split(event: bytes) -> tuple[str, str]:
    """Return the (tag, name) of an event as it comes out of the pipe."""
    tag, _, name = event.partition(b"/")
    return os.fsdecode(tag), os.fsdecode(name)


def serve(commands: int, out: int, directories: Mapping[str, str]) -> None:
    """Be a listener: obey `arm TAG…` and `disarm TAG…` lines from one pipe, write events to another, until it ends.

    After each arming an event with the tag `armed` follows; `unavailable/<reason>`, the last one, when there is nothing
    to be had.
    """
    watch = Watch(out)
    with open(commands, encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            verb, *tags = line.split()
            if verb == "disarm":
                watch.disarm(*tags)
                continue
            try:
                watch.arm({tag: directories[tag] for tag in tags})
                os.write(out, b"armed/" + " ".join(tags).encode() + b"\0")
            except WatchUnavailable as error:
                os.write(out, f"unavailable/{error}".encode()[: _MOST - 1] + b"\0")
                return


def _start_observer() -> Any:
    """Return what watches directories: watchdog's inotify reader, or where there is none its observer."""
    import logging

    # It would print what its threads meet while a watch is being closed.
    logging.getLogger("watchdog").setLevel(logging.CRITICAL + 1)
    try:
        from watchdog.observers.inotify_c import InotifyFD
    except ImportError:  # not Linux
        from watchdog import observers

        observer: Any = observers.Observer()
    else:
        observer = _Inotify(InotifyFD())
    observer.daemon = True
    observer.start()
    return observer


class _Inotify:
    """Watchdog's reader of inotify without its observer: one thread and no queues between the kernel and the pipe.

    Asks for arrivals, complete writes and deletions; never for departures by rename. A file that is created where it
    will be written is looked at twice: empty, which is no job yet, and when it is closed.
    """

    def __init__(self, reader: Any) -> None:
        from watchdog.observers.inotify_c import InotifyConstants as Mask

        self._reader = reader
        arrivals = Mask.IN_MOVED_TO | Mask.IN_CREATE | Mask.IN_CLOSE_WRITE  # a link is only created, never written
        self._mask = arrivals | Mask.IN_DELETE | Mask.IN_DELETE_SELF | Mask.IN_ONLYDIR
        self.start, self.stop, self.join = reader.start, reader.stop, reader.join
        reader.daemon = True

    def schedule(self, handler: Any, path: str) -> tuple[int, int]:
        """Watch a directory; returns what `unschedule` takes. Raises OSError."""
        watch = self._reader.add_callback(os.fsencode(path), self._mask, _Callback(handler), id(handler))
        return watch, id(handler)

    def unschedule(self, watch: tuple[int, int]) -> None:
        """Watch it no more."""
        self._reader.remove_callbacks([watch])


class _Callback:
    """Hears inotify's events of one directory (watchdog's `WatchCallback`), in the reader's thread."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def on_event(self, event: Any) -> None:
        """Pass a file's name on."""
        if event.name and not event.is_directory:
            self._handler.put(event.name)

    def on_watch_deleted(self, wd: int) -> None:
        """Leave it to the poll to find that the directory is gone."""

    def on_queue_overflow(self) -> None:
        """Hint that names have been lost: an empty one."""
        self._handler.put(b"")


def _handler(tag: str, out: int) -> Any:
    """Return a handler that writes each name into the pipe and does nothing else."""
    from watchdog.events import FileSystemEvent, FileSystemEventHandler

    prefix = os.fsencode(tag) + b"/"

    class Handler(FileSystemEventHandler):
        """Runs in watchdog's thread, where an exception would end the watch in silence."""

        def put(self, name: bytes) -> None:
            """Write one name; a full pipe has enough hints in it already."""
            with contextlib.suppress(OSError):
                os.write(out, prefix + name + b"\0")

        def dispatch(self, event: FileSystemEvent) -> None:
            """Write the name of one event."""
            if not event.is_directory:
                self.put(os.path.basename(os.fsencode(event.dest_path or event.src_path)))

    return Handler()
