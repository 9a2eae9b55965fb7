"""The protocol explored state by state: as it is it keeps its promises, and without any of its parts it breaks one.

`WHOLE` and `POWER_LOSSES` are configurations that hold every promise. A mutant leaves parts out; the search must find
the promise that they keep, and nothing in the same configuration with the parts in. `SPARE` are parts that others stand
in for. `LIMITS` are what the protocol does not promise, each with the way in which it happens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from model import promises
from model.explore import Search, explore, same
from model.parts import Model
from model.promises import LOST, OVERLAP, STUCK, TWO_NAMES, UNCOUNTED
from model.protocol import private
from model.world import APART, ORDERED, OVERWRITTEN, RAN_AGAIN, TOGETHER, TOUCHED, Budget, State

Record = Callable[[str, object], None]
ORDERS = ("retry", "cancel", "purge", "stop")

KILL = Model(trouble=Budget(crashes=1))
HAND = Model(trouble=Budget(moves=1))
EDIT = replace(HAND, by_hand=("edit",))
STOP = Model(orders=("stop",), trouble=Budget(orders=1))
IDS = Model(workers=1, queued=(), enqueues=("a", "a"), drops=("a",), retries=0)
POWER = Model(workers=1, trouble=Budget(power=1))
PURGE = replace(POWER, orders=("purge",), trouble=Budget(orders=1, power=1))
NEW = replace(POWER, queued=(), enqueues=("a",))
DROP = replace(POWER, queued=(), drops=("",))


def find(model: Model, *kinds: str) -> Search:
    """Search for broken promises of some kinds; without any, of all that can be kept in this model."""
    edited = "edit" in model.by_hand  # an editor renames its file over the job's, whoever has locked that
    return explore(model, kinds or [kind for kind in promises.ALL if not (edited and kind == TOUCHED)])


@cache
def states(model: Model) -> int:
    """Return how many states a model has, all of them without a broken promise; fails with the trace to one."""
    search = find(model)
    assert not search.broken, search.trace()
    return len(search.states)


def case(name: str, *values: Any) -> Any:
    """Return a test case with a name in words."""
    return pytest.param(*values, id=name.replace(" ", "-"))


# What holds.

WHOLE = [
    case("3 workers, 4 crashes", Model(workers=3, trouble=Budget(crashes=4)), 13_000),
    case("3 workers, a crash, a move by hand", Model(workers=3, trouble=Budget(crashes=1, moves=1)), 45_000),
    case("3 workers, a crash, a stop", replace(STOP, workers=3, trouble=Budget(crashes=1, orders=1)), 25_000),
    case("2 workers, 2 crashes, an order", Model(orders=ORDERS, trouble=Budget(crashes=2, orders=1)), 38_000),
    case(
        "2 workers, a move by hand, an order",
        Model(orders=("retry", "stop"), trouble=Budget(moves=1, orders=1)),
        46_000,
    ),
    case("2 workers, 2 moves by hand", Model(trouble=Budget(moves=2)), 9_900),
    case("2 workers, a crash, an edit", replace(EDIT, trouble=Budget(crashes=1, moves=1)), 3_700),
    case("2 workers, 2 jobs, a crash", Model(queued=("a", "b"), trouble=Budget(crashes=1)), 65_000),
    case("3 workers, 2 jobs without retries", Model(workers=3, queued=("a", "b"), retries=0), 4_100),
    case("an id enqueued twice and dropped, a crash", replace(IDS, trouble=Budget(crashes=1)), 2_500),
]
POWER_LOSSES = [
    case("2 workers, a crash, 2 power losses", Model(trouble=Budget(crashes=1, power=2)), 4_500),
    case("2 workers, an order", Model(orders=ORDERS, trouble=Budget(orders=1, power=1)), 16_000),
    case("2 workers, 2 jobs", Model(queued=("a", "b"), retries=0, trouble=Budget(power=1)), 5_900),
    case("an id enqueued and dropped", replace(NEW, drops=("a",), retries=0), 500),
    case("a job enqueued and a drop", replace(NEW, enqueues=("",), drops=("",), retries=0), 2_000),
]


@pytest.mark.parametrize(("model", "least"), WHOLE)
def test_the_protocol_keeps_its_promises(model: Model, least: int, record_property: Record) -> None:
    record_property("states", states(model))
    assert states(model) >= least


@pytest.mark.parametrize("disk", [ORDERED, TOGETHER])
@pytest.mark.parametrize(("model", "least"), POWER_LOSSES)
def test_they_survive_a_power_loss(model: Model, least: int, disk: str, record_property: Record) -> None:
    record_property("states", states(replace(model, disk=disk)))
    assert states(replace(model, disk=disk)) >= least


def unhurried(s: State, model: Model) -> bool:
    """Say whether a state has no private step, which the search takes at once."""
    return next(private(model, s), None) is None


@pytest.mark.parametrize("model", [KILL, STOP, replace(POWER, workers=2), Model(queued=("a", "b"), retries=0)])
def test_taking_private_steps_at_once_hides_no_state(model: Model) -> None:
    slow = explore(replace(model, without=frozenset(["private steps at once"])))
    assert {same(s) for s in explore(model).states} == {same(s) for s in slow.states if unhurried(s, model)}


# What each part is for.

SECOND_LOOK, LAST_LOOK = "second look after the claim", "look before the decision"
AT_CLAIM = ("fsync of processing/ at claim", "fsync of the source at claim")
AT_FINISH = ("fsync of the final directory at finish", "fsync of processing/ at finish")
APART_POWER = replace(POWER, disk=APART)

MUTANTS = [
    case("no rev in the name", replace(KILL, workers=1), ["rev in the name"], UNCOUNTED),
    case("no inode check", STOP, ["inode check after locking"], TOUCHED),
    case("no inode check, no second look", STOP, ["inode check after locking", SECOND_LOOK], OVERLAP),
    case("no inode check, no last look", STOP, ["inode check after locking", LAST_LOOK], OVERWRITTEN),
    case("no second look after the claim", EDIT, [SECOND_LOOK], OVERLAP),
    case("no look before the decision", HAND, [LAST_LOOK], TWO_NAMES),
    case("the command without the lock", KILL, ["lock inherited by the command"], OVERLAP),
    case("the log as the lock", replace(HAND, by_hand=("delete logs",)), ["the job file as the lock"], OVERLAP),
    case("release by unlocking", KILL, ["release by close alone"], OVERLAP),
    case("recovery by a time-out", Model(), ["recovery by the lock"], OVERLAP),
    case("no recovery", KILL, ["recovery"], STUCK),
    case("no lock on the draft", KILL, ["lock on the draft"], TOUCHED),
    case("no lock of the ids", IDS, ["lock of the ids"], TWO_NAMES),
    case("a new job not synced", NEW, ["fsync of a new job"], LOST),
    case("pending not synced at enqueue", NEW, ["fsync of pending/ at enqueue"], LOST),
    case("a decision not synced", POWER, ["fsync of a decision"], LOST),
    case("processing not synced at claim", APART_POWER, AT_CLAIM[:1], LOST),
    case("the source not synced at claim", PURGE, AT_CLAIM[1:], RAN_AGAIN),
    case("nothing synced at claim", replace(POWER, disk=ORDERED), AT_CLAIM, UNCOUNTED),
    case("the final directory not synced at finish", APART_POWER, AT_FINISH[:1], LOST),
    case("processing not synced at finish", PURGE, AT_FINISH[1:], RAN_AGAIN),
    case("nothing synced at finish", replace(POWER, disk=ORDERED), AT_FINISH, RAN_AGAIN),
    case("processing synced before the final directory", APART_POWER, ["the final directory first"], LOST),
    case("no start check: two names", POWER, ["start check"], TWO_NAMES),
    case("no start check: a success", POWER, ["start check"], RAN_AGAIN),
    case("a start check of ids alone", DROP, ["start check of inodes"], TWO_NAMES),
]


@pytest.mark.parametrize(("model", "parts", "kind"), MUTANTS)
def test_without_a_part_a_promise_is_broken(model: Model, parts: list[str], kind: str, record_property: Record) -> None:
    search = find(replace(model, without=frozenset(parts)), kind)
    record_property("states", len(search.states))
    record_property("broken", f": {kind}")
    assert search.broken == kind
    assert states(model) > 50, "and it is the part that keeps it"


# ext4, xfs and btrfs keep more than fsync(2) says, and one look at the inode covers for another.

SPARE = [
    *(case(f"one sync at claim, {disk}", replace(PURGE, disk=disk), AT_CLAIM[:1]) for disk in (ORDERED, TOGETHER)),
    *(case(f"one sync at finish, {disk}", replace(PURGE, disk=disk), AT_FINISH[:1]) for disk in (ORDERED, TOGETHER)),
    *(
        case(f"either order, {disk}", replace(PURGE, disk=disk), ["the final directory first"])
        for disk in (ORDERED, TOGETHER)
    ),
    case("the other sync at claim, ordered", replace(PURGE, disk=ORDERED), AT_CLAIM[1:]),
    case("the other sync at finish, ordered", replace(PURGE, disk=ORDERED), AT_FINISH[1:]),
    case("no start check, ordered", replace(POWER, disk=ORDERED), ["start check"]),
    case("no inode check", STOP, ["inode check after locking"]),
    case("no lock on the draft", Model(workers=3, trouble=Budget(crashes=1)), ["lock on the draft"]),
]


@pytest.mark.parametrize(("model", "parts"), SPARE)
def test_another_part_stands_in(model: Model, parts: list[str], record_property: Record) -> None:
    search = find(replace(model, without=frozenset(parts)), *(kind for kind in promises.ALL if kind != TOUCHED))
    record_property("states", len(search.states))
    assert not search.broken, search.trace()


# What is not promised.

LIMITS = [
    case(
        "a move by hand between the last look and the decision", replace(HAND, by_hand=("move", "move late")), TWO_NAMES
    ),
    case("an id looked for while its job fails and is retried", replace(IDS, drops=(), retries=1), TWO_NAMES),
    case("a drop that its producer did not sync", replace(DROP, without=frozenset(["fsync of a drop"])), LOST),
    case("a purge before the start check", replace(PURGE, without=frozenset(["start check before orders"])), RAN_AGAIN),
    case("a disk that keeps only the letter of fsync", replace(APART_POWER, workers=2, queued=("a", "b")), LOST),
]


@pytest.mark.parametrize(("model", "kind"), LIMITS)
def test_a_limit_is_where_it_is_said_to_be(model: Model, kind: str, record_property: Record) -> None:
    search = find(model)
    record_property("states", len(search.states))
    record_property("broken", f": {kind}")
    assert search.broken == kind, search.trace()
    assert search.trace().endswith(kind)
