from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from helpers import wait_until

from queuectl import clock, scan
from queuectl.disk import Directory
from queuectl.job import Job
from queuectl.scan import look
from queuectl.spool import Spool

NOW = clock.now()  # before all that the tests put into their spools


def put(spool: Spool, id: str, due: int = NOW, state: str = "pending", **fields: int) -> None:
    spool.submit([Job(command="true", id=id, due_at=clock.iso(due), **fields)], now=NOW, durable=False)
    if state != "pending":
        name = next(name for name in os.listdir(spool.path / "pending") if name.endswith(f".{id}.json"))
        os.rename(spool.path / "pending" / name, spool.path / state / name)


def drop(spool: Spool, name: str) -> None:
    (spool.path / "pending" / name).write_bytes(b'{"command": "true"}')


def ids(seen: scan.Look) -> list[str]:
    return [candidate.name.split(".", 2)[2].removesuffix(".json") for candidate in seen.candidates]


def test_an_empty_spool_has_nothing_to_do(spool: Spool) -> None:
    assert look(spool, NOW, 10) == scan.Look([], [], None)


def test_ready_jobs_come_by_priority_and_then_by_due_time_from_both_directories(spool: Spool) -> None:
    put(spool, "late", NOW - 1)
    put(spool, "early", NOW - 3)
    put(spool, "retry", NOW - 2, "failed")
    put(spool, "urgent", NOW, priority=9)
    put(spool, "idle", NOW - 9, "failed", priority=0)
    assert ids(look(spool, NOW, 10)) == ["urgent", "early", "retry", "late", "idle"]


def test_no_more_than_the_limit_are_kept(spool: Spool) -> None:
    for number in range(20):
        put(spool, f"a{number:02}", NOW - 100 + number)
    assert ids(look(spool, NOW, 3)) == ["a00", "a01", "a02"]


def test_a_job_is_ready_at_the_instant_at_which_it_is_due_and_not_before(spool: Spool) -> None:
    put(spool, "a", NOW)
    assert (ids(look(spool, NOW - 1, 10)), ids(look(spool, NOW, 10))) == ([], ["a"])


@pytest.mark.parametrize("state", ["pending", "failed"])
def test_the_instant_at_which_the_next_job_is_due_is_told(spool: Spool, state: str) -> None:
    put(spool, "later", NOW + 9000, state)
    put(spool, "soon", NOW + 1000, state)
    put(spool, "other", NOW + 5000)
    put(spool, "now", NOW - 1)
    assert look(spool, NOW, 10).soonest == NOW + 1000


def test_what_is_not_canonical_in_pending_is_a_drop_if_it_ends_in_json(spool: Spool) -> None:
    for name in ("a.json", "ä b.json", ".hidden.json", "a.txt", "a.json.part", "\udcff.json"):
        drop(spool, name)
    assert sorted(look(spool, NOW, 10).drops) == sorted(["a.json", "ä b.json", "\udcff.json"])


def test_what_is_not_canonical_in_failed_is_nobodys(spool: Spool) -> None:
    (spool.path / "failed" / "a.json").write_bytes(b'{"command": "true"}')
    assert look(spool, NOW, 10) == scan.Look([], [], None)


@pytest.mark.parametrize("beside", [(), (NOW + 1000,), (NOW - 1000,), (NOW - 1000, NOW + 1000)])
@pytest.mark.parametrize(
    "name",
    [
        "abcdefghijklmnopqrZ.5.json",
        "20261322T101500123Z.5.a.json",
        "99999999T999999999Z.5.a.json",
        "00000000T000000000Z.5.a.json",
        "20261122T101500123Z.٣.a.json",
        "20261122T101500123Z.5.-a.json",
        "20261122T101500123Z.55.json",
        "90001122T101500123Z.5..json",
        "~~~~~~~~~~~~~~~~~~Z.0~.json",
    ],
)
def test_a_drop_whose_name_looks_like_a_jobs_is_seen_whatever_is_beside_it(
    spool: Spool, name: str, beside: tuple[int, ...]
) -> None:
    for number, due in enumerate(beside):
        put(spool, f"job{number}", due)
    drop(spool, name)
    assert look(spool, NOW, 10).drops == [name]


