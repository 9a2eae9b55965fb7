"""What the model's states are made of: files, names, locks, processes, and a disk that may forget.

A state is a plain tuple, so that states can be compared and hashed. The functions are what a kernel offers: to find, to
rename, to sync, to lose the power. They know no protocol; who calls them, and when, is in protocol.py and arrivals.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

NONE = -1
PENDING, FAILED, PROCESSING, COMPLETED, DEAD = PLACES = ("pending", "failed", "processing", "completed", "dead")
SEARCH = (*PLACES, FAILED, PENDING)  # the order in which an id that somebody chose is looked for

# The promises that a single step can break; the others are in promises.py.
OVERWRITTEN, TOUCHED = "overwritten", "touched without its lock"
RAN_AGAIN = "ran again after its success or its purge"

# What a file system keeps of changes that nobody has synced.
ORDERED = "ordered"  # ext4, xfs: one journal; the first so many changes, and a sync of anything is a sync of all before
TOGETHER = "together"  # btrfs: each name on its own, but a synced removal takes the new name along
APART = "apart"  # the letter of fsync(2) and no more: each directory on its own


class Name(NamedTuple):
    """A name in one of the directories. Stamps are left out, so equal names are as likely as they can be."""

    place: str
    id: str
    rev: int = 0

    def __str__(self) -> str:
        return f"{self.place}/{self.id}" + (f".{self.rev}" if self.rev else "")


class File(NamedTuple):
    """An inode: what its bytes say, and what only the model knows: whose they are, and if they are on the disk."""

    job: int
    wants: str  # the id that a drop asks for
    rev: int = 0
    attempts: int = 0
    state: str = PENDING
    whole: bool = True
    synced: bool = True


class Actor(NamedTuple):
    """A process: a worker, or an operator's command. `at` names its next step, a function of protocol.py."""

    verb: str = "work"
    at: str = "idle"
    name: Name = Name("", "")
    ino: int = NONE
    key: int = NONE  # the lock that it holds
    draft: int = NONE  # a new file of its own in tmp/
    plan: str = ""
    todo: tuple[str, ...] = ()
    then: str = ""
    guard: bool = False  # holds the lock of the ids


class Command(NamedTuple):
    """A running command, and the lock that it has inherited."""

    job: int
    ino: int
    key: int


class Ledger(NamedTuple):
    """What really happened to a job, which no process can see."""

    acked: bool = False  # its enqueue has said yes
    starts: int = 0  # runs that began since it was enqueued or last retried by hand
    success: bool = False  # a success has been written down
    settled: bool = False  # and its worker has gone on to something else
    gone: bool = False  # purged, as somebody wished


class Budget(NamedTuple):
    """How much trouble may still come."""

    crashes: int = 0
    moves: int = 0  # by hand
    orders: int = 0  # of an operator
    power: int = 0


Entries = tuple[tuple[Name, int], ...]
Op = tuple[tuple[Name, int], ...]  # names and what they mean from now on; a rename is (old, NONE), (new, inode)


class State(NamedTuple):
    """Everything. `disk` and `log` are empty when the power cannot fail any more."""

    files: tuple[File | None, ...]
    names: Entries
    disk: Entries
    log: tuple[Op, ...]
    actors: tuple[Actor, ...]
    commands: tuple[Command, ...]
    ledger: tuple[Ledger, ...]
    left: Budget
    logs: int = 0  # how often the log files were deleted
    fault: str = ""  # a promise that a step has broken


def find(s: State, name: Name) -> int:
    """Return the inode that a name means, NONE when there is none."""
    for known, ino in s.names:
        if known == name:
            return ino
    return NONE


def file(s: State, ino: int) -> File:
    """Return the inode's file."""
    found = s.files[ino]
    assert found is not None
    return found


def seat(s: State, i: int, *actors: Actor) -> State:
    """Put actors, one or none as a rule, in the place of the i-th."""
    return State._make((*s[:4], (*s.actors[:i], *actors, *s.actors[i + 1 :]), *s[5:]))  # _replace takes much longer


