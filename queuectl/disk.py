"""Directories by descriptor, new files, and the one lock primitive (docs/spool.md, "The lock").

A `Directory` stays the directory that was opened, wherever it is moved to. Nothing here renames, unlinks or links:
transitions are the spool's. Locks are flock(2) on the file's own inode; a lock is released by `os.close` alone, since
unlocking would release it for the command that inherited it too.
"""

from __future__ import annotations

import errno
import os
import stat
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # an enqueue imports this module, and should import little else
    from collections.abc import Callable, Iterator
    from typing import Any, ClassVar

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_PIECE = 65_536
_SPECIAL = (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EACCES, errno.EPERM, errno.ENODEV)


class Miss:
    """Why a file could not be locked; none of these is an error."""

    GONE: ClassVar[Miss]
    BUSY: ClassVar[Miss]
    SPECIAL: ClassVar[Miss]

    def __init__(self, word: str) -> None:
        self._word = word

    def __repr__(self) -> str:
        return f"Miss.{self._word}"


Miss.GONE, Miss.BUSY, Miss.SPECIAL = Miss("GONE"), Miss("BUSY"), Miss("SPECIAL")


class Directory:
    """A directory held open by its descriptor."""

    __slots__ = ("fd", "path")

    def __init__(self, path: str) -> None:
        self.path, self.fd = path, -1
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Give the descriptor back."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    def __del__(self) -> None:
        self.close()  # so that a program may open a queue for each thing that it asks

    def names(self) -> Iterator[str]:
        """Yield the names in it, in no order, in memory that does not grow with their number."""
        # A descriptor of its own, since duplicates of one share their position in the directory.
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    yield entry.name
        finally:
            os.close(fd)

    def chunks(self, size: int) -> Iterator[list[str]]:
        """Yield the names in it in lists of at most `size`, in no order: faster than one by one."""
        from itertools import islice
        from operator import attrgetter

        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            with os.scandir(fd) as entries:
                names = map(attrgetter("name"), entries)
                while chunk := list(islice(names, size)):
                    yield chunk
        finally:
            os.close(fd)

    def listing(self) -> list[str]:
        """Return all the names at once, in no order: faster than `names`, at about 100 bytes each."""
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            return os.listdir(fd)
        finally:
            os.close(fd)

    def changed_ns(self) -> int:
        """Return when a name last came or went, in nanoseconds since the epoch, as coarse as the kernel's ticks."""
        return os.fstat(self.fd).st_mtime_ns

    def lstat(self, name: str) -> os.stat_result | None:
        """Return what the name means, a symbolic link itself; None when there is none."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def has(self, name: str) -> bool:
        """Say whether there is something of this name; cheaper than asking what it is."""
        return os.access(name, os.F_OK, dir_fd=self.fd, follow_symlinks=False)

    def create(self, name: str, mode: int = 0o600) -> int:
        """Create a new file and return its descriptor; FileExistsError when the name is taken."""
        return os.open(name, _CREATE, mode, dir_fd=self.fd)

    def write_new(self, name: str, data: bytes, *, durable: bool) -> None:
        """Create a new file of these bytes; a partly written one stays, for the caller to unlink."""
        fd = self.create(name)
        try:
            write(fd, data)
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)

    def sync(self) -> None:
        """Make the names in it durable."""
        os.fsync(self.fd)

    def lock(self, name: str) -> int | Miss:
        """Open a regular file, lock its inode without waiting, and check that the name still means it.

        Returns the descriptor that holds the lock, or why there is none.
        """
        try:
            fd = os.open(name, _OPEN, dir_fd=self.fd)
        except FileNotFoundError:
            return Miss.GONE
        except BlockingIOError:
            return Miss.BUSY  # somebody has a lease on it, as Samba takes them: F_SETLEASE in fcntl(2)
        except OSError as error:
            if error.errno in _SPECIAL:
                return Miss.SPECIAL
            raise
        held = False
        try:
            if not flock(fd):
                return Miss.BUSY
            opened = os.fstat(fd)
            # RACE: the file may have been renamed or replaced between open and lock; then the lock is on another job.
            if not means(self.lstat(name), opened):
                return Miss.GONE
            if not stat.S_ISREG(opened.st_mode):
                return Miss.SPECIAL
            held = True
            return fd
        finally:
            if not held:
                os.close(fd)


def means(found: os.stat_result | None, opened: os.stat_result) -> bool:
    """Say whether a name's status is that of the inode that was opened."""
    return found is not None and found.st_ino == opened.st_ino and found.st_dev == opened.st_dev


