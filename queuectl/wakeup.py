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
        self._handlers: dict[str, Any] = {}

    def arm(self, directories: Mapping[str, str]) -> None:
        """Watch these directories, by tag; raises `WatchUnavailable`. What is watched already stays so."""
        for tag, path in directories.items():
            if tag in self._armed:
                continue
            try:
                if self._observer is None:
                    self._observer = _start_observer(self._handlers)
                # The real path, since watchdog is silent about a directory behind a symbolic link.
                real = os.path.realpath(path)
                self._handlers[real] = _handler(tag, self._out)
                self._armed[tag] = self._observer.schedule(self._handlers[real], real)
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


def _start_observer(handlers: Mapping[str, Any]) -> Any:
    """Start watchdog's observer; on Linux with an emitter of our own.

    It asks inotify for nothing that we do not need, and hands events to the handler of its path (in `handlers`) itself:
    one thread less to pass on the way.
    """
    import logging

    from watchdog import observers

    # It would print what its threads meet while a watch is being closed.
    logging.getLogger("watchdog").setLevel(logging.CRITICAL + 1)

    try:
        from watchdog.observers.api import BaseObserver
        from watchdog.observers.inotify import InotifyEmitter
        from watchdog.observers.inotify_c import InotifyConstants as Mask
    except ImportError:  # not Linux
        observer: Any = observers.Observer()
    else:

        class Emitter(InotifyEmitter):
            """Asks for arrivals, for complete writes and for deletions; never for departures by rename."""

            def get_event_mask_from_filter(self) -> Any:
                """Return the mask for inotify_add_watch(2)."""
                return Mask.IN_MOVED_TO | Mask.IN_CLOSE_WRITE | Mask.IN_DELETE | Mask.IN_DELETE_SELF

            def queue_event(self, event: Any) -> None:
                """Pass an event on."""
                handlers[os.fsdecode(self.watch.path)].dispatch(event)

        observer = BaseObserver(Emitter)
    observer.daemon = True
    observer.start()
    return observer


def _handler(tag: str, out: int) -> Any:
    """Return a handler that writes each name into the pipe and does nothing else."""
    from watchdog.events import FileSystemEvent, FileSystemEventHandler

    prefix = os.fsencode(tag) + b"/"

    class Handler(FileSystemEventHandler):
        """Runs in watchdog's thread, where an exception would end the watch in silence."""

        def dispatch(self, event: FileSystemEvent) -> None:
            """Write one event."""
            if not event.is_directory:
                path = os.fsencode(event.dest_path or event.src_path)
                # A full pipe has enough hints in it already.
                with contextlib.suppress(OSError):
                    os.write(out, prefix + os.path.basename(path) + b"\0")

    return Handler()
