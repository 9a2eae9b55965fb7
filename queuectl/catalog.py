"""What is in a spool: counting, finding, listing and reading jobs and their logs. Moves nothing, locks nothing.

Directories are read in the order in which jobs move, each id once, so that a moving job may be met twice but is never
missed. What cannot be read is passed over here; workers and `doctor` deal with it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from queuectl import clock, names
from queuectl.errors import AmbiguousId, BadJobFile, NotFound
from queuectl.job import Job, State
from queuectl.spool import READ_ORDER, READ_TWICE, read_job, read_name
from queuectl.tree import Tree

MAX_BYTES = 2**30
_CHUNK = 1 << 20
_PIECE = 65_536  # names


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the names of a waiting directory tell: how many, the earliest that is due, the first that is yet to be."""

    count: int
    oldest_ready: int | None
    next_due: int | None


def count(tree: Tree, place: str) -> int:
    """Return how many jobs a directory holds, by their names."""
    return sum(1 for name in tree.directories[place].listing() if names.is_drop(name))


def rejected(tree: Tree) -> int:
    """Return how many files have been rejected."""
    return sum(1 for name in tree.directories["rejected"].listing() if not name.endswith(".why"))


def waiting(tree: Tree, state: State, now: int) -> Waiting:
    """Count a waiting directory and find its earliest ready and its earliest later name."""
    present = clock.stamp(now) + "/"
    found = tree.directories[state].listing()
    shaped = found if _are_plain(found) else [name for name in found if names.is_drop(name) and name[18:20] == "Z."]
    total = len(shaped) if shaped is found else sum(map(names.is_drop, found))
    oldest = min(shaped, default="")
    following = min([name for name in shaped if name >= present], default="")
    return Waiting(total, _instant(state, oldest if oldest < present else ""), _instant(state, following))


def _are_plain(found: list[str]) -> bool:
    """Say, fast, whether all of very many names are those of waiting jobs with ids of our own making."""
    return all(names.are_alike(found[at : at + _PIECE]) for at in range(0, len(found), _PIECE))


def _instant(state: State, name: str) -> int | None:
    return clock.unstamp(name) if name and read_name(state, name) else None


def entries(tree: Tree, state: State) -> list[str]:
    """Return the canonical names of a state's directory, in their order."""
    return sorted(name for name in tree.directories[state].listing() if read_name(state, name))


def load(tree: Tree, state: State, name: str) -> Job | None:
    """Read one job; None when it has moved meanwhile or cannot be read."""
    try:
        fd = os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=tree.directories[state].fd
        )
    except OSError:
        return None
    try:
        found = read_job(fd, os.fstat(fd), state, name, MAX_BYTES)
    except (BadJobFile, OSError):
        return None
    finally:
        os.close(fd)
    found.state = state
    running = names.running(name) if state is State.PROCESSING else None
    if running:
        found.updated_at = clock.stamp_to_iso(running.started)
    return found


def jobs(tree: Tree, states: Collection[State], limit: int | None) -> Iterator[Job]:
    """Yield the jobs of some states, each once, in the order of the states and then of the names."""
    seen: set[str] = set()
    for state in READ_ORDER:
        if state not in states:
            continue
        for name in entries(tree, state):
            if limit is not None and len(seen) >= limit:
                return
            id = names.id_part(name)
            if id not in seen:
                found = load(tree, state, name)
                if found:
                    seen.add(id)
                    yield found


def find(tree: Tree, wanted: Collection[str], *, prefixes: bool = True) -> dict[str, tuple[State, str]]:
    """Find jobs by their ids or, with `prefixes`, unique prefixes of them: by prefix the state and the name.

    Raises `NotFound` or `AmbiguousId`. A job that moves meanwhile is found where it is seen last.
    """
    if not prefixes:
        found = places(tree, wanted)
        return {id: found[id] if id in found else _only(id, {}) for id in wanted}
    wanted = tuple(wanted)
    hits: dict[str, dict[str, tuple[State, str]]] = {prefix: {} for prefix in wanted}
    exact = frozenset(wanted)
    lengths = sorted({len(prefix) for prefix in wanted})
    for state in READ_TWICE:
        for name in tree.directories[state].listing():
            id = names.id_part(name)
            for length in lengths:
                prefix = id[:length]
                if prefix in exact and read_name(state, name):
                    hits[prefix][id] = (state, name)
    return {prefix: _only(prefix, found) for prefix, found in hits.items()}


def places(tree: Tree, ids: Collection[str]) -> dict[str, tuple[State, str]]:
    """Find jobs by their whole ids, those that there are: by id the state and the name."""
    wanted = frozenset(ids)
    found = {}
    for state in (*READ_ORDER, State.FAILED, State.PENDING):
        for name in tree.directories[state].listing():
            id = names.id_part(name)
            if id in wanted and read_name(state, name):
                found[id] = (state, name)
    return found


def log_size(tree: Tree, id: str) -> int | None:
    """Return how many bytes a job's log has, None when there is none."""
    found = tree.directories["logs"].lstat(f"{id}.log")
    return None if found is None else found.st_size


def _only(prefix: str, found: dict[str, tuple[State, str]]) -> tuple[State, str]:
    if prefix in found:
        return found[prefix]
    if not found:
        raise NotFound(f"{prefix}: no such job", hint="queuectl list shows all jobs")
    if len(found) > 1:
        raise AmbiguousId(prefix, sorted(found))
    return next(iter(found.values()))


def read_log(tree: Tree, id: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Yield a job's log from one offset to another, in pieces; nothing when there is none."""
    try:
        fd = os.open(f"{id}.log", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=tree.directories["logs"].fd)
    except FileNotFoundError:
        return
    try:
        offset = start
        while end is None or offset < end:
            data = os.pread(fd, _CHUNK if end is None else min(_CHUNK, end - offset), offset)
            if not data:
                return
            offset += len(data)
            yield data
    finally:
        os.close(fd)