def test_a_name_that_only_looks_like_a_retry_is_no_candidate(spool: Spool) -> None:
    (spool.path / "failed" / "20261322T101500123Z.5.a.json").write_bytes(b'{"command": "true"}')
    assert look(spool, NOW, 10).candidates == []


def test_more_names_than_one_chunk_are_all_seen(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "CHUNK", 7)
    for number in range(30):
        put(spool, f"a{number:02}", NOW - 100 + number)
        drop(spool, f"{number:02}.json")
    seen = look(spool, NOW, 100)
    assert (len(seen.candidates), len(seen.drops)) == (30, 30)
    assert ids(seen) == sorted(ids(seen))


Reading = Callable[[list[str]], list[str]]


def readings(spool: Spool, monkeypatch: pytest.MonkeyPatch, *steps: Reading) -> None:
    """Let pending/ be read step by step: each is given the names that are there and says which of them are seen."""
    whole, left = Directory.chunks, list(steps)

    def chunks(directory: Directory, size: int) -> Iterator[list[str]]:
        found = [name for chunk in whole(directory, size) for name in chunk]
        yield left.pop(0)(found) if directory.path.endswith("pending") else found

    monkeypatch.setattr(Directory, "chunks", chunks)


def now_there(spool: Spool, *wanted: str) -> list[str]:
    return [name for name in os.listdir(spool.path / "pending") if name.split(".")[-2] in wanted]


def test_a_job_that_comes_during_a_scan_does_not_overtake_those_that_came_before_it(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first(_: list[str]) -> list[str]:
        for id in "abc":
            put(spool, id)
        return now_there(spool, "b")

    def second(_: list[str]) -> list[str]:
        for id in "de":
            put(spool, id)
        return now_there(spool, "a", "b", "c", "e")

    readings(spool, monkeypatch, first, second)
    assert ids(look(spool, NOW, 10)) == ["a", "b"]


def test_a_directory_is_read_once_when_nothing_that_was_seen_came_meanwhile(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for id in "abc":
        put(spool, id)
    wait_until(lambda: not scan._has_come(spool, look(spool, NOW, 10), 1_000_000 * clock.now() - scan.TICK_NS, ()))

    def only(found: list[str]) -> list[str]:
        os.rename(spool.path / "pending" / found[0], spool.path / "processing" / found[0])
        put(spool, "unseen", 0)
        return found

    readings(spool, monkeypatch, only)  # a second one would fail
    assert ids(look(spool, clock.now(), 10)) == ["a", "b", "c"]


def test_names_that_an_earlier_look_has_seen_are_not_taken_for_new(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for id in "abc":
        put(spool, id)
    known = {found.name for found in look(spool, NOW, 10).candidates}

    def only(found: list[str]) -> list[str]:
        put(spool, "unseen", 0)
        return found

    readings(spool, monkeypatch, only)  # a second one would fail
    assert ids(look(spool, NOW, 10, known=known)) == ["a", "b", "c"]


def test_nothing_is_held_back_when_all_that_was_seen_before_has_been_taken(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(spool, "taken")

    def first(found: list[str]) -> list[str]:
        put(spool, "a")
        return found

    def second(_: list[str]) -> list[str]:
        (name,) = now_there(spool, "taken")
        os.rename(spool.path / "pending" / name, spool.path / "processing" / name)
        return now_there(spool, "a")

    readings(spool, monkeypatch, first, second)
    assert ids(look(spool, NOW, 10)) == ["a"]


def test_drops_that_came_during_a_scan_are_told_from_those_before(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(spool, "before.json")

    def first(found: list[str]) -> list[str]:
        drop(spool, "late.json")
        return found

    def second(found: list[str]) -> list[str]:
        drop(spool, "unseen.json")
        return found

    readings(spool, monkeypatch, first, second)
    seen = look(spool, NOW, 10)
    assert (sorted(seen.drops), seen.late) == (["before.json", "late.json"], {"late.json"})
