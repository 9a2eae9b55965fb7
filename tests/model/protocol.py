"""The protocol of the spool: how workers, and operators' commands, lock, claim, run, recover and finish a job.

One function is one step, of which nobody can see the inside: as a rule one system call. What no other process sees and
no crash leaves behind belongs to the next step: reading a locked file, writing a draft in tmp/, the last close.
"""

from __future__ import annotations

from collections.abc import Callable

from model import arrivals, world
from model.parts import (
    CANCELLED,
    ENDED,
    LOST,
    RELEASED,
    RETRIED,
    Model,
    Steps,
    act,
    done,
    guarded,
    is_decided,
    is_drop,
    is_held,
    is_ours,
    lock_of,
    note,
    syncing,
    title,
)
from model.world import COMPLETED, DEAD, FAILED, NONE, PENDING, PROCESSING, Command, File, Name, State, file, find


def ordinary(model: Model, s: State) -> Steps:
    """Yield what happens by itself: every next step of every process."""
    yield from _commands(s)
    for i, actor in enumerate(s.actors):
        for label, after in STEPS[actor.at](model, s, i):
            yield f"{title(s, i)} {label}", after


def private(model: Model, s: State) -> Steps:
    """Yield a step that looks only at what its actor's lock protects, so that it may as well be taken at once.

    Nobody else can change what it sees, nobody sees what it does, and a crash or a power loss after it leaves the same
    as one before it. Not while somebody may do something by hand, nor in mutants, where locks may protect nothing.
    """
    if s.left.moves or model.without:
        return
    for i, actor in enumerate(s.actors):
        if actor.at in ("check", "look", "decide") and actor.key == actor.ino and is_ours(s, i):
            yield from STEPS[actor.at](model, s, i)
            return


# Locking: the one primitive.


def idle(model: Model, s: State, i: int) -> Steps:
    """Open a name that a scan has shown: a job that waits, a drop, or a file in processing/."""
    for name, ino in s.names:
        if name.place in (PENDING, FAILED) or (name.place == PROCESSING and model.has("recovery")):
            yield f"opens {name}", act(s, i, at="lock", name=name, ino=ino)


def lock(model: Model, s: State, i: int) -> Steps:
    """Lock the inode that was opened."""
    me = s.actors[i]
    key = lock_of(model, s, me.ino)
    if me.name.place == PROCESSING and not model.has("recovery by the lock"):
        yield f"takes {me.name} for lost, since it has been there for long", act(s, i, at="check")
    elif is_held(s, key):
        yield f"finds {me.name} locked", done(s, i)
    else:
        yield f"locks the inode that it opened as {me.name}", act(s, i, at="check", key=key)


def check(model: Model, s: State, i: int) -> Steps:
    """Check that the name means the locked inode, read it, and see what is to be done."""
    me = s.actors[i]
    if not is_ours(s, i) and model.has("inode check after locking"):
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
    yield f"reads {me.name}: rev {found.rev}, {found.state}", act(s, i, at=at, plan=me.plan or LOST)


# A job's way. An operator's retry and cancel go it without the command, a recovery begins in the middle of it.


def claim(model: Model, s: State, i: int) -> Steps:
    """Rename the job into processing/."""
    me = s.actors[i]
    rev = file(s, me.ino).rev + 1 if model.has("rev in the name") else 0
    target = Name(PROCESSING, me.name.id, rev)
    after = world.rename(guarded(model, s, i, me.name), me.name, target)
    if after is None:
        yield f"finds {me.name} gone", done(s, i)
        return
    if me.plan == RETRIED:
        after = note(after, file(s, me.ino).job, success=False, settled=False)  # somebody wants it to run again
    yield f"renames {me.name} to {target}", act(after, i, at="look", name=target, then=me.name.place)


def look(model: Model, s: State, i: int) -> Steps:
    """Check once more that the name means the locked inode."""
    me = s.actors[i]
    if not is_ours(s, i) and model.has("second look after the claim"):
        yield f"sees that {me.name} means another file or none", done(s, i)
        return
    places = {"processing/ at claim": PROCESSING, "the source at claim": me.then}
    yield f"has claimed {me.name}", syncing(model, s, i, places, "start" if me.verb == "work" else "decide")


def start(model: Model, s: State, i: int) -> Steps:
    """Start the command, which inherits the lock."""
    me = s.actors[i]
    job = file(s, me.ino).job
    known = s.ledger[job]
    if is_ours(s, i):  # else somebody has moved it by hand, and its count of attempts with it
        s = note(s, job, starts=known.starts + 1)
        s = s._replace(fault=world.RAN_AGAIN) if known.success or known.gone else s
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
                yield f"the command of worker {i + 1} ends: {plan}", act(after, i, at="decide", plan=plan)


def decide(model: Model, s: State, i: int) -> Steps:
    """Write the decision to a draft, sync and lock it, and look if the claim is still ours."""
    me = s.actors[i]
    found = file(s, me.ino)
    rev = me.name.rev if model.has("rev in the name") else found.rev + 1
    synced = model.has("fsync of a decision") or not s.left.power
    after, draft = world.create(s, outcome(model, found, rev, me.plan)._replace(synced=synced))
    if not is_ours(s, i) and model.has("look before the decision"):
        yield f"sees that {me.name} was taken away, and gives up", done(s, i)
    else:
        yield f"drafts that the job is {me.plan}; {me.name} is its own", act(after, i, at="replace", draft=draft)


def outcome(model: Model, found: File, rev: int, plan: str) -> File:
    """Return what the job's file says after a decision."""
    counted = found.attempts + (plan in (COMPLETED, FAILED, LOST, ENDED))
    state = PENDING
    if plan == COMPLETED:
        state = COMPLETED
    elif plan in (ENDED, CANCELLED):
        state = DEAD
    elif plan in (FAILED, LOST):
        state = FAILED if counted <= model.retries else DEAD
    return found._replace(rev=rev, attempts=0 if plan == RETRIED else counted, state=state)


def replace(model: Model, s: State, i: int) -> Steps:
    """Rename the draft over the name in processing/: the decision."""
    me = s.actors[i]
    s = guarded(model, s, i, me.name)
    if find(s, me.name) not in (NONE, me.ino):
        s = s._replace(fault=world.OVERWRITTEN)
    after = world.change(s, (me.name, me.draft))
    found = file(s, me.draft)
    if me.plan == COMPLETED:
        after = note(after, found.job, success=True)
    elif me.plan == RETRIED:
        after = note(after, found.job, starts=0)
    elif me.plan == RELEASED:
        after = note(after, found.job, starts=max(found.attempts, s.ledger[found.job].starts - 1))
    key = lock_of(model, after, me.draft) if model.has("lock on the draft") else NONE
    yield f"renames its draft over {me.name}", act(after, i, at="move", ino=me.draft, draft=NONE, key=key)


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


STEPS: dict[str, Callable[[Model, State, int], Steps]] = {
    step.__name__: step
    for step in (
        *(idle, lock, check, claim, look, start, wait, decide, replace, move, arrivals.sync),
        *(arrivals.guard, arrivals.search, arrivals.admit, arrivals.publish),
        *(arrivals.reject, arrivals.delete, arrivals.mend),
    )
}
