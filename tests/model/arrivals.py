"""How jobs come in and files go out: enqueue, the admission of drops, rejecting, purging, and the start check."""

from __future__ import annotations

from model import world
from model.parts import Model, Steps, act, done, double, guarded, is_held, lock_of, note, onward, syncing
from model.world import NONE, PENDING, SEARCH, Name, State, file, find


def sync(model: Model, s: State, i: int) -> Steps:
    """Sync one directory."""
    me = s.actors[i]
    place, *rest = me.todo
    after = act(world.sync(s, place, model.disk), i, todo=tuple(rest))
    yield f"syncs {place}/", after if rest else onward(after, i, me.then)


# Ids that somebody chose are settled under one lock.


def guard(model: Model, s: State, i: int) -> Steps:
    """Take the lock of the ids, waiting for it."""
    if not any(actor.guard for actor in s.actors):
        yield "takes the lock of the ids", act(s, i, guard=model.has("lock of the ids"), at="search", todo=SEARCH)


def search(_model: Model, s: State, i: int) -> Steps:
    """Look for the id in one directory."""
    me = s.actors[i]
    place, *rest = me.todo
    new = me.verb == "enqueue"
    wanted = file(s, me.draft if new else me.ino).wants
    if any(name.place == place and name.id == wanted for name, _ in s.names):
        yield f"finds the id in {place}/", done(s, i) if new else act(s, i, at="reject", todo=(), guard=False)
        return
    at = "search" if rest else "publish" if new else "admit"
    yield f"does not find the id in {place}/", act(s, i, at=at, todo=tuple(rest))


def _id(s: State, wanted: str) -> str:
    return wanted or next(id for id in ("g", "h", "k") if all(name.id != id for name, _ in s.names))


def admit(model: Model, s: State, i: int) -> Steps:
    """Rename a drop within pending/ to its canonical name, unless that is taken."""
    me = s.actors[i]
    target = Name(PENDING, _id(s, file(s, me.ino).wants))
    if find(s, target) != NONE:
        yield f"leaves {me.name}, since {target} is there", done(s, i)
        return
    after = world.rename(guarded(model, s, i, me.name), me.name, target)
    if after is None:
        yield f"finds {me.name} gone", done(s, i)
    else:
        yield f"renames {me.name} to {target}", syncing(model, after, i, {}, "close")


def publish(model: Model, s: State, i: int) -> Steps:
    """Rename a new job from tmp/ into pending/."""
    me = s.actors[i]
    target = Name(PENDING, _id(s, file(s, me.draft).wants))
    s = s._replace(fault=world.OVERWRITTEN) if find(s, target) != NONE else s
    after = act(world.change(s, (target, me.draft)), i, name=target, ino=me.draft, draft=NONE)
    yield f"renames its draft to {target}", syncing(model, after, i, {"pending/ at enqueue": PENDING}, "acknowledge")


# What goes out.


def reject(model: Model, s: State, i: int) -> Steps:
    """Rename what is not a job into rejected/, of which the model keeps no account."""
    me = s.actors[i]
    if find(s, me.name) == NONE:
        yield f"finds {me.name} gone", done(s, i)
        return
    after = world.change(guarded(model, s, i, me.name), (me.name, NONE))
    yield f"moves {me.name} to rejected/", syncing(model, after, i, {"the source": me.name.place}, "close")


def delete(model: Model, s: State, i: int) -> Steps:
    """Delete a job that has ended."""
    me = s.actors[i]
    ino = find(s, me.name)
    if ino == NONE:
        yield f"finds {me.name} gone", done(s, i)
        return
    after = world.change(guarded(model, s, i, me.name), (me.name, NONE))
    yield f"deletes {me.name}", done(note(after, file(s, ino).job, gone=True), i)


# The start check, of two names for one job.


def mend(model: Model, s: State, i: int) -> Steps:
    """Lock both, check both, and take one name away: of one inode the earlier state, of two the lower revision."""
    pair = double(s, of_inodes=model.has("start check of inodes"))
    if pair is None or not model.has("start check"):
        yield "finds every job once", act(s, i, at="idle")
        return
    one, other = pair
    inodes = find(s, one), find(s, other)
    if any(is_held(s, lock_of(model, s, ino)) for ino in inodes):
        return
    older = inodes[0] != inodes[1] and _age(s, inodes[0]) > _age(s, inodes[1])
    goes = other if older else one
    label = f"finds {one} and {other}, and takes away {goes}"
    yield label, syncing(model, world.change(s, (goes, NONE)), i, {"the source": goes.place}, "mend")


def _age(s: State, ino: int) -> int:
    """Return a file's revision, that of an empty one being the lowest."""
    return file(s, ino).rev if file(s, ino).whole else NONE
