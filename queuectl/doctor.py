"""A check of the whole spool, beside working workers: each finding names a path, what it means and what to do.

Repairs only what is safe: what a worker would do by itself, and what cannot be understood goes to `rejected/`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from queuectl import catalog, clock, config, names, recovery, startcheck
from queuectl.disk import Miss
from queuectl.errors import BadJobFile, QueuectlError, quoted
from queuectl.job import State
from queuectl.spool import READ_ORDER, Claim, Spool, read_name
from queuectl.tree import CONFIG, DIRECTORIES


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found: the path, what it means, what to do, and whether it has been repaired."""

    path: str
    meaning: str
    remedy: str
    repaired: bool = False


def examine(spool: Spool, *, repair: bool) -> list[Finding]:
    """Check everything; with `repair`, mend what is safe."""
    found = list(_safety(spool))
    if any(not os.path.isdir(spool.path / name) for name in DIRECTORIES):
        return [*found, *_missing(spool, repair)]
    found += _surroundings(spool)
    found += _settings(spool)
    for state in READ_ORDER:
        found += _state(spool, state, repair)
    found += _twice(spool)
    found += _leftovers(spool, repair)
    return found


def _missing(spool: Spool, repair: bool) -> Iterator[Finding]:
    for name in DIRECTORIES:
        path = spool.path / name
        if not path.is_dir():
            if repair:
                path.mkdir(mode=0o700)
            yield Finding(
                str(path), "a directory of the spool is missing", f"queuectl init {quoted(spool.path)}", repair
            )


def _safety(spool: Spool) -> Iterator[Finding]:
    for path in startcheck.guarded(spool.path):
        problem = startcheck.open_to_others(path)
        if problem:
            yield Finding(str(path), str(problem).removeprefix(f"{path}: "), problem.hint or "")


def _surroundings(spool: Spool) -> Iterator[Finding]:
    try:
        for warning in startcheck.check(spool):
            yield Finding(str(spool.path), warning.removeprefix(f"{spool.path} "), "move the spool to a local disk")
    except QueuectlError as error:
        if not list(_safety(spool)):
            yield Finding(str(spool.path), str(error), error.hint or "")


def _settings(spool: Spool) -> Iterator[Finding]:
    try:
        config.parse(spool.config_text())
    except QueuectlError as error:
        yield Finding(str(spool.path / CONFIG), str(error).removeprefix("config.toml: "), "mend the line or delete it")


def _state(spool: Spool, state: State, repair: bool) -> Iterator[Finding]:
    """Check that each file of a state's directory is a job with a name of this state."""
    for name in spool.directory(state).listing():
        path = str(spool.path / state / name)
        if name.startswith("."):
            continue
        if read_name(state, name) is None:
            if state is State.PENDING and names.is_drop(name) and not os.path.isdir(path):
                continue  # a drop that the next worker will admit
            yield Finding(path, "not a name that queuectl gives, so nobody looks at it", "move it away")
        elif state is State.PROCESSING:
            yield from _processing(spool, name, path)
        elif catalog.load(spool, state, name) is None and spool.directory(state).lstat(name):
            yield _unreadable(spool, state, name, path, repair)


def _processing(spool: Spool, name: str, path: str) -> Iterator[Finding]:
    try:
        claim = spool.take_orphan(name, limit=catalog.MAX_BYTES)
    except BadJobFile as error:
        yield Finding(path, f"not readable as a job: {error}", "the next worker moves it to rejected/")
        return
    if isinstance(claim, Claim):
        claim.close()
        yield Finding(path, "its worker died; the attempt is lost", "the next worker settles it; start one")


def _unreadable(spool: Spool, state: State, name: str, path: str, repair: bool) -> Finding:
    repaired = False
    if repair:
        fd = spool.directory(state).lock(name)
        if not isinstance(fd, Miss):
            repaired = spool.reject(state, name, "not readable as a job", now=clock.now()) is not None
            os.close(fd)
    return Finding(path, "not readable as a job", "queuectl doctor --repair moves it to rejected/", repaired)


def _twice(spool: Spool) -> Iterator[Finding]:
    """Find ids that two files claim; a job that moves meanwhile is looked at again."""
    first: dict[str, tuple[State, str]] = {}
    for state in READ_ORDER:
        for name in spool.directory(state).listing():
            if read_name(state, name) is None:
                continue
            id = names.id_part(name)
            if id in first and first[id] != (state, name) and _both_there(spool, first[id], (state, name)):
                other = spool.path / first[id][0] / first[id][1]
                yield Finding(str(spool.path / state / name), f"the same id as {other}", "move one of them away")
            first[id] = (state, name)


def _both_there(spool: Spool, one: tuple[State, str], other: tuple[State, str]) -> bool:
    return all(spool.directory(state).lstat(name) is not None for state, name in (one, other))


def _leftovers(spool: Spool, repair: bool) -> Iterator[Finding]:
    now = clock.now()
    old = recovery.stale_drafts(spool, now)
    if old:
        if repair:
            recovery.sweep(spool, now)
        path = str(spool.path / "tmp")
        yield Finding(path, f"{len(old)} drafts of writers that died", "the next worker start deletes them", repair)
    for id in spool.cancel_requests():
        if id not in {names.id_part(name) for name in spool.directory("processing").listing()}:
            repaired = repair and spool.unlink("cancel", id)
            path = str(spool.path / "cancel" / id)
            yield Finding(path, "asks to cancel a job that is not running", f"rm {quoted(path)}", repaired)
