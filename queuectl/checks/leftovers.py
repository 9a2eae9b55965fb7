"""What crashes and people leave beside the jobs: drafts, probes, reasons and logs without their file, requests.

All of it is harmless and none of it goes away by itself. Deleted is only what queuectl has written and nobody can
miss; a log is somebody's output, so it goes to `rejected/`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from functools import partial

from queuectl import catalog, clock, disk, job, names, recovery, registry
from queuectl.checks import Case, Finding
from queuectl.disk import Miss
from queuectl.errors import BadJobFile, quoted
from queuectl.job import State
from queuectl.spool import READ_ORDER, Spool, read_name
from queuectl.tree import DIRECTORIES

WHY = ".why"
_PROBE = re.compile(r"\.[0-9]{8}T[0-9]{9}Z\.[0-9]{1,9}\.[0-9a-f]{9,}").fullmatch
_LOG = ".log"


def look(spool: Spool, now: int) -> Iterator[Case]:
    """Check the directories that hold no jobs."""
    yield from _drafts(spool, now)
    yield from _probes(spool)
    yield from _reasons(spool)
    yield from _logs(spool)
    yield from _requests(spool)
    yield from _strangers(spool)


def _drafts(spool: Spool, now: int) -> Iterator[Case]:
    old = recovery.stale_drafts(spool, now)
    if old:
        count = f"{len(old)} draft{'s' if len(old) > 1 else ''}"
        meaning = f"{count} of writers that died, {old[0]} and so on" if len(old) > 1 else f"{old[0]}: its writer died"
        finding = Finding("drafts", str(spool.path / "tmp"), meaning, "the next worker start deletes them")
        yield Case(finding, lambda: recovery.sweep(spool, now) > 0)


def _probes(spool: Spool) -> Iterator[Case]:
    """Find the empty files with which a worker start tries renames, where it died over it."""
    for place in DIRECTORIES:
        for name in sorted(spool.directories[place].listing()):
            if _PROBE(name) and not registry.is_alive(recovery.writer(name[1:])):
                status = spool.directories[place].lstat(name)
                if status and stat.S_ISREG(status.st_mode) and status.st_size == 0:
                    meaning = "left by the check of a worker start that died"
                    yield _unlinkable(spool, "probe", place, name, meaning)


def _unlinkable(spool: Spool, kind: str, place: str, name: str, meaning: str) -> Case:
    path = str(spool.path / place / name)
    return Case(Finding(kind, path, meaning, f"rm {quoted(path)}"), lambda: spool.unlink(place, name))


def _reasons(spool: Spool) -> Iterator[Case]:
    """Find rejected files without a reason, and reasons without a file."""
    held = frozenset(spool.directories["rejected"].listing())
    for name in sorted(name for name in held if not name.startswith(".")):
        is_reason = name.endswith(WHY) and name + WHY not in held
        if is_reason and name.removesuffix(WHY) not in held:
            yield _unlinkable(spool, "reason", "rejected", name, "the reason for a file that is not here any more")
        elif not is_reason and name + WHY not in held:
            path = str(spool.path / "rejected" / name)
            meaning = "rejected without a reason: whoever moved it here died, or was no queuectl"
            remedy = "look at it; mv it to pending/ under a name that ends in .json to have it looked at again"
            yield Case(Finding("reason", path, meaning, remedy), partial(_give_reason, spool, name))


def _give_reason(spool: Spool, name: str) -> bool:
    text = b"the reason is lost; mv it to pending/ under a name that ends in .json to have it looked at again\n"
    spool.directories["rejected"].write_new(name + WHY, text, durable=False)
    return True


def _logs(spool: Spool) -> Iterator[Case]:
    """Find logs whose job is nowhere: first the logs are listed and then the jobs, since each log is younger."""
    logs = sorted(name for name in spool.directories["logs"].listing() if _is_log(name))
    known = _ids(spool) if logs else frozenset()
    for name in logs:
        if name.removesuffix(_LOG) not in known:
            path = str(spool.path / "logs" / name)
            meaning = "the log of a job that is not here; a later one with this id would append to it"
            finding = Finding("log", path, meaning, f"rm {quoted(path)}, or bring its job back")
            yield Case(finding, partial(_put_away, spool, "logs", name, "the log of a job that is not here"))


def _is_log(name: str) -> bool:
    return name.endswith(_LOG) and names.is_id(name.removesuffix(_LOG))


def _ids(spool: Spool) -> frozenset[str]:
    """Return the ids of all jobs, of drops that ask for one, and of jobs among the rejected."""
    found: set[str] = set()
    # A job on its way back to an earlier directory is met in the second look at those two.
    for state in (*READ_ORDER, State.FAILED, State.PENDING):
        for name in spool.directories[state].listing():
            if read_name(state, name):
                found.add(names.id_part(name))
            elif state is State.PENDING and names.is_drop(name):
                found.add(_asked_id(spool, name))
    for name in spool.directories["rejected"].listing():
        original = name.split(".", 2)[-1]
        if any(read(original) for read in (names.waiting, names.running, names.ended)):
            found.add(names.id_part(original))
    return frozenset(found)


def _asked_id(spool: Spool, name: str) -> str:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, dir_fd=spool.directories["pending"].fd)
        try:
            return job.parse(disk.read(fd, catalog.MAX_BYTES)).id
        finally:
            os.close(fd)
    except (OSError, BadJobFile):
        return ""


def _requests(spool: Spool) -> Iterator[Case]:
    asked = sorted(id for id in spool.cancel_requests() if names.is_id(id))
    running = {names.id_part(name) for name in spool.directories["processing"].listing()} if asked else set()
    for id in asked:
        status = None if id in running else spool.directories["cancel"].lstat(id)
        if status and stat.S_ISREG(status.st_mode):
            yield _unlinkable(spool, "request", "cancel", id, "asks to cancel a job that is not running")


def _strangers(spool: Spool) -> Iterator[Case]:
    """Find what nobody has put into the directories that hold no jobs, and what is no file."""
    for place, belongs in (("tmp", None), ("logs", _is_log), ("workers", names.is_drop), ("cancel", names.is_id)):
        for name in sorted(spool.directories[place].listing()):
            status = None if name.startswith(".") else spool.directories[place].lstat(name)
            if status and not (stat.S_ISREG(status.st_mode) and (belongs is None or belongs(name))):
                path = str(spool.path / place / name)
                finding = Finding("stray", path, "nothing that queuectl has put here", "move it away")
                yield Case(finding, partial(_put_away, spool, place, name, f"found by doctor in {place}/"))


def _put_away(spool: Spool, place: str, name: str, why: str) -> bool:
    """Move it to `rejected/`."""
    fd = spool.directories[place].lock(name)
    try:
        if fd is Miss.BUSY:
            return False
        return spool.reject(place, name, why, now=clock.now()) is not None
    finally:
        if not isinstance(fd, Miss):
            os.close(fd)
