from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl import clock, names
from queuectl.names import EndedName, RunningName, WaitingName

STAMP = "20261122T101500123Z"
LAST = 253402300799999
HEAD = string.ascii_letters + string.digits

stamps = st.integers(0, LAST).map(clock.stamp)
ids = st.builds(lambda head, rest: head + rest, st.sampled_from(HEAD), st.text(HEAD + "._-", max_size=99))
exits = st.one_of(
    st.integers(0, 255).map(str),
    st.integers(1, 64).map("sig{}".format),
    st.sampled_from(["timeout", "lost", "cancelled", "nostart"]),
)


@given(stamps, st.integers(0, 9), ids)
def test_a_waiting_name_reads_back_as_it_was_made(due: str, priority: int, id: str) -> None:
    assert names.waiting(str(WaitingName(due, priority, id))) == (due, priority, id)


@given(stamps, st.integers(0, 999_999_999), ids)
def test_a_running_name_reads_back_as_it_was_made(started: str, rev: int, id: str) -> None:
    assert names.running(str(RunningName(started, rev, id))) == (started, rev, id)


@given(stamps, exits, ids)
def test_an_ended_name_reads_back_as_it_was_made(ended: str, how: str, id: str) -> None:
    assert names.ended(str(EndedName(ended, how, id))) == (ended, how, id)


@given(stamps, exits, ids)
def test_the_id_is_found_in_a_name_without_reading_the_rest(ended: str, how: str, id: str) -> None:
    assert names.id_part(str(EndedName(ended, how, id))) == id


@given(st.integers(0, LAST), st.integers(0, LAST), ids, ids)
def test_the_order_of_waiting_names_is_the_order_of_their_due_times(one: int, other: int, a: str, b: str) -> None:
    first, second = WaitingName(clock.stamp(one), 5, a), WaitingName(clock.stamp(other), 5, b)
    assert one == other or (str(first) < str(second)) == (one < other)


OURS = f"{STAMP}.5.abcdefghij234567.json"


@given(st.lists(st.tuples(stamps, st.integers(0, 9), st.text(HEAD, min_size=16, max_size=16)), min_size=1))
def test_names_of_our_own_making_are_known_all_at_once(parts: list[tuple[str, int, str]]) -> None:
    assert names.are_ours([str(WaitingName(*part)) for part in parts])


@given(st.integers(0, len(OURS) - 1), st.characters())
def test_one_name_that_is_not_canonical_is_not_ours_among_others(at: int, character: str) -> None:
    changed = OURS[:at] + character + OURS[at + 1 :]
    assert not names.are_ours([OURS, changed, OURS]) or names.is_waiting(changed)


@given(st.text(string.digits, min_size=17, max_size=17))
def test_a_time_that_no_clock_shows_is_not_ours(digits: str) -> None:
    name = f"{digits[:8]}T{digits[8:]}Z.5.abcdefghij234567.json"
    assert names.are_ours([name]) == (names.is_waiting(name) is not None)


@pytest.mark.parametrize("others", [[], ["a\nb"], [OURS + "x"], [OURS[:-1]], ["\udcff" * 43]])
def test_names_of_another_length_are_not_ours(others: list[str]) -> None:
    assert not names.are_ours(others)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "job.json",
        f"{STAMP}.5.a",
        f"{STAMP}.5.a.jso",
        f"{STAMP}.5.a.json ",
        f"{STAMP}.5.a.json\n",
        f" {STAMP}.5.a.json",
        f"{STAMP}.5..json",
        f"{STAMP}.5.-a.json",
        f"{STAMP}.5..a.json",
        f"{STAMP}.5.{'a' * 101}.json",
        f"{STAMP}.5.a/b.json",
        f"{STAMP}.5.ä.json",
        f"{STAMP}.x.a.json",
        f"{STAMP}..a.json",
        f"{STAMP}.-1.a.json",
        f"{STAMP}.٣.a.json",
        f"{STAMP[:-1]}.5.a.json",
        "20261322T101500123Z.5.a.json",
        "20261100T101500123Z.5.a.json",
        "20261132T101500123Z.5.a.json",
        "20261122T241500123Z.5.a.json",
        "20261122T106000123Z.5.a.json",
        "20261122T101560123Z.5.a.json",
        "20261122t101500123z.5.a.json",
        "２０２６1122T101500123Z.5.a.json",
    ],
)
def test_a_name_that_is_not_canonical_is_read_as_none(name: str) -> None:
    assert (names.waiting(name), names.running(name), names.ended(name)) == (None, None, None)


