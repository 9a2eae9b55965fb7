"""Drops by other tools, in one process; the clock is an argument."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from helpers import wait_until

from queuectl import admission, clock, disk, job, names
from queuectl.admission import Admission, Report
from queuectl.job import Job
from queuectl.queue import Queue
from queuectl.spool import Spool


@pytest.fixture
def admit(spool: Spool) -> Any:
    """Look at all drops at once, or at some, `later` milliseconds from now."""
    gate = Admission(spool, limit=1000)

    def admit_all(*drops: str, later: int = 0) -> Report:
        wanted = drops or tuple(name for name in os.listdir(spool.path / "pending") if names.waiting(name) is None)
        return gate.admit(wanted, clock.now() + later)

    return admit_all


def drop(spool: Spool, name: str, data: bytes | str = '{"command": "true"}') -> Path:
    path = spool.path / "pending" / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def commands(spool: Spool) -> list[Any]:
    """Return the commands that wait, in the order in which they will run."""
    return [job.parse(path.read_bytes()).command for path in sorted((spool.path / "pending").iterdir())]


def test_a_drop_becomes_a_job_that_is_due_since_it_came(spool: Spool, admit: Any) -> None:
    status = drop(spool, "any name.json").stat()
    (name,) = admit().admitted
    found = names.waiting(name)
    assert found is not None
    assert (found.due, found.priority) == (clock.stamp(status.st_ctime_ns // 1_000_000), 5)


def test_a_drop_may_ask_for_its_id_priority_and_time(spool: Spool, admit: Any) -> None:
    drop(spool, "a.json", '{"command": "x", "id": "mine", "priority": "high", "run_at": "2026-11-22T10:15:00Z"}')
    assert admit().admitted == ["20261122T101500000Z.9.mine.json"]


def test_late_drops_wait_for_the_next_look_unless_another_came_after_them(spool: Spool) -> None:
    gate = Admission(spool, limit=1000)
    for name in ("sure.json", "between.json", "last.json"):
        draft = spool.path / name
        draft.write_text(json.dumps({"command": name, "id": name.removesuffix(".json")}))
        wait_until(lambda: ticked(spool), what="a tick of the file system's clock")
        os.rename(draft, spool.path / "pending" / name)
    drops = ("last.json", "sure.json", "between.json")
    late = frozenset({"sure.json", "last.json"})
    admitted = gate.admit(drops, clock.now(), late).admitted
    assert [names.id_part(name) for name in admitted] == ["sure", "between"]


def ticked(spool: Spool) -> bool:
    """Say whether a change made now has a later time than the last one in pending/."""
    probe = spool.path / "tick"
    probe.touch()
    newest = max((entry.stat().st_ctime_ns for entry in os.scandir(spool.path / "pending")), default=0)
    return probe.stat().st_ctime_ns > newest


def test_a_relative_time_counts_from_the_arrival(spool: Spool, admit: Any) -> None:
    status = drop(spool, "a.json", '{"command": "x", "id": "mine", "run_at": "+1h"}').stat()
    due = clock.stamp(status.st_ctime_ns // 1_000_000 + 3_600_000)
    assert admit(later=5000).admitted == [f"{due}.5.mine.json"]


def test_a_drop_from_the_future_is_due_now(spool: Spool, admit: Any) -> None:
    drop(spool, "a.json")
    now = clock.now() - 60_000
    (name,) = admit(later=-60_000).admitted
    assert clock.unstamp(name) - now < 30_000


def test_drops_run_in_the_order_in_which_they_came(spool: Spool, admit: Any) -> None:
    for number in range(300):
        draft = spool.path / "tmp" / "draft"
        draft.write_text(f'{{"command": "echo {number:03}"}}')
        os.rename(draft, spool.path / "pending" / f"{999 - number}.json")
    assert len(admit().admitted) == 300
    assert commands(spool) == [f"echo {number:03}" for number in range(300)]


def test_many_drops_need_few_descriptors(spool: Spool, admit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    admit("gone.json")
    for number in range(600):
        drop(spool, f"{number}.json")
    most = [0]
    lock = disk.Directory.lock

    def count(self: disk.Directory, name: str) -> int | disk.Miss:
        found = lock(self, name)
        most[0] = max(most[0], len(os.listdir("/dev/fd")))
        return found

    monkeypatch.setattr(disk.Directory, "lock", count)
    before = len(os.listdir("/dev/fd"))
    assert len(admit().admitted) == 600
    assert most[0] <= before + 270
    assert len(os.listdir("/dev/fd")) <= before  # others may have been given back meanwhile


def test_of_two_drops_that_ask_for_one_id_the_first_gets_it(spool: Spool, admit: Any) -> None:
    drop(spool, "b.json", '{"command": "first", "id": "mine"}')
    while not drop(spool, "a.json", '{"command": "second", "id": "mine"}').stat().st_ctime_ns > (
        (spool.path / "pending" / "b.json").stat().st_ctime_ns
    ):
        pass
    report = admit()
    assert commands(spool) == ["first"]
    assert report.rejected == [("a.json", "id 'mine' is already taken (pending)")]


@pytest.mark.parametrize("how", ["drop", "enqueue"])
def test_an_id_that_is_asked_for_is_settled_under_the_lock_of_the_ids(
    spool: Spool, queue: Queue, admit: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    locked, taken = [], Spool.taken

    def watched(self: Spool, wanted: Any) -> dict[str, str]:
        fd = spool.open_lock()
        locked.append(not disk.flock(fd))
        os.close(fd)
        return taken(self, wanted)

    monkeypatch.setattr(Spool, "taken", watched)
    if how == "drop":
        drop(spool, "a.json", '{"command": "true", "id": "mine"}')
        admit()
    else:
        queue.enqueue("true", id="mine")
    assert locked == [True]


@pytest.mark.parametrize("state", ["pending", "completed"])
def test_an_id_that_a_job_has_is_refused_with_where_that_job_is(spool: Spool, admit: Any, state: str) -> None:
    name = "20261122T101500000Z.0.mine.json"
    (spool.path / state / name).write_bytes(job.encode(Job(command="true", id="mine")))
    drop(spool, "a.json", '{"command": "second", "id": "mine"}')
    assert admit().rejected == [("a.json", f"id 'mine' is already taken ({state})")]


def test_half_a_job_is_left_alone_while_it_is_young(spool: Spool, admit: Any) -> None:
    path = drop(spool, "a.json", '{"command": "tr')
    report = admit()
    assert (report.admitted, report.rejected, path.exists()) == ([], [], True)
    assert report.again_at is not None


def test_half_a_job_is_rejected_when_nothing_has_come_for_long(spool: Spool, admit: Any) -> None:
    drop(spool, "a.json", '{"command": "tr')
    ((name, why),) = admit(later=admission.YOUNG_MS + 1000).rejected
    assert (name, why.startswith("not JSON")) == ("a.json", True)


def test_what_can_never_become_a_job_is_rejected_at_once(spool: Spool, admit: Any) -> None:
    drop(spool, "a.json", '{"comand": "true"}')
    assert admit().rejected == [("a.json", "unknown key 'comand', did you mean 'command'?")]


@pytest.mark.parametrize(
    "data",
    [
        '{"command": "x", "run_at": "2026-13-45T25:61:61.000Z"}',
        '{"command": "x", "run_at": "2026-02-31T10:15:00.000Z"}',
        '{"command": "x", "command": "y"}',
        '{"command": "x", "meta": {"a": 1, "a": 2}}',
        '{"command": "x", "meta": {"x": "' + "y" * 1000 + '"}}',
        '{"command": "x", "id": ".."}',
        b'{"command": "x", "meta": {"a": ' + b"[" * 900 + b"]" * 900 + b"}}",
        "[" * 1000,
        "12",
    ],
)
def test_nothing_that_is_dropped_raises_an_error(spool: Spool, admit: Any, data: str | bytes) -> None:
    drop(spool, "bad.json", data)
    drop(spool, "good.json")
    report = admit(later=admission.YOUNG_MS + 1000)
    assert (len(report.admitted), [name for name, _ in report.rejected]) == (1, ["bad.json"])


@pytest.mark.parametrize("data", ["[]", '{"command": "true", "id": "taken"}'], ids=["no job", "no free id"])
def test_a_job_that_is_moved_over_a_bad_file_is_not_rejected_in_its_place(
    spool: Spool, admit: Any, queue: Queue, monkeypatch: pytest.MonkeyPatch, data: str
) -> None:
    queue.enqueue("true", id="taken")
    name = "a.json"
    drop(spool, name, data)
    write_new = disk.Directory.write_new

    def move_and_write(self: disk.Directory, *args: Any, **kwargs: Any) -> None:
        good = spool.path / "tmp" / "good.json"
        good.write_text('{"command": "good"}')
        os.rename(good, spool.path / "pending" / name)
        write_new(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(disk.Directory, "write_new", move_and_write)
        assert admit(name) == Report()
    assert os.listdir(spool.path / "rejected") == []
    assert len(admit(name).admitted) == 1
    assert commands(spool) == ["true", "good"]


def test_a_drop_that_is_too_large_is_rejected_with_the_limit(spool: Spool, admit: Any) -> None:
    drop(spool, "a.json", '{"command": "x", "meta": {"x": "' + "y" * 1000 + '"}}')
    assert admit().rejected == [("a.json", "larger than max_job_bytes (1000 bytes)")]


def test_a_drop_that_somebody_holds_is_looked_at_again(spool: Spool, admit: Any) -> None:
    fd = os.open(drop(spool, "a.json"), os.O_RDONLY)
    assert disk.flock(fd)
    report = admit()
    assert (report.admitted, report.rejected, report.again_at is not None) == ([], [], True)
    os.close(fd)
    assert len(admit().admitted) == 1


def test_a_drop_that_has_gone_is_no_drop(admit: Any) -> None:
    assert admit("gone.json") == Report()


def test_a_directory_is_left_and_told_of(spool: Spool, admit: Any) -> None:
    (spool.path / "pending" / "folder.json").mkdir()
    ((name, why),) = admit().left
    assert (name, "a directory is no job" in why) == ("pending/folder.json", True)


@pytest.mark.parametrize(("kind", "why"), [("link", "a symbolic link is no job"), ("fifo", "a FIFO is no job")])
def test_what_is_no_file_is_rejected(spool: Spool, admit: Any, kind: str, why: str) -> None:
    path = spool.path / "pending" / "a.json"
    path.symlink_to("/etc/passwd") if kind == "link" else os.mkfifo(path)
    assert admit().rejected == [("a.json", why)]


def test_a_second_name_of_a_file_elsewhere_is_admitted_and_the_other_name_stays(
    queue: Queue, spool: Spool, admit: Any, tmp_path: Path
) -> None:
    (tmp_path / "mine.json").write_text('{"command": "true", "id": "linked"}')
    os.link(tmp_path / "mine.json", spool.path / "pending" / "mine.json")
    admit()
    assert queue.get("linked").command == "true"
    assert (tmp_path / "mine.json").read_text() == '{"command": "true", "id": "linked"}'


@pytest.mark.parametrize("field", ["rev", "attempts"])
def test_a_drop_whose_counters_cannot_go_on_is_rejected(spool: Spool, admit: Any, field: str) -> None:
    drop(spool, "a.json", f'{{"command": "x", "{field}": 999999999}}')
    assert admit().rejected == [("a.json", f"{field} 999999999 leaves no room to count on")]


@pytest.mark.parametrize("field", ["priority", "cwd", "run_at", "state"])
def test_the_reason_for_a_rejection_is_short_whatever_it_quotes(spool: Spool, field: str) -> None:
    drop(spool, "a.json", f'{{"command": "x", "{field}": "{"long" * 10_000}", "{"key" * 10_000}": 1}}')
    ((_, why),) = Admission(spool, limit=100_000).admit(["a.json"], clock.now()).rejected
    (kept,) = (spool.path / "rejected").glob("*.why")
    assert kept.read_text() == f"{why}\n"
    assert len(why) < 300
