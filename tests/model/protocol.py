"""The protocol of the spool: what workers, operators' commands and `enqueue` do, one function a step.

A step is what nobody can look into: as a rule one system call. What no other process sees, and no crash leaves behind,
belongs to the next step: reading a locked file, writing a draft in tmp/, closing after the last sync. A part of the
protocol is left out by putting its name into `Model.without`; that makes a mutant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from model import world
from model.world import COMPLETED, DEAD, FAILED, NONE, PENDING, PLACES, PROCESSING
from model.world import Actor, Budget, Command, File, Ledger, Name, State, file, find

MAX_RETRIES = 1
SCAN = (*PLACES, FAILED, PENDING)  # the order in which an id that somebody chose is looked for
LOST, RELEASED, CANCELLED, RETRIED = "lost", "released", "cancelled", "retried"

Steps = Iterator[tuple[str, State]]


@dataclass(frozen=True)
class Model:
    """A configuration: who takes part, which trouble may come, and what has been left out."""

    workers: int = 2
    queued: tuple[str, ...] = ("a",)  # jobs that wait from the start
    enqueues: tuple[str, ...] = ()  # ids that somebody is about to enqueue; "": one is made
    drops: tuple[str, ...] = ()  # ids that drops ask for; "": one is made
    orders: tuple[str, ...] = ()  # what operators may want: retry, cancel, purge, stop
    trouble: Budget = Budget()
    disk: str = world.APART
    without: frozenset[str] = frozenset()
    windows: bool = False  # a move by hand may come between the last look and the decision

    def has(self, part: str) -> bool:
        """Say whether a part of the protocol is in."""
        return part not in self.without


def begin(model: Model) -> State:
    """Return the first state."""
    names = [Name(PENDING, id) for id in model.queued]
    names += [Name(PENDING, f"drop{number}.json") for number in range(len(model.drops))]
    power = bool(model.trouble.power)
    files = [File(job, id) for job, id in enumerate(model.queued)]
    files += [File(len(files) + number, id, synced=not power) for number, id in enumerate(model.drops)]
    actors = [Actor()] * model.workers
    for id in model.enqueues:
        actors.append(Actor("enqueue", "guard" if id else "publish", draft=len(files)))
        files.append(File(len(files), id, synced=model.has("fsync of a new job") or not power))
    entries = tuple(sorted((name, ino) for ino, name in enumerate(names)))
    ledger = tuple(Ledger(acked=job < len(model.queued)) for job in range(len(files)))
    return State(tuple(files), entries, entries if power else (), (), tuple(actors), (), ledger, model.trouble)


def ordinary(model: Model, s: State) -> Steps:
    """Yield what happens by itself: every next step of every process."""
    yield from _commands(s)
    for i, actor in enumerate(s.actors):
        who = f"worker {i + 1}" if actor.verb == "work" else f"`{actor.verb}`"
        for label, after in STEPS[actor.at](model, s, i):
            yield f"{who} {label}", after


# What steps are made of.


def act(s: State, i: int, **fields: Any) -> State:
    """Change one actor."""
    return s._replace(actors=(*s.actors[:i], s.actors[i]._replace(**fields), *s.actors[i + 1 :]))


def done(s: State, i: int) -> State:
    """Close everything: a worker is idle again, a command of an operator has ended."""
    rest = (Actor(),) if s.actors[i].verb == "work" else ()
    return s._replace(actors=(*s.actors[:i], *rest, *s.actors[i + 1 :]))


def note(s: State, job: int, **fields: Any) -> State:
    """Write down what happened to a job, for the promises; no process sees it."""
    return s._replace(ledger=(*s.ledger[:job], s.ledger[job]._replace(**fields), *s.ledger[job + 1 :]))


def is_drop(name: Name) -> bool:
    """Say whether a name in pending/ is a drop's."""
    return name.id.endswith(".json")


def lock_of(model: Model, s: State, ino: int) -> int:
    """Return what is locked for a job: the inode of its file."""
    return ino if model.has("the job file as the lock") else 1000 + 100 * file(s, ino).job + s.logs


def is_held(s: State, key: int) -> bool:
    """Say whether somebody holds a lock."""
    return any(actor.key == key for actor in s.actors) or any(command.key == key for command in s.commands)


