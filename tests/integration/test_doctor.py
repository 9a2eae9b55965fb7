from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hand import Hand

from queuectl import clock, job, recovery
from queuectl.doctor import Finding
from queuectl.job import Job
from queuectl.queue import Queue
from queuectl.tree import DIRECTORIES

NOW = 1_800_000_000_000
STAMP = clock.stamp(NOW)


def findings(queue: Queue, *, repair: bool = False) -> list[Finding]:
    """Return what the doctor finds, but for what is to be said of the file system that the tests run on."""
    return [found for found in queue.doctor(repair=repair) if "reboot" not in found.meaning]


def only(queue: Queue, *, repair: bool = False) -> tuple[str, str, bool]:
    """Return where the one thing is that the doctor finds, what it is, and whether it has been repaired."""
    (found,) = findings(queue, repair=repair)
    assert found.remedy
    return os.path.relpath(found.path, queue.path), found.meaning, found.repaired


def write(queue: Queue, name: str, data: bytes | None = None) -> Path:
    path = queue.path / name
    path.write_bytes(job.encode(Job(command="true", id="a", due_at=clock.iso(NOW))) if data is None else data)
    return path


def test_a_new_spool_is_well(queue: Queue) -> None:
    assert findings(queue) == []


def test_a_spool_with_jobs_in_every_state_is_well(queue: Queue, hand: Hand) -> None:
    queue.enqueue("true", id="done")
    hand.run()
    queue.enqueue("false", id="dead", max_retries=0)
    hand.run()
    queue.enqueue("false", id="failed")
    hand.run()
    queue.enqueue("true", id="held")
    claim = hand.claim("held")
    queue.enqueue("true", id="waiting")
    (queue.path / "pending" / "a drop.json").write_bytes(b"{")
    assert findings(queue) == []
    claim.close()


def test_looking_changes_nothing(queue: Queue) -> None:
    write(queue, f"completed/{STAMP}.0.a.json", b"broken")
    write(queue, f"processing/{STAMP}.1.b.json", b"broken")
    write(queue, "cancel/c")
    findings(queue)  # makes the file `lock`, if nobody has yet
    before = sorted(queue.path.rglob("*"))
    assert len(findings(queue)) == 3
    assert sorted(queue.path.rglob("*")) == before


@pytest.mark.parametrize("name", [".", *DIRECTORIES, "queuectl.json"])
def test_what_is_open_to_others_is_named_with_what_closes_it(queue: Queue, name: str) -> None:
    path = queue.path / name
    path.chmod(path.stat().st_mode | 0o020)
    found = findings(queue)
    assert [(one.path, one.remedy) for one in found] == [(str(path), f"chmod go-w {path}")]
    assert "writable by others" in found[0].meaning


def test_what_belongs_to_somebody_else_is_named(queue: Queue) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give a directory away")
    os.chown(queue.path / "pending", 12345, -1)
    where, what, _ = only(queue)
    assert (where, "owned by 12345" in what) == ("pending", True)


def test_a_missing_directory_is_named(queue: Queue) -> None:
    (queue.path / "failed").rmdir()
    assert only(queue) == ("failed", "a directory of the spool is missing", False)


def test_a_missing_directory_is_made_again(queue: Queue) -> None:
    (queue.path / "failed").rmdir()
    assert only(queue, repair=True) == ("failed", "a directory of the spool is missing", True)
    assert (queue.path / "failed").stat().st_mode & 0o777 == 0o700
    assert findings(queue) == []


def test_settings_that_cannot_be_read_are_named(queue: Queue) -> None:
    write(queue, "config.toml", b"max_retry = 3\n").chmod(0o600)
    where, what, _ = only(queue)
    assert (where, what) == ("config.toml", "unknown key 'max_retry', did you mean 'max_retries'?")


@pytest.mark.parametrize(
    "name",
    [f"completed/{STAMP}.0.a.json", f"dead/{STAMP}.7.a.json", f"failed/{STAMP}.5.a.json", f"pending/{STAMP}.5.a.json"],
)
@pytest.mark.parametrize("data", [b"", b"{}", b'{"command": "true"'])
def test_a_job_that_cannot_be_read_is_named(queue: Queue, name: str, data: bytes) -> None:
    write(queue, name, data)
    assert only(queue) == (name, "not readable as a job", False)


