"""What befalls the spool: processes killed, the power cut, files moved by hand, operators' orders. All of it is bounded."""

from __future__ import annotations

from model import world
from model.parts import CANCELLED, ENDED, RELEASED, RETRIED, Model, Steps, act, is_decided, is_drop, note, waking
from model.world import COMPLETED, DEAD, FAILED, NONE, PENDING, PROCESSING, Actor, Command, Entries, File, Name, State
from model.world import file, find, seat

ORDERS = {
    "retry": (RETRIED, (DEAD, COMPLETED, FAILED)),
    "cancel": (CANCELLED, (PENDING, FAILED)),
    "purge": ("purged", (COMPLETED, DEAD)),
}
BY_HAND = (PENDING, PROCESSING, DEAD)  # failed/ is as pending/, and completed/ as dead/


def trouble(model: Model, s: State) -> Steps:
    """Yield everything that may befall a state."""
    if s.left.crashes:
        yield from crashes(model, s)
    if s.left.power:
        yield from power_losses(model, s)
    if s.left.moves:
        yield from moves(model, s)
    if s.left.orders and not (_unmended(s) and model.has("start check before orders")):
        yield from orders(model, s)


def _spend(s: State, kind: str) -> State:
    left = s.left._replace(**{kind: getattr(s.left, kind) - 1})
    return s._replace(left=left)


def _unmended(s: State) -> bool:
    """Say whether no worker has finished its start check yet."""
    return all(actor.at == "mend" or actor.then == "mend" for actor in s.actors)


def crashes(model: Model, s: State) -> Steps:
    """Kill a process; the kernel closes its descriptors, a command lives on. Another worker takes its place."""
    for i, actor in enumerate(s.actors):
        if actor.at in ("idle", "mend"):
            continue
        after = seat(s, i, Actor(at=waking(s))) if actor.verb == "work" else seat(s, i)
        commands = s.commands
        if not model.has("release by close alone"):
            commands = tuple(
                command._replace(key=NONE) if command.key == actor.key else command for command in commands
            )
        who = f"worker {i + 1}" if actor.verb == "work" else f"`{actor.verb}`"
        yield f"KILL of {who} before `{actor.at}`", _spend(after._replace(commands=commands), "crashes")


def power_losses(model: Model, s: State) -> Steps:
    """Lose the power: what comes back is what the file system may have kept."""
    after = _spend(s, "power")
    ledger = tuple(known._replace(success=known.settled) for known in s.ledger)
    for view in sorted(world.views(s, model.disk)):
        for files in world.contents(s, view):
            found = after._replace(files=files, names=view, disk=view if after.left.power else (), log=(), commands=())
            workers = (Actor(at=waking(found)),) * model.workers
            label = f"POWER LOSS; there are {', '.join(_told(name, files[ino]) for name, ino in view) or 'no files'}"
            yield label, found._replace(actors=workers, ledger=ledger)


def _told(name: Name, found: File | None) -> str:
    return f"{name}{'' if found and found.whole else ' (empty)'}"


def moves(model: Model, s: State) -> Steps:
    """Move a file by hand, to a name that is free."""
    if "delete logs" in model.by_hand:
        yield "SOMEBODY deletes the logs", _spend(s._replace(logs=s.logs + 1), "moves")
    for name, ino in s.names:
        if "edit" in model.by_hand and name.place in (PENDING, FAILED):
            after, new = world.create(s, file(s, ino))
            yield f"SOMEBODY edits {name}", _spend(world.change(after, (name, new)), "moves")
        # The moment between a worker's last look and its decision cannot be closed; it has a test of its own.
        late = any(actor.at == "replace" and actor.name == name for actor in s.actors)
        if is_drop(name) or "move" not in model.by_hand or (late and "move late" not in model.by_hand):
            continue
        for place in BY_HAND:
            target = Name(place, name.id, 5 if place == PROCESSING else 0)
            after = world.rename(s, name, target) if place != name.place and find(s, target) == NONE else None
            if after is not None:
                yield f"SOMEBODY moves {name} to {target}", _spend(_by_hand(model, after, name, ino), "moves")


def _by_hand(model: Model, s: State, name: Name, ino: int) -> State:
    """Write down what somebody wished who moved a file: forget its success, or the attempt that runs."""
    found = file(s, ino)
    known = s.ledger[found.job]
    if name.place == PROCESSING and not is_decided(model, name, found):
        return note(s, found.job, starts=min(known.starts, found.attempts))
    return note(s, found.job, success=False, settled=False)


def orders(model: Model, s: State) -> Steps:
    """Give an operator's order: for a job that waits or has ended, or for one that runs."""
    for verb in model.orders:
        plan, places = ORDERS.get(verb, ("", ()))
        for name, ino in s.names:
            if name.place in places and not is_drop(name):
                new = Actor(verb, "lock", name, ino, plan=plan)
                yield f"`{verb}` opens {name}", _spend(s._replace(actors=(*s.actors, new)), "orders")
    for i, actor in enumerate(s.actors):
        for verb, plan in (("stop", RELEASED), ("cancel", ENDED)):
            if actor.at == "wait" and verb in model.orders:
                rest = _without(s.commands, actor.ino)
                after = act(s._replace(commands=rest), i, at="decide", plan=plan)
                yield f"`{verb}`: worker {i + 1} ends its command", _spend(after, "orders")


def _without(commands: tuple[Command, ...], ino: int) -> tuple[Command, ...]:
    gone = next((command for command in commands if command.ino == ino), None)
    return tuple(command for command in commands if command is not gone)