def is_decided(model: Model, name: Name, found: File) -> bool:
    """Say whether a file in processing/ only waits for its move."""
    return found.rev >= name.rev if model.has("rev in the name") else found.state != PENDING


def guarded(model: Model, s: State, i: int, name: Name) -> State:
    """Note a fault when an actor is about to rename or delete what it has no lock on."""
    ino = find(s, name)
    mine = ino == NONE or s.actors[i].key == lock_of(model, s, ino)
    return s if mine else s._replace(fault="touched without its lock")


def syncing(model: Model, s: State, i: int, places: Mapping[str, str], then: str) -> State:
    """Go on to sync the directories that the model syncs, and then to the step `then`."""
    todo = tuple(place for part, place in places.items() if model.has(f"fsync of {part}") and s.left.power)
    return act(s, i, at="sync", todo=todo, then=then) if todo else onward(s, i, then)


def onward(s: State, i: int, then: str) -> State:
    """Go on to a step after syncing; the two that end something are done at once."""
    me = s.actors[i]
    if then == "acknowledge":
        return done(note(s, file(s, me.draft).job, acked=True), i)
    return done(s, i) if then == "close" else act(s, i, at=then)


# Locking: the one primitive.


def idle(_model: Model, s: State, i: int) -> Steps:
    """Open a name that a scan has shown: a job that waits, a drop, or a file in processing/."""
    for name, ino in s.names:
        if name.place in (PENDING, FAILED, PROCESSING):
            yield f"opens {name}", act(s, i, at="lock", name=name, ino=ino)


def lock(model: Model, s: State, i: int) -> Steps:
    """Lock the inode that was opened."""
    me = s.actors[i]
    key = lock_of(model, s, me.ino)
    if me.name.place == PROCESSING and not model.has("recovery by the lock"):
        yield f"takes {me.name} for lost after a time", act(s, i, at="check")
    elif is_held(s, key):
        yield f"finds {me.name} locked", done(s, i)
    else:
        yield f"locks the inode that it opened as {me.name}", act(s, i, at="check", key=key)


def check(model: Model, s: State, i: int) -> Steps:
    """Check that the name means the locked inode, read it, and see what is to be done."""
    me = s.actors[i]
    if find(s, me.name) != me.ino and model.has("inode check after locking"):
        yield f"sees that {me.name} means another file or none", done(s, i)
        return
    found = file(s, me.ino)
    if not found.whole:
        at = "reject"
    elif me.verb == "purge":
        at = "delete"
    elif is_drop(me.name):
        at = "guard" if found.wants else "admit"
    elif me.name.place != PROCESSING:
        at = "claim"
    else:
        at = "move" if is_decided(model, me.name, found) else "decide"
    plan = me.plan if at != "decide" else LOST
    yield f"reads {me.name}: rev {found.rev}, {found.state}", act(s, i, at=at, plan=plan)


# A worker's way with a job; an operator's retry and cancel go it without the command.


def claim(model: Model, s: State, i: int) -> Steps:
    """Rename the job into processing/."""
    me = s.actors[i]
    rev = file(s, me.ino).rev + 1 if model.has("rev in the name") else 0
    target = Name(PROCESSING, me.name.id, rev)
    after = world.rename(guarded(model, s, i, me.name), me.name, target)
    if after is None:
        yield f"finds {me.name} gone", done(s, i)
    else:
        yield f"renames {me.name} to {target}", act(after, i, at="look", name=target, then=me.name.place)


def look(model: Model, s: State, i: int) -> Steps:
    """Check once more that the name means the locked inode."""
    me = s.actors[i]
    if find(s, me.name) != me.ino and model.has("second look after the claim"):
        yield f"sees that {me.name} means another file", done(s, i)
        return
    places = {"processing/ at claim": PROCESSING, "the source at claim": me.then}
    yield f"has claimed {me.name}", syncing(model, s, i, places, "start" if me.verb == "work" else "decide")


def sync(model: Model, s: State, i: int) -> Steps:
    """Sync one directory."""
    me = s.actors[i]
    place, *rest = me.todo
    after = act(world.sync(s, place, model.disk), i, todo=tuple(rest))
    yield f"syncs {place}/", after if rest else onward(after, i, me.then)