def apply(entries: Entries, op: Op) -> Entries:
    """Return the entries of directories after a change."""
    after = dict(entries)
    for name, ino in op:
        if ino == NONE:
            after.pop(name, None)
        else:
            after[name] = ino
    return tuple(sorted(after.items()))


def change(s: State, *op: tuple[Name, int]) -> State:
    """Change names at once, as all processes see them; the disk has yet to follow."""
    return s._replace(names=apply(s.names, op), log=(*s.log, op) if s.left.power else ())


def rename(s: State, old: Name, new: Name) -> State | None:
    """rename(2): None when the old name is gone; nothing when both mean one inode; faulty when it overwrites."""
    ino, there = find(s, old), find(s, new)
    if ino == NONE:
        return None
    if there == ino:
        return s
    return change(s if there == NONE else s._replace(fault=OVERWRITTEN), (old, NONE), (new, ino))


def create(s: State, new: File) -> tuple[State, int]:
    """Make a file without a name, which stands for one in tmp/."""
    ino = s.files.index(None) if None in s.files else len(s.files)
    return s._replace(files=(*s.files[:ino], new, *s.files[ino + 1 :])), ino


def tidy(s: State) -> State:
    """Free the inodes that nothing refers to any more."""
    used = {ino for _, ino in s.names}
    for actor in s.actors:
        used.add(actor.ino)
        used.add(actor.draft)
    for command in s.commands:
        used.add(command.ino)
    if s.left.power:
        used.update([ino for op in (s.disk, *s.log) for _, ino in op])
    used.discard(NONE)
    if len(used) == len(s.files):
        return s
    kept = [found if ino in used else None for ino, found in enumerate(s.files)]
    while kept and kept[-1] is None:
        kept.pop()
    return s._replace(files=tuple(kept))


# The disk.


def sync(s: State, place: str, kind: str) -> State:
    """fsync(2) of a directory."""
    if kind == ORDERED:
        return s._replace(disk=s.names, log=())
    flushed = {name for op in s.log for name, _ in op if name.place == place}
    while kind == TOGETHER:
        more = {op[1][0] for op in s.log if len(op) == 2 and op[0][0] in flushed} - flushed
        if not more:
            break
        flushed |= more
    disk, log = s.disk, []
    for op in s.log:
        disk = apply(disk, tuple(part for part in op if part[0] in flushed))
        rest = tuple(part for part in op if part[0] not in flushed)
        if rest:
            log.append(rest)
    return s._replace(disk=disk, log=tuple(log))


def views(s: State, kind: str) -> set[Entries]:
    """Return what the directories may hold after a power loss."""
    if kind == ORDERED:
        found, disk = {s.disk}, s.disk
        for op in s.log:
            disk = apply(disk, op)
            found.add(disk)
        return found
    changed = sorted({name for op in s.log for name, _ in op})
    lengths = [sum(name == part[0] for op in s.log for part in op) for name in changed]
    reaches = product(*(range(length + 1) for length in lengths))
    return {view for reach in reaches if (view := _view(s, dict(zip(changed, reach, strict=True)))) is not None}


def _view(s: State, reach: dict[Name, int]) -> Entries | None:
    """Return the view with so many changes of each name on the disk; None for one that no file system leaves."""
    disk, seen = s.disk, dict.fromkeys(reach, 0)
    for op in s.log:
        kept = []
        for part in op:
            seen[part[0]] += 1
            if seen[part[0]] <= reach[part[0]]:
                kept.append(part)
        # An unsynced removal does not reach the disk before the new name; within one directory both go together.
        if len(op) == 2 and len(kept) == 1 and (kept[0] == op[0] or op[0][0].place == op[1][0].place):
            return None
        disk = apply(disk, tuple(kept))
    return disk


def contents(s: State, view: Entries) -> Iterator[tuple[File | None, ...]]:
    """Yield the files after a power loss: one that was not synced may be whole or empty."""
    linked = {ino for _, ino in view}
    choices: list[list[File | None]] = []
    for ino, found in enumerate(s.files):
        if found is None or ino not in linked:
            choices.append([None])
        elif found.synced:
            choices.append([found])
        else:
            choices.append([found._replace(synced=True), found._replace(synced=True, whole=False)])
    yield from product(*choices)
