"""What the steps of the protocol are made of: the configuration, the first state, changing one process, asking.

A part of the protocol is left out by putting its name into `Model.without`; that makes a mutant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from model import world
from model.world import COMPLETED, NONE, PENDING, PLACES, Actor, Budget, File, Ledger, Name, State, file, find, seat

RESTING, NO_TROUBLE = Actor(), Budget()
# What may become of a job, beside COMPLETED and FAILED.
LOST, ENDED, RELEASED, CANCELLED, RETRIED = "lost", "ended", "released", "cancelled", "retried"

Steps = Iterator[tuple[str, State]]


@dataclass(frozen=True)
class Model:
    """A configuration: who takes part, which trouble may come, and what has been left out."""

    workers: int = 2
    queued: tuple[str, ...] = ("a",)  # jobs that wait from the start, acknowledged
    enqueues: tuple[str, ...] = ()  # ids that somebody is about to enqueue; "": one is made
    drops: tuple[str, ...] = ()  # ids that drops ask for; "": one is made
    retries: int = 1  # runs of a job after the first
    orders: tuple[str, ...] = ()  # what operators may want: retry, cancel, purge, stop
    by_hand: tuple[str, ...] = ("move",)  # what somebody may do: move a file, move late, edit one, delete logs
    trouble: Budget = NO_TROUBLE
    disk: str = world.TOGETHER
    without: frozenset[str] = frozenset()

    def has(self, part: str) -> bool:
        """Say whether a part of the protocol is in."""
        return part not in self.without


def begin(model: Model) -> State:
    """Return the first state."""
    power = bool(model.trouble.power)
    names = [Name(PENDING, id) for id in model.queued]
    names += [Name(PENDING, f"drop{number}.json") for number in range(len(model.drops))]
    files = [File(job, id) for job, id in enumerate(model.queued)]
    synced = model.has("fsync of a drop") or not power
    files += [File(len(files) + number, id, synced=synced) for number, id in enumerate(model.drops)]
    actors = [RESTING] * model.workers
    synced = model.has("fsync of a new job") or not power
    for id in model.enqueues:
        actors.append(Actor("enqueue", "guard" if id else "publish", draft=len(files)))
        files.append(File(len(files), id, synced=synced))
    entries = tuple(sorted((name, ino) for ino, name in enumerate(names)))
    ledger = tuple(Ledger(acked=job < len(model.queued)) for job in range(len(files)))
    return State(tuple(files), entries, entries if power else (), (), tuple(actors), (), ledger, model.trouble)


# Changing one process.


def act(s: State, i: int, **fields: Any) -> State:
    """Change one actor."""
    return seat(s, i, s.actors[i]._replace(**fields))


def done(s: State, i: int) -> State:
    """Close everything: a worker rests, an operator's command has ended."""
    return seat(s, i, RESTING) if s.actors[i].verb == "work" else seat(s, i)


def syncing(model: Model, s: State, i: int, places: Mapping[str, str], then: str) -> State:
    """Go on to sync the directories that the model syncs, and then to the step `then`."""
    todo = tuple(place for part, place in places.items() if s.left.power and model.has(f"fsync of {part}"))
    return act(s, i, at="sync", todo=todo, then=then) if todo else onward(s, i, then)


def onward(s: State, i: int, then: str) -> State:
    """Go on to the step after a sync; those that only end something are done at once."""
    if then == "acknowledge":
        return done(note(s, file(s, s.actors[i].ino).job, acked=True), i)
    if then == "mend":
        return act(done(s, i), i, at=waking(s))
    if then == "close":
        found = file(s, s.actors[i].ino)
        return done(note(s, found.job, settled=True) if found.state == COMPLETED else s, i)
    return act(s, i, at=then, then="")


# Asking.


def is_drop(name: Name) -> bool:
    """Say whether a name in pending/ is a drop's."""
    return name.id.endswith(".json")


def lock_of(model: Model, s: State, ino: int) -> int:
    """Return what is locked for a job: the inode of its file."""
    return ino if model.has("the job file as the lock") else 1000 + 100 * file(s, ino).job + s.logs


def is_held(s: State, key: int) -> bool:
    """Say whether somebody holds a lock."""
    return any(actor.key == key for actor in s.actors) or any(command.key == key for command in s.commands)


def is_ours(s: State, i: int) -> bool:
    """Say whether an actor's name still means the inode that it opened."""
    return find(s, s.actors[i].name) == s.actors[i].ino


def is_decided(model: Model, name: Name, found: File) -> bool:
    """Say whether a file in processing/ only waits for its move."""
    return found.rev >= name.rev if model.has("rev in the name") else found.state != PENDING


def double(s: State, *, of_inodes: bool = True) -> tuple[Name, Name] | None:
    """Return two names of one id, or of one inode, the earlier state first; None when there are none."""
    if len(s.names) == len({name.id for name, _ in s.names}) == len({ino for _, ino in s.names}):
        return None
    order = sorted(s.names, key=lambda entry: (PLACES.index(entry[0].place), not is_drop(entry[0])))
    for number, (one, ino) in enumerate(order):
        for other, another in order[number + 1 :]:
            if one.id == other.id or (of_inodes and ino == another):
                return one, other
    return None


def waking(s: State) -> str:
    """Return the first step of a new worker: its start check, when that has something to do."""
    return "mend" if double(s) else "idle"


def is_unmended(s: State) -> bool:
    """Say whether no worker has ended its start check yet."""
    return all("mend" in (actor.at, actor.then) for actor in s.actors if actor.verb == "work")


def title(s: State, i: int) -> str:
    """Return what a trace calls an actor."""
    return f"worker {i + 1}" if s.actors[i].verb == "work" else f"`{s.actors[i].verb}`"


# Writing down what no process sees.


def note(s: State, job: int, **fields: Any) -> State:
    """Write down what happened to a job."""
    return s._replace(ledger=(*s.ledger[:job], s.ledger[job]._replace(**fields), *s.ledger[job + 1 :]))


def guarded(model: Model, s: State, i: int, name: Name) -> State:
    """Write down a fault when an actor is about to rename or delete what it has no lock on."""
    ino = find(s, name)
    mine = ino == NONE or s.actors[i].key == lock_of(model, s, ino)
    return s if mine else s._replace(fault=world.TOUCHED)
