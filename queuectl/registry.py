"""Which workers live: a file in `workers/` is locked by the kernel for as long as its process lives.

For `status` and `worker stop` only; jobs never depend on it. No heartbeat and no time-out: a lock ends with its owner.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from queuectl import clock, disk, names
from queuectl.disk import Miss
from queuectl.errors import TimedOut
from queuectl.tree import Tree

WORKER = "worker"
SUPERVISOR = "supervisor"
STOP_POLL_S = 0.05
_MOST = 1 << 20  # bytes of a worker's file


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A live process: `worker` is `<host>.<pid>`, `supervisor` the pid above it, `started_at` an ISO instant.

    `executor` says what it runs commands with; `elsewhere` names by id the node of each of its jobs that is on one.
    """

    worker: str
    host: str
    pid: int
    supervisor: int
    role: str
    started_at: str
    executor: str = "local"
    elsewhere: dict[str, str] = field(default_factory=dict)


def host() -> str:
    """Return this machine's name as it may stand in a file name."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", os.uname().nodename)[:64] or "localhost"


def worker_name() -> str:
    """Return the name of this process as a worker, `<host>.<pid>`."""
    return f"{host()}.{os.getpid()}"


def is_alive(pid: int) -> bool:
    """Say whether a process of this machine has this pid."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0


def register(tree: Tree, role: str, supervisor: int, now: int, executor: str = "local") -> int:
    """Enter this process; returns the descriptor whose lock says that it lives. Close it in forked children."""
    return _enter(tree, WorkerInfo(worker_name(), host(), os.getpid(), supervisor, role, clock.iso(now), executor))


def renew(tree: Tree, registered: int, elsewhere: dict[str, str]) -> int:
    """Enter this process anew, with where its jobs run now; returns the descriptor that stands for the old one."""
    info = msgspec.json.decode(os.pread(registered, _MOST, 0), type=WorkerInfo)
    fresh = _enter(tree, replace(info, elsewhere=elsewhere))
    os.close(registered)
    return fresh


def _enter(tree: Tree, info: WorkerInfo) -> int:
    stamp = clock.iso_to_stamp(info.started_at)
    draft = tree.draft_name(stamp)
    fd = tree.directories["tmp"].create(draft)
    try:
        disk.write(fd, msgspec.json.encode(info) + b"\n")
        disk.flock(fd)  # before it has its name, so that nobody takes it for a dead worker's
        tree.publish(draft, "workers", f"{info.worker}.{stamp}.json")
    except BaseException:
        os.close(fd)
        tree.discard([draft])
        raise
    return fd


def live(tree: Tree) -> list[WorkerInfo]:
    """Return the processes that live, workers and supervisors, in the order of their start."""
    directory = tree.directories["workers"]
    found = []
    for name in directory.names():
        if not name.endswith(".json"):
            continue
        fd = directory.lock(name)
        if fd is Miss.BUSY:
            info = _read(directory, name)
            if info:
                found.append(info)
        elif not isinstance(fd, Miss):
            tree.unlink("workers", name)
            os.close(fd)
    return sorted(found, key=lambda info: (info.started_at, info.pid))


def running(tree: Tree, places: Iterable[str], workers: Iterable[WorkerInfo]) -> dict[str, str]:
    """Return by id which worker runs each job of these names of `processing/`, as far as the kernel tells."""
    by_pid = {info.pid: info.worker for info in workers if info.role == WORKER and info.host == host()}
    held = disk.holders() if by_pid else {}
    found = {}
    for name in places if held else ():
        status = tree.directories["processing"].lstat(name)
        worker = by_pid.get(held.get(status.st_ino, 0)) if status else None
        if worker:
            found[names.id_part(name)] = worker
    return found


def hosts(tree: Tree, places: Sequence[str], workers: Sequence[WorkerInfo]) -> dict[str, str]:
    """Return by id on which machine each job of these names of `processing/` runs, as far as is known here."""
    by_name = {info.worker: info.host for info in workers if info.executor == "local"}
    here = running(tree, places, workers)
    found = {id: by_name[worker] for id, worker in here.items() if worker in by_name}
    there = {names.id_part(name) for name in places}
    for info in workers:
        found.update({id: node for id, node in info.elsewhere.items() if id in there})
    return found


def _read(directory: disk.Directory, name: str) -> WorkerInfo | None:
    try:
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory.fd), "rb") as file:
            return msgspec.json.decode(file.read(_MOST), type=WorkerInfo)
    except (FileNotFoundError, msgspec.DecodeError):  # trouble with reading must not look like a worker's death
        return None


def stop(tree: Tree, *, now: bool, timeout: float | None, progress: Callable[[int], None] | None) -> list[WorkerInfo]:
    """Stop this machine's supervisors and workers and return when they are gone; returns those that were there.

    With `now` the running jobs are ended and put back. Raises `TimedOut` after `timeout` seconds.
    """
    here = [info for info in live(tree) if info.host == host()]
    supervisors = {info.pid for info in here if info.role == SUPERVISOR}
    for info in here:
        # A worker hears it from its supervisor; one that has lost its own is told itself.
        if info.role == SUPERVISOR or info.supervisor not in supervisors:
            _signal(info.pid, signal.SIGQUIT if now else signal.SIGTERM)
    gone = {(info.worker, info.started_at) for info in here}
    deadline = None if timeout is None else clock.monotonic() + timeout
    while left := [info for info in live(tree) if (info.worker, info.started_at) in gone]:
        if progress:
            progress(sum(info.role == WORKER for info in left))
        if deadline is not None and clock.monotonic() > deadline:
            raise TimedOut(f"{len(left)} processes had not stopped after {clock.brief(timeout or 0)}")
        clock.sleep(STOP_POLL_S)
    return here


def _signal(pid: int, number: int) -> None:
    # RACE: the file's lock was held a moment ago, so the pid is not yet another process's.
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
