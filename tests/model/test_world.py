"""The disk of the model leaves after a power loss what a real one has left.

The cases were seen on btrfs (Linux 6.18): the image under a loop device, copied after the last fsync, and mounted.
"""

from __future__ import annotations

import pytest

from model.parts import Model, begin
from model.world import (
    APART,
    COMPLETED,
    ORDERED,
    PENDING,
    PROCESSING,
    TOGETHER,
    Budget,
    Name,
    State,
    change,
    create,
    file,
    find,
    rename,
    sync,
    views,
)

WAITS, RUNS, ENDED = Name(PENDING, "a"), Name(PROCESSING, "a", 1), Name(COMPLETED, "a")
OLD, NEW = 0, 1  # the inode that is claimed, and that of the decision


def claimed(kind: str, *places: str) -> State:
    """Return the state after a claim and some syncs."""
    s = rename(begin(Model(disk=kind, trouble=Budget(power=1))), WAITS, RUNS)
    assert s is not None
    for place in places:
        s = sync(s, place, kind)
    return s


def finished(kind: str, *places: str) -> State:
    """Return the state after a synced claim, the decision, the move and some syncs."""
    s = claimed(kind, PROCESSING, PENDING)
    s, draft = create(s, file(s, find(s, RUNS)))
    assert draft == NEW
    moved = rename(change(s, (RUNS, NEW)), RUNS, ENDED)
    assert moved is not None
    for place in places:
        moved = sync(moved, place, kind)
    return moved


@pytest.mark.parametrize(
    ("s", "seen"),
    [
        pytest.param(claimed(TOGETHER, PROCESSING), {WAITS: OLD, RUNS: OLD}, id="a-claim-with-processing-synced"),
        pytest.param(claimed(TOGETHER, PENDING), {RUNS: OLD}, id="a-claim-with-the-source-synced"),
        pytest.param(claimed(TOGETHER), {WAITS: OLD}, id="a-claim-with-nothing-synced"),
        pytest.param(finished(TOGETHER, COMPLETED), {RUNS: OLD, ENDED: NEW}, id="a-finish-with-the-final-one-synced"),
        pytest.param(finished(TOGETHER), {RUNS: OLD, ENDED: NEW}, id="a-finish-with-nothing-synced"),
        pytest.param(finished(TOGETHER, PROCESSING), {ENDED: NEW}, id="a-finish-with-processing-synced"),
        pytest.param(finished(TOGETHER, PROCESSING, COMPLETED), {ENDED: NEW}, id="a-finish-with-both-synced"),
    ],
)
def test_what_btrfs_left_is_among_what_the_model_may_leave(s: State, seen: dict[Name, int]) -> None:
    assert tuple(sorted(seen.items())) in views(s, TOGETHER)


@pytest.mark.parametrize("kind", [ORDERED, TOGETHER])
def test_a_synced_source_brings_the_new_name_along(kind: str) -> None:
    assert views(claimed(kind, PENDING), kind) == {((RUNS, OLD),)}


def test_by_the_letter_of_fsync_it_does_not() -> None:
    assert () in views(claimed(APART, PENDING), APART)


@pytest.mark.parametrize("kind", [ORDERED, TOGETHER, APART])
def test_a_rename_that_nobody_synced_loses_no_file(kind: str) -> None:
    assert all(views(s, kind) and () not in views(s, kind) for s in (claimed(kind), finished(kind)))