def _load_lock() -> Callable[[int, int], object]:
    """Import portalocker's lock call, which is flock(2) on every POSIX system.

    Its package would import e-mail, sockets, logging and redis beside it, four times the start of the interpreter: so
    only the module with the call is imported, under an empty package that is taken away again.
    """
    from importlib.machinery import PathFinder
    from types import ModuleType

    name = "portalocker"
    found = None if name in sys.modules else PathFinder.find_spec(name)
    if found is None or found.submodule_search_locations is None:
        from portalocker import portalocker  # loaded already, or in a place of its own, such as a zip file
    else:
        package = ModuleType(name)
        package.__path__ = list(found.submodule_search_locations)
        sys.modules[name] = package
        try:
            from portalocker import portalocker
        finally:
            for loaded in [key for key in sys.modules if key.partition(".")[0] == name]:
                del sys.modules[loaded]  # whoever else wants portalocker gets the whole of it
    lock: Any = portalocker.LOCKER
    return lock  # type: ignore[no-any-return]  # its type covers what it may be on Windows


_lock: Callable[[int, int], object] | None = None
_LOCK_EX, _LOCK_NB = 2, 4  # flock(2); the same on Linux, macOS and the BSDs


def flock(fd: int) -> bool:
    """Lock the inode behind a descriptor for ourselves, without waiting; False when another has it."""
    global _lock
    _lock = _lock or _load_lock()
    try:
        _lock(fd, _LOCK_EX | _LOCK_NB)
    except BlockingIOError:
        return False
    return True


def flock_wait(fd: int) -> None:
    """Lock the inode behind a descriptor for ourselves, waiting for whoever has it."""
    global _lock
    _lock = _lock or _load_lock()
    _lock(fd, _LOCK_EX)


def holders() -> dict[int, int]:
    """Return by inode the pids that hold flocks on this machine, as far as the kernel tells: proc_locks(5).

    For people to look at, never to decide by: the inode may be another file system's.
    """
    found = {}
    try:
        with open("/proc/locks", encoding="ascii") as lines:
            for line in lines:
                words = line.split()
                if len(words) > 5 and words[1] == "FLOCK":
                    found[int(words[5].rpartition(":")[2])] = int(words[4])
    except OSError:  # not Linux
        pass
    return found


def read(fd: int, limit: int) -> bytes:
    """Read a file from its beginning, at most `limit` + 1 bytes, so that more than `limit` shows."""
    data = b""
    while len(data) <= limit:
        piece = max(_PIECE, len(data))  # never room for `limit` at once, which may be more than the machine has
        more = os.pread(fd, min(piece, limit + 1 - len(data)), len(data))
        data = data + more if data else more
        if len(more) < piece:  # a regular file gives less only at its end
            break
    return data


def write(fd: int, data: bytes) -> None:
    """Write all of `data`."""
    done = os.write(fd, data) if data else 0
    while done < len(data):
        done += os.write(fd, data[done:])


def _syncfs() -> Any:
    import ctypes

    return getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)


def can_sync_file_system() -> bool:
    """Say whether many new files can be made durable by one call."""
    return _syncfs() is not None


class EarlySync:
    """Until its end, lets the disk write what is there, so that `sync_file_system` has little left to wait for.

    A thread calls syncfs(2) again and again, on a descriptor of its own: an error is told once to each descriptor, and
    the one that counts must be told it.
    """

    def __init__(self, directory: Directory) -> None:
        from threading import Event, Thread

        self._own = Directory(directory.path)
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(_EARLY_S):
            _syncfs()(self._own.fd)

    def end(self) -> None:
        """Sync no more."""
        self._stop.set()
        self._thread.join()
        self._own.close()


_EARLY_S = 0.3


def sync_file_system(directory: Directory) -> None:
    """Make everything written to the directory's file system durable: syncfs(2)."""
    if _syncfs()(directory.fd) != 0:
        import ctypes

        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), directory.path)
