from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl import clock, schedule
from queuectl.names import WaitingName

waiting = st.builds(
    WaitingName, st.integers(0, 10**13).map(clock.stamp), st.integers(0, 9), st.text("abc123", min_size=1, max_size=8)
)


def in_order(*names: WaitingName) -> list[str]:
    found = schedule.first([schedule.candidate("pending", str(name)) for name in names], len(names))
    return [candidate.name for candidate in found]


def test_the_higher_priority_comes_first_however_long_the_other_has_waited() -> None:
    low, high = WaitingName(clock.stamp(1), 4, "a"), WaitingName(clock.stamp(2), 5, "b")
    assert in_order(low, high) == [str(high), str(low)]


def test_within_a_priority_the_longer_wait_comes_first() -> None:
    late, early = WaitingName(clock.stamp(2), 5, "a"), WaitingName(clock.stamp(1), 5, "b")
    assert in_order(late, early) == [str(early), str(late)]


def test_a_retry_and_a_new_job_stand_in_one_line() -> None:
    retried = schedule.candidate("failed", str(WaitingName(clock.stamp(1), 5, "b")))
    new = schedule.candidate("pending", str(WaitingName(clock.stamp(2), 5, "a")))
    assert schedule.first([new, retried], 2) == [retried, new]


@given(st.lists(waiting, unique_by=str, max_size=30), st.integers(0, 30))
def test_the_first_few_are_those_that_a_full_sort_puts_first(names: list[WaitingName], limit: int) -> None:
    candidates = [schedule.candidate("pending", str(name)) for name in names]
    ordered = sorted(names, key=lambda name: (-name.priority, str(name)))
    found = schedule.first(iter(candidates), limit)
    assert [candidate.name for candidate in found] == [str(name) for name in ordered[:limit]]


@given(st.lists(st.lists(waiting, max_size=20), max_size=6), st.integers(1, 12))
def test_a_shortlist_keeps_the_first_few_of_all_that_it_was_given(parts: list[list[WaitingName]], limit: int) -> None:
    shortlist = schedule.Shortlist(limit)
    for part in parts:
        shortlist.add([str(name) for name in part])
    ordered = sorted((name for part in parts for name in part), key=lambda name: (-name.priority, str(name)))
    assert shortlist.names() == [str(name) for name in ordered[:limit]]


@given(st.lists(st.lists(waiting, max_size=20), max_size=6), st.integers(1, 3))
def test_a_shortlist_keeps_all_when_they_are_few(parts: list[list[WaitingName]], limit: int) -> None:
    most = 4 * limit + 9
    shortlist = schedule.Shortlist(limit, most)
    for part in parts:
        shortlist.add([str(name) for name in part])
    ordered = sorted((name for part in parts for name in part), key=lambda name: (-name.priority, str(name)))
    whole = len(ordered) <= most
    assert shortlist.whole == whole
    assert shortlist.names() == [str(name) for name in (ordered if whole else ordered[:limit])]


def test_a_shortlist_of_nothing_is_empty() -> None:
    assert schedule.Shortlist(5).names() == []


def test_a_shortlist_does_not_grow_with_what_it_was_given() -> None:
    shortlist = schedule.Shortlist(10)
    for number in range(10_000):
        shortlist.add([str(WaitingName(clock.stamp(number), number % 10, "a"))])
        assert len(shortlist._kept) <= 41


@pytest.mark.parametrize("seed", range(20))
def test_a_shortlist_takes_names_of_one_priority_as_it_takes_others(seed: int) -> None:
    chance = random.Random(seed)
    chunks = [
        [f"20261122T1015{chance.randrange(10**5):05d}Z.{priority}.{n:04d}.json" for n in range(chance.randrange(40))]
        for priority in chance.choices("0123456789", k=12)
    ]
    alike, ordinary = schedule.Shortlist(7), schedule.Shortlist(7)
    for chunk in chunks:
        if chunk:
            alike.add_alike(chunk, chunk[0][20])
        ordinary.add(chunk)
    assert alike.names() == ordinary.names()
