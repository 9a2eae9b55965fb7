from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hand import Hand

from queuectl import clock, disk, doctor, job, recovery, room, startcheck, wakeup
from queuectl.checks import Finding, jobs, twins
from queuectl.errors import NotFound
from queuectl.job import Job, State
from queuectl.queue import Queue, diagnose
from queuectl.spool import Spool
from queuectl.tree import DIRECTORIES

NOW = 1_760_000_000_000
STAMP = clock.stamp(NOW)
LATER = clock.stamp(NOW + 1000)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the second look at once: nothing is in motion here unless a test moves it."""
    monkeypatch.setattr(doctor, "SETTLING_S", 0.0)


def findings(queue: Queue, *, repair: bool = False) -> list[Finding]:
    """Return what the doctor finds, but for what is to be said of the file system that the tests run on."""
    return [found for found in queue.doctor(repair=repair) if "reboot" not in found.meaning]


def only(queue: Queue, *, repair: bool = False) -> tuple[str, str, bool]:
    """Return where the one thing is that the doctor finds, what it is, and whether it has been repaired."""
    (found,) = findings(queue, repair=repair)
    assert found.remedy
    return os.path.relpath(found.path, queue.path), found.meaning, found.repaired


def kinds(queue: Queue, *, repair: bool = False) -> list[tuple[str, bool]]:
    """Return of what kind the doctor's findings are, and whether they have been repaired."""
    return [(found.kind, found.repaired) for found in findings(queue, repair=repair)]


def content(id: str = "a", **fields: object) -> bytes:
    made = Job(command="true", id=id, due_at=clock.iso(NOW), created_at=clock.iso(NOW), updated_at=clock.iso(NOW))
    for field, value in fields.items():
        setattr(made, field, value)
    return job.encode(made)


def ended(id: str, state: State, word: str, **fields: object) -> bytes:
    return content(id, state=state, exit=word, **{"rev": 1, **fields})


def write(queue: Queue, name: str, data: bytes | None = None) -> Path:
    path = queue.path / name
    path.write_bytes(content() if data is None else data)
    return path


def rejected(queue: Queue) -> dict[str, bytes]:
    """Return what has been rejected, by the reason."""
    found = {}
    for path in (queue.path / "rejected").iterdir():
        if path.suffix != ".why":
            found[Path(f"{path}.why").read_text().strip()] = path.read_bytes()
    return found


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
    queue.enqueue("true", id="waiting", run_at="2099-01-01T00:00:00Z")
    queue.enqueue("true", id="withdrawn")
    queue.cancel("withdrawn")
    queue.enqueue("true", id="put-back")
    queue.cancel("put-back")
    queue.retry("put-back")
    (queue.path / "pending" / "a drop.json").write_bytes(b"{")
    assert findings(queue) == []
    claim.close()


def test_looking_changes_nothing(queue: Queue) -> None:
    write(queue, f"completed/{STAMP}.0.a.json", b"broken")
    write(queue, f"processing/{STAMP}.1.b.json", b"broken")
    write(queue, "cancel/c")
    write(queue, "logs/d.log")
    write(queue, "rejected/e")
    (queue.path / "dead" / "f").mkdir()
    findings(queue)  # makes the file `lock`, if nobody has yet
    before = sorted(queue.path.rglob("*"))
    assert len(findings(queue)) == 6
    assert sorted(queue.path.rglob("*")) == before


def test_every_finding_is_reported_at_once(queue: Queue) -> None:
    (queue.path / "dead").chmod(0o722)
    write(queue, "config.toml", b"=").chmod(0o600)
    write(queue, f"completed/{STAMP}.0.a.json", b"")
    write(queue, "cancel/b", b"")
    assert len(findings(queue)) == 4


# The place.


