from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl import ids, names

MOST = 2**80 - 1


@given(st.integers(0, MOST), st.integers(0, MOST))
def test_the_order_of_ids_is_the_order_of_their_numbers(one: int, other: int) -> None:
    assert (ids.spell(one) < ids.spell(other)) == (one < other)


@given(st.integers(0, MOST))
def test_every_number_is_spelt_as_a_valid_id_of_sixteen_characters(number: int) -> None:
    spelt = ids.spell(number)
    assert len(spelt) == 16
    assert names.is_id(spelt)


def test_all_eighty_bits_are_spelt() -> None:
    assert (ids.spell(0), ids.spell(1), ids.spell(MOST)) == ("2" * 16, "2" * 15 + "3", "z" * 16)


def test_the_ids_of_a_batch_are_different_and_rise() -> None:
    batch = ids.batch(10_000)
    assert batch == sorted(set(batch))


def test_a_batch_may_be_empty() -> None:
    assert ids.batch(0) == []


def test_eight_characters_tell_ten_thousand_jobs_apart() -> None:
    assert len({id[:8] for id in ids.batch(10_000)}) == 10_000


def test_the_ids_of_one_instant_rise() -> None:
    source = ids.IdSource()
    made = [source.new(1) for _ in range(100)]
    assert made == sorted(set(made))


def test_eight_characters_tell_the_ids_of_one_instant_apart() -> None:
    source = ids.IdSource()
    assert len({source.new(1)[:8] for _ in range(100)}) == 100


def test_the_ids_of_an_instant_rise_though_the_first_is_among_the_last_that_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = ids.IdSource()
    with monkeypatch.context() as patch:
        patch.setattr(os, "urandom", lambda size: b"\xff" * 4 + b"\0" * (size - 4))
        made = [source.new(1)]
    made += [source.new(1) for _ in range(100)]
    assert made == sorted(set(made))


def test_an_id_of_another_instant_is_as_random_as_the_first() -> None:
    source = ids.IdSource()
    made = [source.new(instant) for instant in range(100)]
    assert made != sorted(made)


def test_two_sources_give_different_ids() -> None:
    assert ids.IdSource().new(1) != ids.IdSource().new(1)
