from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl import clock
from queuectl.errors import UsageError

LAST = 253402300799999
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
instants = st.integers(0, LAST)


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The local zone is one hour ahead of UTC in winter and two in summer, without help from a zone database."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        yield
    time.tzset()


@given(instants)
def test_a_stamp_reads_back_as_the_instant_it_spells(instant: int) -> None:
    assert clock.unstamp(clock.stamp(instant)) == instant


@given(instants)
def test_an_iso_string_reads_back_as_the_instant_it_spells(instant: int) -> None:
    assert clock.uniso(clock.iso(instant)) == instant


@given(instants)
def test_a_stamp_spells_what_the_calendar_says(instant: int) -> None:
    when = EPOCH + timedelta(milliseconds=instant)
    assert clock.stamp(instant) == f"{when:%Y%m%dT%H%M%S}{when.microsecond // 1000:03d}Z".rjust(19, "0")


@given(instants, instants)
def test_the_order_of_stamps_is_the_order_of_time(one: int, other: int) -> None:
    assert (clock.stamp(one) < clock.stamp(other)) == (one < other)


@given(instants)
def test_stamps_and_iso_strings_turn_into_each_other(instant: int) -> None:
    stamp, iso = clock.stamp(instant), clock.iso(instant)
    assert (clock.stamp_to_iso(stamp), clock.iso_to_stamp(iso)) == (iso, stamp)


@given(st.integers(-(10**18), 10**18))
def test_every_instant_has_a_stamp_of_nineteen_characters(instant: int) -> None:
    assert len(clock.stamp(instant)) == 19


@pytest.mark.parametrize(
    ("instant", "stamp"), [(-1, "19700101T000000000Z"), (LAST + 1, "99991231T235959999Z"), (0, "19700101T000000000Z")]
)
def test_an_instant_out_of_range_is_spelt_as_the_nearest_that_can_be(instant: int, stamp: str) -> None:
    assert clock.stamp(instant) == stamp


@pytest.mark.parametrize(
    "text",
    [
        "2026-13-01T00:00:00.000Z",
        "2026-00-01T00:00:00.000Z",
        "2026-01-32T00:00:00.000Z",
        "2026-01-01T24:00:00.001Z",
        "2026-01-01T00:60:00.000Z",
        "2026-01-01T00:00:61.000Z",
        "2026-+1-01T 1:+1:01.0_0Z",
        "２０２６-01-01T00:00:00.000Z",
        "xxxx-xx-xxTxx:xx:xx.xxxZ",
        "",
    ],
)
def test_nonsense_in_the_shape_of_an_iso_string_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time"):
        clock.uniso(text)


@pytest.mark.parametrize("text", ["+2h", "2026-11-22T10:15:00+02:00", "2026-11-22T10:15Z"])
def test_an_instant_in_a_job_file_does_not_depend_on_when_it_is_read(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    once = clock.uniso(text)
    later = clock.now() + 60_000
    monkeypatch.setattr(clock, "now", lambda: later)
    assert clock.uniso(text) == once


def test_sleeping_takes_at_least_its_time() -> None:
    before = clock.monotonic()
    clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.01


def test_a_clock_that_goes_on_never_goes_back() -> None:
    readings = [clock.monotonic() for _ in range(100)]
    assert readings == sorted(readings)


def test_now_is_the_machines_time_in_milliseconds() -> None:
    before = time.time()
    assert before * 1000 - 1 <= clock.now() <= time.time() * 1000 + 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        ("90s", 90),
        ("1.5h", 5400),
        ("2h30m", 9000),
        ("7d", 604_800),
        ("1w2d", 777_600),
        ("250ms", 0.25),
        ("1m500ms", 60.5),
        (" 5s ", 5),
        (90, 90),
        (0.5, 0.5),
    ],
)
def test_a_duration_is_read_in_every_spelling(text: str | float, seconds: float) -> None:
    assert clock.parse_duration(text) == seconds


@given(st.floats(0, clock.MAX_DURATION_S))
def test_any_number_of_seconds_is_a_duration_however_small(seconds: float) -> None:
    assert clock.parse_duration(seconds) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "s", "1x", "-1", "-1s", "+5", "1h 30m", "1,5h", "1e3", "nan", "inf", "1.", ".5", "5 s", "0x10"),
        *("٣", "１", "1S", True, -1, -0.5, math.nan, -math.inf, None),
    ],
)
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(UsageError, match="is not a duration"):
        clock.parse_duration(text)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["101000d", "9" * 400, 1e300, math.inf, "36501d"])
def test_a_duration_of_more_than_a_hundred_years_is_refused(text: str | float) -> None:
    with pytest.raises(UsageError, match="longer than a hundred years"):
        clock.parse_duration(text)


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2026-11-22T10:15:00Z", "2026-11-22T10:15:00.000Z"),
        ("2026-11-22T10:15:00.1234Z", "2026-11-22T10:15:00.123Z"),
        ("2026-11-22T10:15:00+02:00", "2026-11-22T08:15:00.000Z"),
        ("2026-11-22 10:15-0330", "2026-11-22T13:45:00.000Z"),
        ("20261122T101500Z", "2026-11-22T10:15:00.000Z"),
        (" 2026-11-22T10:15:00Z ", "2026-11-22T10:15:00.000Z"),
    ],
)
def test_a_time_with_a_zone_means_the_same_everywhere(berlin: None, text: str, iso: str) -> None:
    assert clock.iso(clock.parse_time(text, 0)) == iso


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2026-01-22T10:15:00", "2026-01-22T09:15:00.000Z"),
        ("2026-07-22T10:15", "2026-07-22T08:15:00.000Z"),
        ("2026-01-22", "2026-01-21T23:00:00.000Z"),
    ],
)
def test_a_time_without_a_zone_is_local(berlin: None, text: str, iso: str) -> None:
    assert clock.iso(clock.parse_time(text, 0)) == iso


@pytest.mark.parametrize(("text", "later"), [("+2h", 7_200_000), ("+90", 90_000), ("+ 1.5s", 1500), ("+0", 0)])
def test_a_time_with_a_plus_counts_from_the_base(text: str, later: int) -> None:
    assert clock.parse_time(text, 1_000_000) == 1_000_000 + later


@pytest.mark.parametrize("text", ["", "tomorrow", "10:15", "2026-02-30", "2026-1-1", "1700000000", "2026-11-22T25:00Z"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time"):
        clock.parse_time(text, 0)


@pytest.mark.parametrize("text", ["1969-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.9999Z"])
def test_a_time_that_no_name_can_spell_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="out of range"):
        clock.parse_time(text, 0)


def test_an_instant_is_shown_to_people_in_the_local_zone(berlin: None) -> None:
    assert clock.local(clock.parse_time("2026-11-22T10:15:00Z", 0)) == "2026-11-22 11:15:00"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.02, "0.02 s"),
        (0.5, "0.5 s"),
        (8, "8 s"),
        (9.996, "10 s"),
        (59.4, "59 s"),
        (60, "1 m"),
        (150, "2 m 30 s"),
        (3600, "1 h"),
        (11_100, "3 h 5 m"),
        (187_200, "2 d 4 h"),
        (86_400, "1 d"),
    ],
)
def test_a_duration_is_shown_to_people_in_two_units_at_most(seconds: float, text: str) -> None:
    assert clock.brief(seconds) == text