def test_a_job_that_cannot_be_read_is_rejected_by_a_repair(queue: Queue) -> None:
    write(queue, f"completed/{STAMP}.0.a.json", b"broken")
    assert only(queue, repair=True) == (f"completed/{STAMP}.0.a.json", "not readable as a job", True)
    kept = [path.read_bytes() for path in (queue.path / "rejected").iterdir() if path.suffix != ".why"]
    assert kept == [b"broken"]
    assert findings(queue) == []


@pytest.mark.parametrize(
    "name", ["completed/a.json", "dead/README", f"failed/{STAMP}.55.a.json", "pending/notes.txt", "processing/core"]
)
def test_a_file_that_nobody_looks_at_is_named_and_left(queue: Queue, name: str) -> None:
    write(queue, name, b"mine")
    where, what, repaired = only(queue, repair=True)
    assert (where, repaired) == (name, False)
    assert "not a name that queuectl gives" in what
    assert (queue.path / name).read_bytes() == b"mine"


def test_a_directory_in_pending_is_named(queue: Queue) -> None:
    (queue.path / "pending" / "folder.json").mkdir()
    where, what, _ = only(queue)
    assert (where, "not a name" in what) == ("pending/folder.json", True)


def test_a_hidden_file_is_nobodys_business(queue: Queue) -> None:
    write(queue, "pending/.draft.json", b"half")
    assert findings(queue) == []


def test_a_job_whose_worker_died_is_named_and_left_to_the_next_worker(queue: Queue, hand: Hand) -> None:
    queue.enqueue("true", id="a")
    claim = hand.claim("a")
    claim.close()
    where, what, repaired = only(queue, repair=True)
    assert (where, what, repaired) == (f"processing/{claim.name}", "its worker died; the attempt is lost", False)


def test_a_file_in_processing_that_is_no_job_is_named(queue: Queue) -> None:
    write(queue, f"processing/{STAMP}.1.a.json", b"{}")
    where, what, _ = only(queue)
    assert where == f"processing/{STAMP}.1.a.json"
    assert what == "not readable as a job: object missing required field command"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"pending/{STAMP}.5.a.json", f"completed/{STAMP}.0.a.json"),
        (f"failed/{STAMP}.5.a.json", f"dead/{STAMP}.7.a.json"),
        (f"pending/{STAMP}.5.a.json", f"pending/{STAMP}.6.a.json"),
        (f"dead/{STAMP}.7.a.json", f"dead/{STAMP}.8.a.json"),
    ],
)
def test_an_id_that_stands_twice_is_named(queue: Queue, one: str, other: str) -> None:
    write(queue, one)
    write(queue, other)
    where, what, repaired = only(queue, repair=True)
    assert sorted([where, what.removeprefix(f"the same id as {queue.path}/")]) == sorted([one, other])
    assert not repaired


def test_a_request_to_cancel_what_does_not_run_is_named_and_taken_back(queue: Queue) -> None:
    write(queue, "cancel/a", b"")
    assert only(queue) == ("cancel/a", "asks to cancel a job that is not running", False)
    assert only(queue, repair=True) == ("cancel/a", "asks to cancel a job that is not running", True)
    assert findings(queue) == []


def test_a_request_to_cancel_what_runs_is_well(queue: Queue, hand: Hand) -> None:
    queue.enqueue("true", id="a")
    claim = hand.claim("a")
    write(queue, "cancel/a", b"")
    assert findings(queue) == []
    claim.close()


def test_drafts_of_writers_that_died_are_counted_and_swept(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "STALE_DRAFT_MS", 0)
    child = subprocess.Popen(["true"])
    child.wait()
    for part in ("x", "y"):
        write(queue, f"tmp/{STAMP}.{child.pid}.{part}", b"")
    assert only(queue) == ("tmp", "2 drafts of writers that died", False)
    assert only(queue, repair=True) == ("tmp", "2 drafts of writers that died", True)
    assert findings(queue) == []


def test_every_finding_is_reported_at_once(queue: Queue) -> None:
    (queue.path / "dead").chmod(0o722)
    write(queue, "config.toml", b"=").chmod(0o600)
    write(queue, f"completed/{STAMP}.0.a.json", b"")
    write(queue, "cancel/b", b"")
    assert len(findings(queue)) == 4
