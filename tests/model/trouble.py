"""What befalls the spool: processes killed, the power cut, files touched by hand, an operator's orders; all bounded."""

from __future__ import annotations

from model import world
from model.parts import (
    CANCELLED,
    ENDED,
    RELEASED,
    RETRIED,
    Model,
    Steps,
    act,
    is_decided,
    is_drop,
    is_unmended,
    note,
    title,
    waking,
)
from model.world import COMPLETED, DEAD, FAILED, NONE, PENDING, PROCESSING, Actor, File, Name, State, file, find, seat

ORDERS = {
    "retry": (RETRIED, (DEAD, COMPLETED, FAILED)),
    "cancel": (CANCELLED, (PENDING, FAILED)),
    "purge": ("", (COMPLETED, DEAD)),
}
BY_HAND = (PENDING, PROCESSING, DEAD)  # a file is as well off in failed/ as in pending/, in completed/ as in dead/


def trouble(model: Model, s: State) -> Steps:
    """Yield everything that may befall a state."""
    if s.left.crashes:
        yield from _crashes(model, s)
    if s.left.power:
        yield from _power_losses(model, s)
    if s.left.moves:
        yield from _moves(model, s)
    if s.left.orders and not (is_unmended(s) and model.has("start check before orders")):
        yield from _orders(model, s)


def _spend(s: State, kind: str) -> State:
    return s._replace(left=s.left._replace(**{kind: getattr(s.left, kind) - 1}))


def _crashes(model: Model, s: State) -> Steps:
    """Kill a process: the kernel closes its descriptors, its command lives on, another worker takes its place."""
    for i, actor in enumerate(s.actors):
        if actor.at in ("idle", "mend"):
            continue
        after = seat(s, i, Actor(at=waking(s))) if actor.verb == "work" else seat(s, i)
        if not model.has("release by close alone"):
            commands = (c._replace(key=NONE) if c.key == actor.key else c for c in s.commands)
            after = after._replace(commands=tuple(commands))
        yield f"KILL of {title(s, i)}, its next step would be `{actor.at}`", _spend(after, "crashes")


def _power_losses(model: Model, s: State) -> Steps:
    """Lose the power: what comes back is what the file system may have kept."""
    ledger = tuple(known._replace(success=known.settled) for known in s.ledger)
    s = _spend(s, "power")
    for view in sorted(world.views(s, model.disk)):
        for files in world.contents(s, view):
            disk = view if s.left.power else ()
            after = s._replace(files=files, names=view, disk=disk, log=(), commands=(), ledger=ledger)
            after = after._replace(actors=(Actor(at=waking(after)),) * model.workers)
            told = ", ".join(_told(name, files[ino]) for name, ino in view)
            yield f"POWER LOSS, leaving {told or 'nothing'}", after


def _told(name: Name, found: File | None) -> str:
    return f"{name}{'' if found and found.whole else ' (empty)'}"


def _moves(model: Model, s: State) -> Steps:
    """Let somebody touch a file by hand: move it to a name that is free, edit it, or delete logs."""
    if "delete logs" in model.by_hand:
        yield "SOMEBODY deletes the logs", _spend(s._replace(logs=s.logs + 1), "moves")
    for name, ino in s.names:
        if "edit" in model.by_hand and name.place in (PENDING, FAILED):
            after, new = world.create(s, file(s, ino))
            yield f"SOMEBODY edits {name}", _spend(world.change(after, (name, new)), "moves")
        if "move" in model.by_hand and not is_drop(name) and (not _is_late(s, name) or "move late" in model.by_hand):
            yield from _moves_of(model, s, name, ino)


def _is_late(s: State, name: Name) -> bool:
    """Say whether a worker is between its last look at a name and its decision, which no protocol of renames closes."""
    return any(actor.at == "replace" and actor.name == name for actor in s.actors)


def _moves_of(model: Model, s: State, name: Name, ino: int) -> Steps:
    found = file(s, ino)
    for place in BY_HAND:
        target = Name(place, name.id, 5 if place == PROCESSING else 0)
        after = world.rename(s, name, target) if place != name.place and find(s, target) == NONE else None
        if after is None:
            continue
        if name.place == PROCESSING and not is_decided(model, name, found):  # the attempt is taken away with it
            after = note(after, found.job, starts=min(s.ledger[found.job].starts, found.attempts))
        else:
            after = note(after, found.job, success=False, settled=False)  # somebody wants it elsewhere
        yield f"SOMEBODY moves {name} to {target}", _spend(after, "moves")


def _orders(model: Model, s: State) -> Steps:
    """Give an operator's order: for a job that waits or has ended, or for one that runs."""
    for verb in model.orders:
        plan, places = ORDERS.get(verb, ("", ()))
        for name, ino in s.names:
            if name.place in places and not is_drop(name):
                new = Actor(verb, "lock", name, ino, plan=plan)
                yield f"`{verb}` opens {name}", _spend(s._replace(actors=(*s.actors, new)), "orders")
    for i, actor in enumerate(s.actors):
        for verb, plan in (("stop", RELEASED), ("cancel", ENDED)):
            running = next((c for c in s.commands if c.ino == actor.ino), None)
            if verb in model.orders and actor.at == "wait" and running:
                after = s._replace(commands=tuple(c for c in s.commands if c is not running))
                after = act(after, i, at="decide", plan=plan)
                yield f"`{verb}`: {title(s, i)} ends its command", _spend(after, "orders")