@pytest.mark.parametrize("name", [".", *DIRECTORIES, "queuectl.json"])
def test_what_is_open_to_others_is_named_with_what_closes_it(queue: Queue, name: str) -> None:
    path = queue.path / name
    path.chmod(path.stat().st_mode | 0o020)
    found = findings(queue)
    assert [(one.path, one.remedy) for one in found] == [(str(path), f"chmod go-w {path}")]
    assert "writable by others" in found[0].meaning


def test_what_was_open_to_others_is_not_closed_by_a_repair(queue: Queue) -> None:
    """Somebody must look at what strangers may have left in it first."""
    (queue.path / "pending").chmod(0o777)
    assert only(queue, repair=True)[2] is False
    assert (queue.path / "pending").stat().st_mode & 0o777 == 0o777


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


def test_what_a_missing_directory_kept_from_being_seen_is_repaired_with_it(queue: Queue) -> None:
    (queue.path / "failed").rmdir()
    write(queue, "cancel/c", b"")
    assert kinds(queue, repair=True) == [("missing", True), ("request", True)]


def test_settings_that_cannot_be_read_are_named(queue: Queue) -> None:
    write(queue, "config.toml", b"max_retry = 3\n").chmod(0o600)
    where, what, _ = only(queue)
    assert (where, what) == ("config.toml", "unknown key 'max_retry', did you mean 'max_retries'?")


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.write_bytes(b"\xff")], ids=["a directory", "no text"])
def test_settings_that_are_no_text_are_named(queue: Queue, make: Callable[[Path], object]) -> None:
    make(queue.path / "config.toml")
    (queue.path / "config.toml").chmod(0o700)
    assert only(queue)[0] == "config.toml"


def test_a_link_that_leads_nowhere_is_named(queue: Queue) -> None:
    (queue.path / "config.toml").symlink_to("nowhere")
    where, what, _ = only(queue)
    assert (where, what.startswith("cannot be looked at")) == ("config.toml", True)


@pytest.mark.parametrize(
    ("marker", "meaning", "remedy"),
    [
        (b'{"format":2,"uuid":"x"}', "format 2 is newer than this queuectl reads (1)", "a newer one"),
        (b"\0\0", "not readable as a spool's marker", "put the right file back"),
        (b'{"uuid":"x"}', "not readable as a spool's marker", "put the right file back"),
    ],
)
def test_a_marker_that_is_not_ours_is_explained_and_nothing_else_is_looked_at(
    queue: Queue, marker: bytes, meaning: str, remedy: str
) -> None:
    (queue.path / "queuectl.json").write_bytes(marker)
    write(queue, f"completed/{STAMP}.0.a.json", b"")
    (found,) = diagnose(queue.path, repair=True)
    assert (found.path, found.meaning, found.repaired) == (str(queue.path / "queuectl.json"), meaning, False)
    assert remedy in found.remedy
    assert (queue.path / "queuectl.json").read_bytes() == marker


def test_a_marker_that_is_missing_is_named_and_not_made(queue: Queue) -> None:
    (queue.path / "queuectl.json").unlink()
    (found,) = diagnose(queue.path, repair=True)
    assert (found.path, found.repaired) == (str(queue.path / "queuectl.json"), False)
    assert found.remedy.startswith(f"queuectl init {queue.path} ")
    assert not (queue.path / "queuectl.json").exists()