@pytest.mark.parametrize("part", ["10", "55"])
def test_a_waiting_name_has_a_priority_of_one_digit(part: str) -> None:
    assert names.waiting(f"{STAMP}.{part}.a.json") is None


def test_a_running_name_has_a_revision_of_at_most_nine_digits() -> None:
    assert names.running(f"{STAMP}.1234567890.a.json") is None


@pytest.mark.parametrize("how", ["1000", "sig", "sig100", "sigKILL", "stopped", "Timeout"])
def test_an_ended_name_takes_no_other_word_for_the_exit(how: str) -> None:
    assert names.ended(f"{STAMP}.{how}.a.json") is None


@pytest.mark.parametrize("id", ["a", "0", "A" * 100, "a.b", "x.json", "a-b_c.d", "3f9a"])
def test_an_id_may_hold_letters_digits_and_inner_marks(id: str) -> None:
    assert names.is_id(id)


@pytest.mark.parametrize("id", ["", ".", "..", ".a", "-a", "_a", "a/b", "a b", "a\n", "a\0", "é", "A" * 101, "a*"])
def test_an_id_may_not_be_hidden_or_hold_anything_else(id: str) -> None:
    assert not names.is_id(id)


@pytest.mark.parametrize(("name", "asks"), [("a.json", True), (".a.json", False), ("a.jsonl", False), ("json", False)])
def test_a_drop_ends_in_json_and_is_not_hidden(name: str, asks: bool) -> None:
    assert names.is_drop(name) is asks


@given(st.binary(min_size=1, max_size=255).filter(lambda raw: b"/" not in raw and b"\0" not in raw))
def test_a_rejected_name_leaves_room_for_its_reason_in_255_bytes(raw: bytes) -> None:
    name = names.rejected(STAMP, 4_194_304, raw.decode("utf-8", "surrogateescape"))
    assert len((name + ".why").encode("utf-8", "surrogateescape")) <= 255


@given(st.binary(min_size=1, max_size=180).filter(lambda raw: b"/" not in raw and b"\0" not in raw))
def test_a_rejected_name_keeps_the_bytes_of_the_original_name(raw: bytes) -> None:
    name = names.rejected(STAMP, 7, raw.decode("utf-8", "surrogateescape"))
    assert name.encode("utf-8", "surrogateescape") == f"{STAMP}.7.".encode() + raw


PLAIN = [f"20261122T101500{n:03d}Z.5.abcdefgh2345{n:04d}.json" for n in range(300)]


def test_names_of_our_own_making_are_alike_and_share_their_priority() -> None:
    assert (names.are_alike(PLAIN), names.common_priority(PLAIN)) == (True, "5")


def test_no_names_are_not_alike() -> None:
    assert (names.are_alike([]), names.common_priority([])) == (False, "")


def test_names_of_two_priorities_are_alike_and_share_none() -> None:
    mixed = [*PLAIN, PLAIN[0].replace(".5.", ".7.")]
    assert (names.are_alike(mixed), names.common_priority(mixed)) == (True, "")


@pytest.mark.parametrize(
    "odd",
    [
        "20261122T101500000Z.5.short.json",
        "x" * 43,
        "20261122T1015000000.5.abcdefgh23450000.json",
        "20261122T101500000Z-5.abcdefgh23450000.json",
        "20261122T101500000Z.5-abcdefgh23450000.json",
        "20261122T101500000Z.5.abcdefgh2345\n000.json",
        "",
    ],
)
@pytest.mark.parametrize("place", [0, 150, 300])
def test_one_odd_name_among_hundreds_is_seen(odd: str, place: int) -> None:
    some = [*PLAIN[:place], odd, *PLAIN[place:]]
    assert (names.are_alike(some), names.common_priority(some)) == (False, "")


def test_two_odd_names_that_make_up_for_each_others_length_are_seen() -> None:
    assert not names.are_alike([*PLAIN, PLAIN[0] + "x", PLAIN[1][:-1]])