def start(model: Model, s: State, i: int) -> Steps:
    """Start the command, which inherits the lock."""
    me = s.actors[i]
    job = file(s, me.ino).job
    known = s.ledger[job]
    if find(s, me.name) == me.ino:  # else somebody has moved it by hand, and its attempts with it
        s = note(s, job, starts=known.starts + 1)
        s = s._replace(fault=s.fault or "a success ran again") if known.success else s
    key = me.key if model.has("lock inherited by the command") else NONE
    commands = tuple(sorted((*s.commands, Command(job, me.ino, key))))
    yield f"starts the command of {me.name}", act(s._replace(commands=commands), i, at="wait")


def wait(_model: Model, _s: State, _i: int) -> Steps:
    """Wait for the command, whose end is a step of its own."""
    yield from ()


def _commands(s: State) -> Steps:
    """End a command; its worker, if it still lives, learns how."""
    for number, command in enumerate(s.commands):
        after = s._replace(commands=(*s.commands[:number], *s.commands[number + 1 :]))
        waiting = [i for i, actor in enumerate(s.actors) if actor.at == "wait" and actor.ino == command.ino]
        if not waiting:
            yield "a command whose worker died ends", after
        for i in waiting[:1]:
            for plan in (COMPLETED, FAILED):
                yield f"the command of worker {i + 1} ends, {plan}", act(after, i, at="decide", plan=plan)


def outcome(found: File, rev: int, plan: str) -> File:
    """Return what the job's file says after a decision."""
    if plan == COMPLETED:
        return found._replace(rev=rev, attempts=found.attempts + 1, state=COMPLETED)
    if plan in (FAILED, LOST):
        state = FAILED if found.attempts < MAX_RETRIES else DEAD
        return found._replace(rev=rev, attempts=found.attempts + 1, state=state)
    if plan == CANCELLED:
        return found._replace(rev=rev, state=DEAD)
    return found._replace(rev=rev, attempts=0 if plan == RETRIED else found.attempts, state=PENDING)


def decide(model: Model, s: State, i: int) -> Steps:
    """Write the decision to a draft, sync and lock it, and look if the claim is still ours."""
    me = s.actors[i]
    found = file(s, me.ino)
    rev = me.name.rev if model.has("rev in the name") else found.rev + 1
    synced = model.has("fsync of a decision") or not s.left.power
    after, draft = world.create(s, outcome(found, rev, me.plan)._replace(synced=synced))
    if find(s, me.name) != me.ino and model.has("look before the decision"):
        yield f"sees that {me.name} was taken away, and gives up", done(s, i)
    else:
        yield f"writes down {me.plan}, and {me.name} is still its own", act(after, i, at="replace", draft=draft)


def replace(model: Model, s: State, i: int) -> Steps:
    """Rename the draft over the name in processing/: the decision."""
    me = s.actors[i]
    there = find(s, me.name)
    if there not in (NONE, me.ino):
        s = s._replace(fault="overwritten")
    after = world.change(guarded(model, s, i, me.name), (me.name, me.draft))
    found = file(s, me.draft)
    known = s.ledger[found.job]
    if me.plan == COMPLETED:
        after = note(after, found.job, success=True)
    elif me.plan == RETRIED:
        after = note(after, found.job, success=False, starts=0)
    elif me.plan == RELEASED:
        after = note(after, found.job, starts=max(found.attempts, known.starts - 1))
    fields = {"at": "move", "ino": me.draft, "draft": NONE, "key": lock_of(model, after, me.draft)}
    yield f"renames its draft over {me.name}", act(after, i, **fields)


def move(model: Model, s: State, i: int) -> Steps:
    """Rename a decided job to the place that its file says."""
    me = s.actors[i]
    target = Name(file(s, me.ino).state, me.name.id)
    after = world.rename(guarded(model, s, i, me.name), me.name, target)
    if after is None:
        yield f"finds {me.name} gone", done(s, i)
        return
    places = {"the final directory at finish": target.place, "processing/ at finish": PROCESSING}
    if not model.has("the final directory first"):
        places = dict(reversed(places.items()))
    yield f"renames {me.name} to {target}", syncing(model, after, i, places, "close")