def test_what_does_not_look_like_a_spool_is_none(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        diagnose(tmp_path)


def test_a_disk_that_takes_no_file_is_named(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Spool, "probe", refuse)
    assert only(queue)[:2] == (".", "cannot be written to: Read-only file system")


@pytest.mark.parametrize(
    ("kind", "meaning"),
    [
        ("nfs4", "on nfs4, where locks and renames of other machines cannot be trusted"),
        ("tmpfs", "is on tmpfs: its jobs do not survive a reboot"),
    ],
)
def test_a_file_system_that_cannot_be_relied_on_is_named(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, kind: str, meaning: str
) -> None:
    monkeypatch.setattr(startcheck, "file_system", lambda _path: kind)
    (found,) = queue.doctor()
    assert (found.kind, found.path, found.meaning) == ("file-system", str(queue.path), meaning)
    assert found.remedy


def test_locks_that_two_can_have_are_named(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "flock", lambda _fd: True)
    assert only(queue)[:2] == (".", "two locks on one file are granted here; flock(2) does not work on it")


def stat_of(monkeypatch: pytest.MonkeyPatch, **parts: int) -> None:
    """Let the file system seem to be so."""
    usual = {"f_frsize": 4096, "f_blocks": 10**6, "f_bavail": 10**6, "f_files": 10**6, "f_favail": 10**6}
    fake = type("Status", (), {**usual, **parts})
    monkeypatch.setattr(room.os, "statvfs", lambda _path: fake)


@pytest.mark.parametrize(
    ("parts", "meaning"),
    [
        ({"f_bavail": 9_999}, "the disk is nearly full: 39.06 MiB of 3.815 GiB free"),
        ({"f_favail": 999}, "the file system has room for 999 more files only, and each job is one"),
    ],
)
def test_a_disk_that_is_nearly_full_is_named(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, parts: dict[str, int], meaning: str
) -> None:
    stat_of(monkeypatch, **parts)
    assert only(queue)[:2] == (".", meaning)


@pytest.mark.parametrize("parts", [{"f_bavail": 10_000}, {"f_favail": 1000}, {"f_files": 0, "f_favail": 0}])
def test_a_disk_with_a_little_room_is_well(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, parts: dict[str, int]
) -> None:
    stat_of(monkeypatch, **parts)
    assert findings(queue) == []


def test_less_room_than_the_settings_ask_for_is_named(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.set_config("min_free_bytes", "1 GiB")
    stat_of(monkeypatch, f_bavail=262_143)
    assert only(queue)[:2] == (".", "1024 MiB free, less than min_free_bytes (1 GiB): workers claim nothing")


def test_a_system_without_notification_is_named(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(24, "inotify instance limit reached")

    monkeypatch.setattr(wakeup, "_start_observer", refuse)
    where, what, _ = only(queue)
    assert (where, "inotify instance limit reached" in what, "once a second" in what) == ("pending", True, True)


def test_looking_for_notification_leaves_no_thread_and_no_descriptor(queue: Queue) -> None:
    findings(queue)
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        assert wakeup.why_unavailable(str(queue.path / "pending")) is None
    assert len(os.listdir("/dev/fd")) == before


# Jobs.

PLACES = [f"completed/{STAMP}.0.a.json", f"dead/{STAMP}.7.a.json", f"failed/{STAMP}.5.a.json"]
BROKEN = [b"", b"{}", b'{"command": "true"']


@pytest.mark.parametrize("name", [*PLACES, f"pending/{STAMP}.5.a.json"])
@pytest.mark.parametrize("data", BROKEN)
def test_a_job_that_cannot_be_read_is_named(queue: Queue, name: str, data: bytes) -> None:
    write(queue, name, data)
    where, what, repaired = only(queue)
    assert (where, what.startswith("not readable as a job: "), repaired) == (name, True, False)


@pytest.mark.parametrize("name", [*PLACES, f"processing/{STAMP}.1.a.json"])
@pytest.mark.parametrize("data", BROKEN)
def test_a_job_that_cannot_be_read_is_rejected_by_a_repair(queue: Queue, name: str, data: bytes) -> None:
    write(queue, name, data)
    assert only(queue, repair=True)[2] is True
    ((why, kept),) = rejected(queue).items()
    assert (kept, bool(why)) == (data, True)
    assert findings(queue) == []


def test_a_job_that_may_still_be_being_written_is_not_rejected(queue: Queue) -> None:
    path = write(queue, f"pending/{STAMP}.5.a.json", b'{"command": "tr')
    assert only(queue, repair=True)[2] is False
    assert path.exists()


def test_a_job_that_nobody_may_open_is_named(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    write(queue, f"dead/{STAMP}.7.a.json")
    real = os.open

    def refuse(path: str, *args: int, **kwargs: int) -> int:
        if str(path).endswith(".a.json"):
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    assert only(queue)[1] == "not readable as a job: cannot be opened (Permission denied)"


STRAYS = ["completed/a.json", "dead/README", f"failed/{STAMP}.55.a.json", "processing/core", "logs/a.txt", "workers/x"]


@pytest.mark.parametrize("name", STRAYS)
def test_a_file_that_nobody_looks_at_is_named_and_put_away_by_a_repair(queue: Queue, name: str) -> None:
    path = write(queue, name, b"mine")
    assert only(queue)[::2] == (name, False)
    assert path.exists()
    assert kinds(queue, repair=True) == [("stray", True)]
    assert (path.exists(), list(rejected(queue).values())) == (False, [b"mine"])
    assert findings(queue) == []


def test_a_file_that_a_producer_may_be_about_to_rename_is_left_alone(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(queue, "pending/report.part", b"half")
    assert findings(queue) == []
    monkeypatch.setattr(jobs, "YOUNG_MS", 0)
    assert only(queue, repair=True)[::2] == ("pending/report.part", False)
    assert path.exists()
    monkeypatch.setattr(jobs, "ABANDONED_MS", 0)
    assert only(queue, repair=True)[::2] == ("pending/report.part", True)
    assert not path.exists()


def test_a_locked_file_that_nobody_looks_at_is_not_put_away(queue: Queue) -> None:
    path = write(queue, "completed/a.json", b"mine")
    held = Spool(queue.path).directories["completed"].lock("a.json")
    assert isinstance(held, int)
    assert kinds(queue, repair=True) == [("stray", False)]
    os.close(held)
    assert path.exists()


@pytest.mark.parametrize(
    "name", ["pending/folder.json", "dead/old", f"completed/{STAMP}.0.a.json", "tmp/x", "cancel/x"]
)
def test_a_stray_directory_is_named_and_put_away_whole_by_a_repair(queue: Queue, name: str) -> None:
    (queue.path / name).mkdir()
    (queue.path / name / "inside").write_bytes(b"mine")
    assert only(queue)[::2] == (name, False)
    assert kinds(queue, repair=True) == [("stray", True)]
    (kept,) = (queue.path / "rejected").glob("*/inside")
    assert kept.read_bytes() == b"mine"
    assert findings(queue) == []
    assert queue.purge(rejected=True).rejected == 0
    assert kept.exists()


@pytest.mark.parametrize("state", ["failed", "processing", "completed", "dead"])
def test_what_is_no_regular_file_is_put_away_by_a_repair(queue: Queue, state: str) -> None:
    part = {"processing": "1", "completed": "0"}.get(state, "5")
    (queue.path / state / f"{STAMP}.{part}.a.json").symlink_to("/etc/passwd")
    assert kinds(queue, repair=True) == [("stray", True)]
    assert findings(queue) == []


def test_a_hidden_file_is_nobodys_business(queue: Queue) -> None:
    for place in DIRECTORIES:
        write(queue, f"{place}/.mine", b"half")
    assert findings(queue, repair=True) == []


# Jobs and their names.


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (f"dead/{LATER}.7.a.json", f"dead/{STAMP}.7.a.json"),
        (f"dead/{STAMP}.9.a.json", f"dead/{STAMP}.7.a.json"),
        (f"completed/{STAMP}.7.a.json", f"dead/{STAMP}.7.a.json"),
        (f"dead/{STAMP}.7.b.json", f"dead/{STAMP}.7.a.json"),
    ],
)
def test_a_job_that_has_ended_goes_back_to_where_its_file_says(queue: Queue, found: str, said: str) -> None:
    data = ended("a", State.DEAD, "7")
    write(queue, found, data)
    where, what, _ = only(queue)
    assert (where, what) == (found, f"its JSON says {said}: it was moved or renamed by hand")
    assert only(queue, repair=True)[2] is True
    assert (queue.path / said).read_bytes() == data
    assert findings(queue) == []


def test_a_success_that_was_renamed_never_passes_through_processing(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a crash would have it taken for lost, and run again."""
    monkeypatch.setattr(Spool, "claim", lambda *_args, **_named: pytest.fail("claimed"))
    write(queue, f"dead/{LATER}.0.a.json", ended("a", State.COMPLETED, "0"))
    assert kinds(queue, repair=True) == [("contradiction", True)]
    assert [path.name for path in (queue.path / "completed").iterdir()] == [f"{STAMP}.0.a.json"]


def test_a_copy_of_a_job_that_has_ended_is_rejected_by_a_repair(queue: Queue) -> None:
    data = ended("a", State.DEAD, "7")
    write(queue, f"dead/{STAMP}.7.a.json", data)
    write(queue, f"dead/{STAMP}.7.copy.json", data)
    assert kinds(queue, repair=True) == [("contradiction", True)]
    assert rejected(queue) == {"its JSON says that it is a, which is another job here": data}
    assert findings(queue) == []


@pytest.mark.parametrize("place", ["dead", "completed"])
def test_a_waiting_job_that_was_moved_out_of_the_way_is_written_down_as_cancelled(queue: Queue, place: str) -> None:
    write(queue, f"{place}/{STAMP}.5.a.json")
    assert only(queue)[1] == "its JSON says pending: it was moved here by hand, and does not run"
    assert only(queue, repair=True)[2] is True
    found = queue.get("a")
    assert (found.state, found.exit, found.last_error) == (State.DEAD, "cancelled", f"moved to {place}/ by hand")
    assert findings(queue) == []


@pytest.mark.parametrize("state", ["pending", "failed"])
def test_a_waiting_job_whose_json_has_another_id_is_written_anew(queue: Queue, state: str) -> None:
    write(queue, f"{state}/{STAMP}.5.a.json", content("b"))
    assert only(queue)[1] == "its JSON says that its id is b; the name decides, so it is a"
    assert only(queue, repair=True)[2] is True
    found = queue.get("a")
    assert (found.id, found.state, found.attempts) == ("a", state, 0)
    assert job.parse(next((queue.path / state).iterdir()).read_bytes()).id == "a"
    assert findings(queue) == []


def test_a_waiting_job_in_the_other_directory_of_those_that_wait_is_well(queue: Queue) -> None:
    write(queue, f"failed/{STAMP}.5.a.json")
    write(queue, f"pending/{STAMP}.5.b.json", content("b", state=State.FAILED, attempts=1))
    assert findings(queue) == []


def test_an_ended_job_that_makes_no_sense_is_rejected_by_a_repair(queue: Queue) -> None:
    write(queue, f"dead/{STAMP}.7.a.json", ended("a", State.DEAD, "no exit at all"))
    assert kinds(queue, repair=True) == [("unreadable", True)]
    assert findings(queue) == []


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (f"completed/{clock.stamp(2 * NOW)}.0.a.json", ended("a", State.COMPLETED, "0", updated_at=clock.iso(2 * NOW))),
        (f"dead/{clock.stamp(2 * NOW)}.7.a.json", ended("a", State.DEAD, "7", updated_at=clock.iso(2 * NOW))),
        (f"failed/{STAMP}.5.a.json", content(state=State.FAILED, updated_at=clock.iso(2 * NOW))),
        (f"pending/{STAMP}.5.a.json", content(created_at=clock.iso(2 * NOW))),
    ],
)
def test_a_job_from_the_future_is_named_and_left(queue: Queue, name: str, data: bytes) -> None:
    write(queue, name, data)
    assert kinds(queue, repair=True) == [("future", False)]
    assert (queue.path / name).read_bytes() == data


def test_a_job_that_is_due_in_the_far_future_is_well(queue: Queue) -> None:
    queue.enqueue("true", run_at="2999-01-01T00:00:00Z")
    assert findings(queue) == []


# Orphans.


def test_a_job_whose_worker_died_is_named_and_settled_by_a_repair(queue: Queue, hand: Hand) -> None:
    queue.enqueue("true", id="a", max_retries=0)
    claim = hand.claim("a")
    claim.close()
    assert only(queue) == (f"processing/{claim.name}", "its worker died; the attempt is lost", False)
    assert only(queue, repair=True)[2] is True
    found = queue.get("a")
    assert (found.state, found.exit, found.attempts) == (State.DEAD, "lost", 1)


def test_a_lost_job_is_settled_by_the_settings_of_the_spool(queue: Queue, hand: Hand) -> None:
    queue.set_config("max_retries", "0")
    queue.enqueue("true", id="a")
    hand.claim("a").close()
    findings(queue, repair=True)
    assert queue.get("a").state is State.DEAD


def test_a_lost_job_is_left_when_the_settings_cannot_be_read(queue: Queue, hand: Hand) -> None:
    queue.enqueue("true", id="a")
    hand.claim("a").close()
    write(queue, "config.toml", b"=").chmod(0o600)
    assert kinds(queue, repair=True) == [("settings", False), ("orphan", False)]


@pytest.mark.parametrize("state", [State.COMPLETED, State.DEAD, State.FAILED, State.PENDING])
def test_a_decided_job_that_was_not_moved_is_moved_by_a_repair(queue: Queue, state: State) -> None:
    data = content(state=state, rev=1, attempts=1, exit="0")
    write(queue, f"processing/{STAMP}.1.a.json", data)
    assert only(queue)[1] == f"decided ({state}), but its worker died before moving it"
    assert kinds(queue, repair=True) == [("orphan", True)]
    assert [path.read_bytes() for path in (queue.path / state).iterdir()] == [data]


def test_an_orphan_that_is_older_than_its_name_is_told_so(queue: Queue) -> None:
    write(queue, f"processing/{STAMP}.5.a.json")
    assert only(queue)[1].endswith("(its JSON is of revision 0, its name of 5)")


def test_a_job_that_runs_is_well_and_left_alone(queue: Queue, hand: Hand) -> None:
    queue.enqueue("true", id="a")
    claim = hand.claim("a")
    assert findings(queue, repair=True) == []
    assert (queue.path / "processing" / claim.name).exists()
    claim.close()


def test_a_job_that_a_worker_settles_between_two_looks_is_no_finding(
    queue: Queue, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.enqueue("true", id="a")
    hand.claim("a").close()
    monkeypatch.setattr(
        clock, "sleep", lambda _s: recovery.recover_one(hand.spool, name, hand.config, hand, recovery.Recovered())
    )
    (name,) = (path.name for path in (queue.path / "processing").iterdir())
    assert findings(queue) == []


# Two of one id.

TWINS = [
    # the one that stays, the one that goes
    (f"completed/{STAMP}.0.a.json", f"pending/{STAMP}.5.a.json"),
    (f"dead/{STAMP}.7.a.json", f"failed/{STAMP}.5.a.json"),
    (f"pending/{STAMP}.5.a.json", f"failed/{STAMP}.5.a.json"),
    (f"processing/{STAMP}.1.a.json", f"pending/{STAMP}.5.a.json"),
]


def of(name: str, **fields: object) -> bytes:
    state = State(name.split("/")[0])
    word = name.split(".")[1] if state in (State.COMPLETED, State.DEAD) else None
    return content(state=State.PENDING if state is State.PROCESSING else state, exit=word, **fields)


@pytest.mark.parametrize(("stays", "goes"), TWINS)
def test_of_two_files_with_one_id_the_newer_stays_and_the_other_is_rejected(
    queue: Queue, stays: str, goes: str
) -> None:
    write(queue, stays, of(stays, rev=3))
    write(queue, goes, of(goes, rev=2))
    assert [found for found in kinds(queue) if found[0] != "orphan"] == [("twins", False)]
    assert ("twins", True) in kinds(queue, repair=True)
    assert rejected(queue) == {twins.REASON: of(goes, rev=2)}
    assert findings(queue, repair=True) == []


@pytest.mark.parametrize(("stays", "goes"), TWINS)
def test_of_two_names_of_one_file_one_goes(queue: Queue, stays: str, goes: str) -> None:
    write(queue, stays, of(stays))
    os.link(queue.path / stays, queue.path / goes)
    found = findings(queue, repair=True)
    assert [one.kind for one in found if one.meaning.startswith("the same file")] == ["twins"]
    assert (queue.path / goes).exists() is False
    assert rejected(queue) == {}
    assert findings(queue) == []


def test_of_two_files_of_one_revision_the_one_that_runs_no_more_stays(queue: Queue) -> None:
    stays, goes = f"completed/{STAMP}.0.a.json", f"pending/{STAMP}.5.a.json"
    write(queue, stays, of(stays))
    write(queue, goes, of(goes))
    findings(queue, repair=True)
    assert ((queue.path / stays).exists(), (queue.path / goes).exists()) == (True, False)


def test_three_files_of_one_id_become_one_job(queue: Queue) -> None:
    for number in range(3):
        write(queue, f"pending/{STAMP}.{number}.a.json", content(rev=number))
    assert ("twins", False) not in kinds(queue, repair=True)
    assert [path.name for path in (queue.path / "pending").iterdir()] == [f"{STAMP}.2.a.json"]
    assert findings(queue) == []


def test_the_twin_of_a_job_that_runs_is_left_until_it_has_ended(queue: Queue, hand: Hand) -> None:
    queue.enqueue("true", id="a")
    claim = hand.claim("a")
    write(queue, f"dead/{STAMP}.7.a.json", ended("a", State.DEAD, "7"))
    assert kinds(queue, repair=True) == [("twins", False)]
    claim.close()
    assert ("twins", True) in kinds(queue, repair=True)


def test_a_job_that_moves_while_its_twins_are_looked_for_is_not_two(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(queue, f"pending/{STAMP}.5.a.json")
    real = twins.read_name

    def move(state: State, name: str) -> object:
        if state is State.PENDING:
            path.rename(queue.path / "completed" / f"{STAMP}.0.a.json")
        return real(state, name)

    monkeypatch.setattr(twins, "read_name", move)
    assert list(twins.look(Spool(queue.path))) == []


# Leftovers.


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


def test_drafts_of_writers_that_died_are_counted_and_swept(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, gone: int
) -> None:
    monkeypatch.setattr(recovery, "STALE_DRAFT_MS", 0)
    for part in ("x", "y"):
        write(queue, f"tmp/{STAMP}.{gone}.{part}", b"")
    where, what, _ = only(queue)
    assert (where, what.startswith("2 drafts of writers that died")) == ("tmp", True)
    assert kinds(queue, repair=True) == [("drafts", True)]
    assert findings(queue) == []


def test_what_a_start_check_left_that_died_is_named_and_deleted(queue: Queue, gone: int) -> None:
    spool = Spool(queue.path)
    path = write(queue, f"dead/.{spool.draft_name(STAMP).replace(str(os.getpid()), str(gone))}", b"")
    assert only(queue)[1] == "left by the check of a worker start that died"
    assert kinds(queue, repair=True) == [("probe", True)]
    assert not path.exists()


@pytest.mark.parametrize("how", ["alive", "not empty"])
def test_what_a_start_check_that_lives_has_made_is_well(queue: Queue, gone: int, how: str) -> None:
    name = f".{Spool(queue.path).draft_name(STAMP)}"
    if how == "not empty":
        name = name.replace(str(os.getpid()), str(gone))
    path = write(queue, f"cancel/{name}", b"" if how == "alive" else b"mine")
    assert findings(queue, repair=True) == []
    assert path.exists()


def test_a_rejected_file_without_a_reason_is_given_one(queue: Queue) -> None:
    write(queue, "rejected/x", b"mine")
    assert kinds(queue) == [("reason", False)]
    assert kinds(queue, repair=True) == [("reason", True)]
    assert list(rejected(queue).values()) == [b"mine"]
    assert findings(queue) == []


def test_a_reason_without_its_file_is_deleted(queue: Queue) -> None:
    path = write(queue, "rejected/x.why", b"because")
    assert only(queue)[1] == "the reason for a file that is not here any more"
    assert kinds(queue, repair=True) == [("reason", True)]
    assert not path.exists()


def test_a_rejected_file_whose_name_ends_as_a_reasons_does_is_well_with_its_reason(queue: Queue) -> None:
    write(queue, "rejected/x.why", b"mine")
    write(queue, "rejected/x.why.why", b"because")
    assert findings(queue, repair=True) == []


def test_a_log_without_a_job_is_named_and_put_away_by_a_repair(queue: Queue, hand: Hand) -> None:
    queue.enqueue("echo out", id="a")
    hand.run()
    next((queue.path / "completed").iterdir()).unlink()
    assert only(queue)[0] == "logs/a.log"
    assert kinds(queue, repair=True) == [("log", True)]
    assert rejected(queue) == {"the log of a job that is not here": b"out\n"}
    assert findings(queue) == []


@pytest.mark.parametrize(
    "name", [f"rejected/{STAMP}.1.{STAMP}.7.a.json", "pending/any.json", f"failed/{STAMP}.5.a.json"]
)
def test_a_log_whose_job_may_come_back_is_well(queue: Queue, name: str) -> None:
    write(queue, "logs/a.log", b"out")
    write(queue, name)
    if name.startswith("rejected"):
        write(queue, f"{name}.why", b"because")
    assert findings(queue) == []


def test_the_entry_of_a_process_that_has_ended_is_no_finding_and_goes_with_a_repair(queue: Queue) -> None:
    path = write(queue, "workers/host.1.20200101T000000000Z.json", b"{}")
    assert findings(queue) == []
    assert path.exists()
    findings(queue, repair=True)
    assert not path.exists()


def test_a_repair_that_the_disk_refuses_leaves_the_finding(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **_named: object) -> None:
        raise OSError(28, "No space left on device")

    write(queue, f"completed/{STAMP}.0.a.json", b"broken")
    monkeypatch.setattr(Spool, "reject", refuse)
    assert kinds(queue, repair=True) == [("unreadable", False)]


def test_a_repair_leaves_no_descriptor_open(queue: Queue) -> None:
    def damage() -> Iterator[None]:
        while True:
            write(queue, f"completed/{STAMP}.0.a.json", b"broken")
            write(queue, f"dead/{STAMP}.5.b.json", content("b"))
            write(queue, f"dead/{LATER}.7.c.json", ended("c", State.DEAD, "7"))
            write(queue, f"processing/{STAMP}.1.d.json", content("d", max_retries=0))
            write(queue, f"pending/{STAMP}.4.e.json", content("e"))
            write(queue, f"pending/{STAMP}.5.e.json", content("e"))
            write(queue, "logs/f.log")
            (queue.path / "dead" / "folder").mkdir()
            yield

    again = damage()
    counts = []
    for _ in range(3):
        next(again)
        assert all(repaired for _, repaired in kinds(queue, repair=True))
        counts.append(len(os.listdir("/dev/fd")))
        for state in ("dead", "pending"):
            for path in (queue.path / state).iterdir():
                path.unlink()
    assert len(set(counts[1:])) == 1
