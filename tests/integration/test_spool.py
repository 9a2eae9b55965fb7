"""Every transition of a job's file, by one process that may do as it likes between two steps."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers import STATES, wait_until

from queuectl import clock, disk, job
from queuectl import spool as spool_module
from queuectl.disk import Miss
from queuectl.errors import BadJobFile, NotFound, Refused, UsageError
from queuectl.job import Job, State
from queuectl.names import WaitingName
from queuectl.spool import Claim, Spool, final_place
from queuectl.tree import DIRECTORIES

NOW = 1_800_000_000_000
STAMP = clock.stamp(NOW)
LIMIT = 2**20


def waiting(id: str = "a", **fields: Any) -> Job:
    return Job(**{"command": "true", "id": id, "due_at": clock.iso(NOW), **fields})


def put(spool: Spool, id: str = "a", **fields: Any) -> str:
    """Put a job into `pending/` and return its name there."""
    made = waiting(id, **fields)
    spool.submit([made], now=NOW)
    return str(spool_module.waiting_name(made))


def claim(spool: Spool, name: str, place: str = "pending") -> Claim:
    found = spool.claim(place, name, now=NOW, limit=LIMIT, durable=True)
    assert isinstance(found, Claim)
    return found


def decide(found: Job, state: State, **fields: Any) -> None:
    """Write a decision into a claimed job."""
    found.rev += 1
    found.state = state
    found.updated_at = clock.iso(NOW + 5)
    for key, value in {"exit": "0" if state is State.COMPLETED else "7", **fields}.items():
        setattr(found, key, value)


def names(spool: Spool, *places: str) -> list[str]:
    """Return `place/name` of all the files in some directories, the states' if none are given."""
    return sorted(f"{place}/{path.name}" for place in places or STATES for path in (spool.path / place).iterdir())


def is_locked(path: Path) -> bool:
    fd = os.open(path, os.O_RDONLY)
    try:
        return not disk.flock(fd)
    finally:
        os.close(fd)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let the system refuse to write more than `size` bytes to any file, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    saved = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, saved)


# Putting jobs in.


def test_a_submitted_job_has_one_name_that_tells_due_time_priority_and_id(spool: Spool) -> None:
    spool.submit([waiting("a", priority=9)], now=NOW + 1)
    assert names(spool) == [f"pending/{STAMP}.9.a.json"]


def test_a_submitted_job_is_a_file_of_its_owner_alone(spool: Spool) -> None:
    name = put(spool)
    assert (spool.path / "pending" / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("count", [0, 1, 8, 9, 100])
def test_all_submitted_jobs_arrive_and_leave_no_draft(spool: Spool, count: int, durable: bool) -> None:
    spool.submit([waiting(f"a{number}") for number in range(count)], now=NOW, durable=durable)
    assert (len(names(spool, "pending")), names(spool, "tmp")) == (count, [])


def test_what_is_submitted_is_what_is_claimed(spool: Spool) -> None:
    made = waiting(
        "a", command=["a", "b"], meta={"x": [1]}, env={"A": "ä"}, timeout=1.5, priority=0, created_at=clock.iso(NOW)
    )
    spool.submit([made], now=NOW)
    found = claim(spool, f"{STAMP}.0.a.json")
    assert found.job == made
    found.close()


@pytest.mark.parametrize("count", [2, 20])
def test_when_one_file_cannot_be_written_none_is_queued_and_no_draft_is_left(spool: Spool, count: int) -> None:
    jobs = [waiting(f"a{number}") for number in range(count - 1)] + [waiting("big", meta={"x": "y" * 100_000})]
    with files_of_at_most(50_000), pytest.raises(OSError, match="File too large"):
        spool.submit(jobs, now=NOW)
    assert names(spool, *DIRECTORIES) == []


def test_when_one_job_cannot_be_encoded_none_is_queued_and_no_draft_is_left(spool: Spool) -> None:
    with pytest.raises(UsageError, match="meta cannot be written as JSON"):
        spool.submit([waiting("a"), waiting("b", meta={"x": object()})], now=NOW)
    assert names(spool, *DIRECTORIES) == []


# Claiming.


def test_an_id_is_taken_although_its_job_comes_back_from_the_dead_during_the_look(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    buried = claim(spool, put(spool))
    decide(buried.job, State.DEAD)
    spool.settle(buried, now=NOW, durable=True)
    (dead,) = (path.name for path in (spool.path / "dead").iterdir())
    listed, names_of = [], disk.Directory.names

    def look(directory: disk.Directory) -> Iterator[str]:
        if directory.path.endswith("/completed") and not listed:
            listed.append(claim(Spool(spool.path), dead, "dead"))  # somebody retries it
        return names_of(directory)

    monkeypatch.setattr(disk.Directory, "names", look)
    assert spool.taken(["a"]) == {"a": "processing"}


def test_a_claim_moves_the_job_and_its_name_tells_the_revision_to_come(spool: Spool) -> None:
    found = claim(spool, put(spool, rev=4))
    assert (found.name, names(spool)) == (f"{STAMP}.5.a.json", [f"processing/{STAMP}.5.a.json"])
    found.close()


def test_a_claim_leaves_the_bytes_as_they_were(spool: Spool) -> None:
    name = put(spool)
    before = (spool.path / "pending" / name).read_bytes()
    found = claim(spool, name)
    assert (spool.path / "processing" / found.name).read_bytes() == before
    found.close()


def test_a_claimed_job_is_locked_until_the_claim_is_closed(spool: Spool) -> None:
    found = claim(spool, put(spool))
    path = spool.path / "processing" / found.name
    assert is_locked(path)
    found.close()
    assert not is_locked(path)


def test_the_name_decides_who_the_job_is_and_when_it_was_due(spool: Spool) -> None:
    name = put(spool, "a")
    os.rename(spool.path / "pending" / name, spool.path / "pending" / "20270101T000000000Z.9.other.json")
    found = claim(spool, "20270101T000000000Z.9.other.json")
    assert (found.job.id, found.job.priority, found.job.due_at) == ("other", 9, "2027-01-01T00:00:00.000Z")
    found.close()


def test_a_job_that_is_gone_cannot_be_claimed(spool: Spool) -> None:
    name = put(spool)
    claim(spool, name).close()
    assert spool.claim("pending", name, now=NOW, limit=LIMIT, durable=True) is Miss.GONE


def test_a_job_that_somebody_holds_cannot_be_claimed(spool: Spool) -> None:
    name = put(spool)
    fd = os.open(spool.path / "pending" / name, os.O_RDONLY)
    assert disk.flock(fd)
    assert spool.claim("pending", name, now=NOW, limit=LIMIT, durable=True) is Miss.BUSY
    os.close(fd)


@pytest.mark.parametrize("kind", ["link", "dangling link", "fifo", "directory"])
def test_what_is_no_regular_file_cannot_be_claimed(spool: Spool, kind: str) -> None:
    path = spool.path / "pending" / f"{STAMP}.5.a.json"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("/etc/passwd" if kind == "link" else "/no/such/file")
    assert spool.claim("pending", path.name, now=NOW, limit=LIMIT, durable=True) is Miss.SPECIAL


@pytest.mark.parametrize("data", [b"", b"{", b"null", b'{"command": ""}'])
def test_a_file_that_is_no_job_stays_where_it_is_and_unlocked(spool: Spool, data: bytes) -> None:
    path = spool.path / "pending" / f"{STAMP}.5.a.json"
    path.write_bytes(data)
    with pytest.raises(BadJobFile):
        spool.claim("pending", path.name, now=NOW, limit=LIMIT, durable=True)
    assert path.read_bytes() == data
    assert not is_locked(path)


def test_a_file_that_is_larger_than_the_limit_is_not_claimed(spool: Spool) -> None:
    name = put(spool, meta={"x": "y" * 1000})
    with pytest.raises(BadJobFile, match="larger than 1000 bytes"):
        spool.claim("pending", name, now=NOW, limit=1000, durable=True)
    assert names(spool) == [f"pending/{name}"]


def test_a_file_that_says_it_is_too_large_is_not_read(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    (spool.path / "pending" / f"{STAMP}.5.a.json").touch()
    os.truncate(spool.path / "pending" / f"{STAMP}.5.a.json", 2**40)
    monkeypatch.setattr(os, "pread", None)
    with pytest.raises(BadJobFile, match="larger than"):
        spool.claim("pending", f"{STAMP}.5.a.json", now=NOW, limit=2**30, durable=True)


@pytest.mark.parametrize("field", ["rev", "attempts"])
def test_a_job_whose_counters_cannot_go_on_is_not_claimed(spool: Spool, field: str) -> None:
    name = put(spool, **{field: job.MAX_COUNT})
    with pytest.raises(BadJobFile, match=f"{field} 999999999"):
        spool.claim("pending", name, now=NOW, limit=LIMIT, durable=True)
    assert names(spool) == [f"pending/{name}"]


def test_a_file_of_exactly_the_limit_is_claimed(spool: Spool) -> None:
    name = put(spool, meta={"x": "y" * 100_000})
    limit = (spool.path / "pending" / name).stat().st_size
    found = spool.claim("pending", name, now=NOW, limit=limit, durable=True)
    assert isinstance(found, Claim)
    found.close()


@pytest.mark.parametrize("state", ["completed", "dead"])
def test_a_job_that_has_ended_can_be_claimed_to_be_changed(spool: Spool, state: str) -> None:
    (spool.path / state / f"{STAMP}.7.a.json").write_bytes(job.encode(waiting(rev=3)))
    found = claim(spool, f"{STAMP}.7.a.json", state)
    assert (found.name, found.job.rev) == (f"{STAMP}.4.a.json", 3)
    found.close()


def test_a_file_that_takes_the_place_of_a_claimed_one_is_not_taken_for_it(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = put(spool)
    there = spool.path / "pending" / name
    flock = disk.flock

    def replace_and_lock(fd: int) -> bool:
        monkeypatch.undo()
        os.rename(there, spool.path / "pending" / "moved.json")
        there.write_bytes(job.encode(waiting(command="another")))
        return flock(fd)

    monkeypatch.setattr(disk, "flock", replace_and_lock)
    assert spool.claim("pending", name, now=NOW, limit=LIMIT, durable=True) is Miss.GONE
    assert names(spool) == [f"pending/{name}", "pending/moved.json"]


def test_a_file_that_slips_under_the_name_during_a_claim_is_left_for_recovery(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = put(spool)
    there = spool.path / "pending" / name
    rename = os.rename

    def slip_and_rename(*args: Any, **kwargs: Any) -> None:
        monkeypatch.undo()
        rename(there, spool.path / "pending" / "moved.json")
        there.write_bytes(job.encode(waiting(command="another")))
        rename(*args, **kwargs)

    monkeypatch.setattr(os, "rename", slip_and_rename)
    assert spool.claim("pending", name, now=NOW, limit=LIMIT, durable=True) is Miss.GONE
    orphan = spool.take_orphan(f"{STAMP}.1.a.json", limit=LIMIT)
    assert isinstance(orphan, Claim)
    assert orphan.job.command == "another"
    orphan.close()


CLAIM_ALL = """
import os, sys
from queuectl import clock
from queuectl.job import State
from queuectl.spool import Claim, Spool

spool = Spool(sys.argv[1])
for name in sorted(os.listdir(spool.path / "pending")):
    found = spool.claim("pending", name, now=clock.now(), limit=2**20, durable=False)
    if isinstance(found, Claim):
        found.job.rev += 1
        found.job.state, found.job.updated_at, found.job.exit = State.COMPLETED, clock.iso(clock.now()), "0"
        assert spool.settle(found, now=clock.now(), durable=False)
"""


def test_of_many_processes_that_claim_the_same_jobs_each_job_has_one(spool: Spool) -> None:
    spool.submit([waiting(f"a{number}") for number in range(300)], now=NOW, durable=False)
    started = [subprocess.Popen([sys.executable, "-c", CLAIM_ALL, str(spool.path)]) for _ in range(4)]
    assert [process.wait(60) for process in started] == [0] * 4
    found = [job.parse(path.read_bytes()) for path in (spool.path / "completed").iterdir()]
    assert Counter(one.id for one in found) == Counter(f"a{number}" for number in range(300))
    assert {one.rev for one in found} == {1}
    assert names(spool, "pending", "processing", "tmp") == []


# The lock is the job's own file.


def test_a_child_that_inherited_the_lock_keeps_the_job_busy_after_the_claim_is_closed(spool: Spool) -> None:
    found = claim(spool, put(spool))
    child = subprocess.Popen(["sleep", "300"], pass_fds=[found.fd])
    try:
        found.close()
        assert spool.take_orphan(found.name, limit=LIMIT) is Miss.BUSY
    finally:
        child.kill()
        child.wait()
    orphan = spool.take_orphan(found.name, limit=LIMIT)
    assert isinstance(orphan, Claim)
    orphan.close()


def test_a_grandchild_that_inherited_the_lock_keeps_the_job_busy(spool: Spool) -> None:
    found = claim(spool, put(spool))
    done = subprocess.run(
        ["sh", "-c", "sleep 300 > /dev/null & echo $!"], pass_fds=[found.fd], stdout=subprocess.PIPE, check=True
    )
    try:
        found.close()
        assert spool.take_orphan(found.name, limit=LIMIT) is Miss.BUSY
    finally:
        os.kill(int(done.stdout), signal.SIGKILL)
    wait_until(lambda: isinstance(spool.take_orphan(found.name, limit=LIMIT), Claim), what="the lock to be free")


def test_looking_at_a_claimed_job_does_not_unlock_it(spool: Spool) -> None:
    found = claim(spool, put(spool))
    with open(spool.path / "processing" / found.name, "rb") as file:
        file.read()
    assert spool.take_orphan(found.name, limit=LIMIT) is Miss.BUSY
    found.close()


def test_deleting_the_log_of_a_running_job_does_not_unlock_it(spool: Spool) -> None:
    found = claim(spool, put(spool))
    os.close(spool.open_log("a"))
    os.unlink(spool.path / "logs" / "a.log")
    assert spool.take_orphan(found.name, limit=LIMIT) is Miss.BUSY
    found.close()


# Settling.


@pytest.mark.parametrize(
    ("state", "fields", "place"),
    [
        (State.COMPLETED, {}, f"completed/{clock.stamp(NOW + 5)}.0.a.json"),
        (State.DEAD, {"exit": "sig9"}, f"dead/{clock.stamp(NOW + 5)}.sig9.a.json"),
        (State.FAILED, {"due_at": clock.iso(NOW + 2000)}, f"failed/{clock.stamp(NOW + 2000)}.3.a.json"),
        (State.PENDING, {}, f"pending/{STAMP}.3.a.json"),
    ],
)
def test_a_settled_job_has_one_name_in_the_directory_of_its_state(
    spool: Spool, state: State, fields: dict[str, Any], place: str
) -> None:
    found = claim(spool, put(spool, priority=3))
    decide(found.job, state, **fields)
    assert spool.settle(found, now=NOW, durable=True)
    assert names(spool, *DIRECTORIES) == [place]
    assert job.parse((spool.path / place).read_bytes()) == found.job


def test_a_decided_job_is_locked_until_it_has_been_moved(spool: Spool) -> None:
    """Its file is a new one, and so is the lock; whoever looks for orphans must find it held."""
    found = claim(spool, put(spool))
    decide(found.job, State.COMPLETED)
    assert spool._decide(found, NOW, durable=True)
    assert is_locked(spool.path / "processing" / found.name)


def test_a_settled_job_is_free(spool: Spool) -> None:
    found = claim(spool, put(spool))
    decide(found.job, State.PENDING)
    spool.settle(found, now=NOW, durable=True)
    claim(spool, f"{STAMP}.5.a.json").close()


def test_a_settled_job_is_free_though_its_command_still_holds_the_old_lock(spool: Spool) -> None:
    found = claim(spool, put(spool))
    child = subprocess.Popen(["sleep", "300"], pass_fds=[found.fd])
    try:
        decide(found.job, State.PENDING)
        spool.settle(found, now=NOW, durable=True)
        claim(spool, f"{STAMP}.5.a.json").close()
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("where", ["pending/back.json", "dead/x", "../elsewhere"])
def test_a_job_that_was_moved_by_hand_is_not_settled_and_gets_no_second_name(spool: Spool, where: str) -> None:
    found = claim(spool, put(spool))
    os.rename(spool.path / "processing" / found.name, spool.path / where)
    decide(found.job, State.COMPLETED)
    assert not spool.settle(found, now=NOW, durable=True)
    assert names(spool, *DIRECTORIES) == ([] if where.startswith("..") else [where])


def test_a_job_that_was_deleted_by_hand_is_not_settled_and_stays_deleted(spool: Spool) -> None:
    found = claim(spool, put(spool))
    os.unlink(spool.path / "processing" / found.name)
    decide(found.job, State.COMPLETED)
    assert not spool.settle(found, now=NOW, durable=True)
    assert names(spool, *DIRECTORIES) == []


def test_a_job_that_was_replaced_by_hand_is_not_settled_and_the_other_stays(spool: Spool) -> None:
    found = claim(spool, put(spool))
    there = spool.path / "processing" / found.name
    os.unlink(there)
    there.write_bytes(b"mine")
    decide(found.job, State.COMPLETED)
    assert not spool.settle(found, now=NOW, durable=True)
    assert there.read_bytes() == b"mine"


def test_a_decision_that_cannot_be_written_leaves_the_job_ours_and_no_draft(spool: Spool) -> None:
    found = claim(spool, put(spool))
    decide(found.job, State.COMPLETED)
    with files_of_at_most(100), pytest.raises(OSError, match="File too large"):
        spool.settle(found, now=NOW, durable=True)
    assert names(spool, *DIRECTORIES) == [f"processing/{found.name}"]
    assert is_locked(spool.path / "processing" / found.name)


def test_a_decided_job_whose_move_failed_can_be_moved_later(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    found = claim(spool, put(spool))
    decide(found.job, State.COMPLETED)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "_move", refuse)
        with pytest.raises(OSError, match="Read-only"):
            spool.settle(found, now=NOW, durable=True)
    assert spool.settle(found, now=NOW, durable=True)
    assert names(spool, *DIRECTORIES) == [f"completed/{clock.stamp(NOW + 5)}.0.a.json"]


def test_a_decision_that_could_not_be_written_can_be_written_later(spool: Spool) -> None:
    found = claim(spool, put(spool))
    decide(found.job, State.COMPLETED)
    with files_of_at_most(100), pytest.raises(OSError, match="File too large"):
        spool.settle(found, now=NOW, durable=True)
    assert spool.settle(found, now=NOW, durable=True)
    assert names(spool, *DIRECTORIES) == [f"completed/{clock.stamp(NOW + 5)}.0.a.json"]


def test_settling_leaves_no_descriptor_open(spool: Spool) -> None:
    claim_and_settle = [claim(spool, put(spool, "warm"))]
    decide(claim_and_settle[0].job, State.COMPLETED)
    spool.settle(claim_and_settle[0], now=NOW, durable=True)
    before = len(os.listdir("/dev/fd"))
    for number in range(5):
        found = claim(spool, put(spool, f"a{number}"))
        decide(found.job, State.COMPLETED)
        spool.settle(found, now=NOW, durable=True)
    assert len(os.listdir("/dev/fd")) == before


# Finishing what a dead worker has decided.


def decided(spool: Spool, monkeypatch: pytest.MonkeyPatch, state: State = State.COMPLETED) -> str:
    """Leave a job as a worker does that dies between its decision and the move; returns its name."""
    found = claim(spool, put(spool))
    decide(found.job, state)

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "_move", die)
        with pytest.raises(KeyboardInterrupt):
            spool.settle(found, now=NOW, durable=True)
    os.close(found.fd)
    return found.name


def test_a_decided_orphan_shows_by_its_revision(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    name = decided(spool, monkeypatch)
    orphan = spool.take_orphan(name, limit=LIMIT)
    assert isinstance(orphan, Claim)
    assert (orphan.job.rev, name.split(".")[1]) == (1, "1")
    orphan.close()


@pytest.mark.parametrize(
    ("state", "place"),
    [
        (State.COMPLETED, f"completed/{clock.stamp(NOW + 5)}.0.a.json"),
        (State.DEAD, f"dead/{clock.stamp(NOW + 5)}.7.a.json"),
        (State.PENDING, f"pending/{STAMP}.5.a.json"),
    ],
)
def test_the_move_of_a_decided_orphan_is_finished_as_its_json_says(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, state: State, place: str
) -> None:
    orphan = spool.take_orphan(decided(spool, monkeypatch, state), limit=LIMIT)
    assert isinstance(orphan, Claim)
    spool.finish_move(orphan)
    assert names(spool, *DIRECTORIES) == [place]
    assert not is_locked(spool.path / place)


def test_the_second_to_finish_a_move_finds_it_done(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    orphan = spool.take_orphan(decided(spool, monkeypatch), limit=LIMIT)
    assert isinstance(orphan, Claim)
    place, target = final_place(orphan.job)
    os.rename(spool.path / "processing" / orphan.name, spool.path / place / target)
    spool.finish_move(orphan)
    assert names(spool, *DIRECTORIES) == [f"{place}/{target}"]


@pytest.mark.parametrize(
    "fields",
    [
        {"state": State.COMPLETED, "exit": "0", "exit_code": 0},
        {"state": State.COMPLETED, "exit_code": 0},
        {"state": State.DEAD, "exit": "timeout"},
        {"state": State.FAILED, "due_at": clock.iso(NOW + 99)},
        {"state": State.PENDING, "priority": 9},
    ],
)
def test_where_a_decided_job_goes_follows_from_its_json_alone(fields: dict[str, Any]) -> None:
    made = waiting(updated_at=clock.iso(NOW), **{"rev": 1, **fields})
    assert final_place(job.parse(job.encode(made))) == final_place(made)


@pytest.mark.parametrize(
    "fields",
    [
        {"state": State.PROCESSING},
        {"state": State.DEAD, "exit": "../x"},
        {"state": State.DEAD, "exit": "a/b"},
        {"state": State.COMPLETED, "exit": "done"},
        {"state": State.DEAD, "exit_code": -1},
        {"state": State.DEAD, "exit_code": 1000},
    ],
)
def test_a_decision_that_gives_no_name_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadJobFile):
        final_place(waiting(updated_at=clock.iso(NOW), **fields))


def test_an_orphan_is_not_taken_while_somebody_holds_it(spool: Spool) -> None:
    found = claim(spool, put(spool))
    assert spool.take_orphan(found.name, limit=LIMIT) is Miss.BUSY
    found.close()


# Drops and rejects.


def test_an_admitted_drop_keeps_its_bytes_and_gets_a_canonical_name(spool: Spool) -> None:
    path = spool.path / "pending" / "my job.json"
    path.write_bytes(b'{"command": "true"}')
    assert spool.admit("my job.json", WaitingName(STAMP, 5, "a"))
    assert names(spool) == [f"pending/{STAMP}.5.a.json"]
    assert (spool.path / "pending" / f"{STAMP}.5.a.json").read_bytes() == b'{"command": "true"}'


def test_a_drop_is_not_admitted_over_a_job_that_is_there(spool: Spool) -> None:
    name = put(spool)
    before = (spool.path / "pending" / name).read_bytes()
    (spool.path / "pending" / "drop.json").write_bytes(b'{"command": "false"}')
    assert not spool.admit("drop.json", WaitingName(STAMP, 5, "a"))
    assert (spool.path / "pending" / name).read_bytes() == before


@pytest.mark.parametrize(
    "name", ["a.json", "a b\nc.json", "\udcff\udcfe.json", "ä" * 120 + ".json", "x" * 250 + ".json"]
)
def test_a_rejected_file_keeps_its_bytes_and_has_its_reason_beside_it(spool: Spool, name: str) -> None:
    data = bytes(range(256))
    (spool.path / "pending" / name).write_bytes(data)
    target = spool.reject("pending", name, "not JSON:\n  malformed\t(byte 0)", now=NOW)
    assert target is not None
    assert names(spool, "pending", "rejected") == sorted([f"rejected/{target}", f"rejected/{target}.why"])
    assert (spool.path / "rejected" / target).read_bytes() == data
    assert (spool.path / "rejected" / f"{target}.why").read_bytes() == b"not JSON: malformed (byte 0)\n"


def test_two_rejected_files_of_one_name_and_instant_are_both_kept(spool: Spool) -> None:
    for data in (b"one", b"two"):
        (spool.path / "pending" / "a.json").write_bytes(data)
        spool.reject("pending", "a.json", "no job", now=NOW)
    kept = [path.read_bytes() for path in (spool.path / "rejected").iterdir() if path.suffix != ".why"]
    assert sorted(kept) == [b"one", b"two"]


def test_a_rejected_file_never_replaces_the_reason_of_another(spool: Spool) -> None:
    (spool.path / "pending" / "a.json").write_bytes(b"one")
    first = spool.reject("pending", "a.json", "the reason", now=NOW)
    assert first is not None
    tricky = "a.json.why"
    (spool.path / "pending" / tricky).write_bytes(b"two")
    second = spool.reject("pending", tricky, "no job", now=NOW)
    assert (spool.path / "rejected" / f"{first}.why").read_bytes() == b"the reason\n"
    assert (spool.path / "rejected" / str(second)).read_bytes() == b"two"


def test_a_file_that_has_gone_cannot_be_rejected(spool: Spool) -> None:
    assert spool.reject("pending", "a.json", "no job", now=NOW) is None
    assert names(spool, "rejected") == []


def test_a_symbolic_link_is_rejected_and_not_what_it_points_to(spool: Spool, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_bytes(b'{"command": "true"}')
    (spool.path / "pending" / "a.json").symlink_to(other)
    target = spool.reject("pending", "a.json", "a symbolic link is no job", now=NOW)
    assert (spool.path / "rejected" / str(target)).is_symlink()
    assert other.read_bytes() == b'{"command": "true"}'


# Putting an ended job back.


def test_an_ended_job_is_not_put_back_over_another_file(spool: Spool) -> None:
    ended = waiting(state=State.COMPLETED, exit="0", updated_at=clock.iso(NOW))
    _, name = final_place(ended)
    for place in ("dead", "completed"):
        (spool.path / place / name).write_text(place)
    assert not spool.put_back("dead", name, ended)
    assert [(spool.path / place / name).read_text() for place in ("dead", "completed")] == ["dead", "completed"]


# What is made durable.


def relaxed(spool: Spool, state: State) -> None:
    """Claim a job without making that durable, and settle it as the level `relaxed` does."""
    found = spool.claim("pending", put(spool), now=NOW, limit=LIMIT, durable=False)
    assert isinstance(found, Claim)
    decide(found.job, state)
    assert spool.settle(found, now=NOW, durable=state is not State.COMPLETED)


@pytest.mark.parametrize("state", [State.FAILED, State.DEAD])
def test_a_claim_that_was_not_durable_becomes_so_before_a_failure_is_recorded(
    spool: Spool, synced: list[str], state: State
) -> None:
    relaxed(spool, state)
    assert synced == ["tmp", "pending", "processing", "pending", "tmp", state.value, "processing"]


def test_nothing_of_a_success_is_synced_at_the_level_relaxed(spool: Spool, synced: list[str]) -> None:
    relaxed(spool, State.COMPLETED)
    assert synced == ["tmp", "pending"]  # by putting it in


# Removing.


def test_a_removed_job_takes_its_log_with_it(spool: Spool) -> None:
    name = put(spool)
    os.close(spool.open_log("a"))
    os.close(spool.open_log("b"))
    assert spool.remove("pending", name)
    assert names(spool, "pending", "logs") == ["logs/b.log"]


def test_a_job_that_somebody_holds_is_not_removed(spool: Spool) -> None:
    name = put(spool)
    fd = os.open(spool.path / "pending" / name, os.O_RDONLY)
    disk.flock(fd)
    assert not spool.remove("pending", name)
    assert names(spool) == [f"pending/{name}"]
    os.close(fd)


def test_a_job_that_has_gone_is_not_removed(spool: Spool) -> None:
    assert not spool.remove("pending", f"{STAMP}.5.a.json")


# Ids.


def test_taken_ids_are_found_in_every_state(spool: Spool) -> None:
    for place, name in (
        ("pending", f"{STAMP}.5.a.json"),
        ("processing", f"{STAMP}.1.b.json"),
        ("failed", f"{STAMP}.5.c.json"),
        ("completed", f"{STAMP}.0.d.json"),
        ("dead", f"{STAMP}.sig9.e.f.json"),
    ):
        (spool.path / place / name).touch()
    expected = {"a": "pending", "b": "processing", "c": "failed", "d": "completed", "e.f": "dead"}
    assert spool.taken({*expected, "z"}) == expected


def test_a_file_whose_name_is_not_canonical_takes_no_id(spool: Spool) -> None:
    for name in ("a.json", "x.y.a.json", f".{STAMP}.5.a.json", f"{STAMP}.55.a.json"):
        (spool.path / "pending" / name).touch()
    assert spool.taken({"a"}) == {}


def test_ids_are_settled_by_one_at_a_time(spool: Spool) -> None:
    held, other = spool.lock_ids(), Spool(spool.path).open_lock()
    assert not disk.flock(other)
    os.close(held)
    assert disk.flock(other)
    os.close(other)


# Logs.


def test_a_log_is_appended_to_and_never_emptied(spool: Spool) -> None:
    for text in (b"one\n", b"two\n"):
        fd = spool.open_log("a")
        os.write(fd, text)
        os.close(fd)
    assert (spool.path / "logs" / "a.log").read_bytes() == b"one\ntwo\n"


def test_a_log_that_is_a_symbolic_link_is_not_followed(spool: Spool, tmp_path: Path) -> None:
    (spool.path / "logs" / "a.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        spool.open_log("a")
    assert not (tmp_path / "elsewhere").exists()


# Reading a file up to a limit.


def test_a_new_file_never_takes_the_place_of_one_that_is_there(spool: Spool) -> None:
    (spool.path / "tmp" / "x").write_text("another's")
    with pytest.raises(FileExistsError):
        spool.directories["tmp"].write_new("x", b"mine", durable=False)
    assert (spool.path / "tmp" / "x").read_text() == "another's"


@pytest.mark.parametrize(
    ("size", "limit"), [(0, 10), (9, 10), (10, 10), (11, 10), (200_000, 150_000), (200_000, 2**30)]
)
def test_a_file_is_read_up_to_one_byte_more_than_the_limit(tmp_path: Path, size: int, limit: int) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    assert disk.read(fd, limit) == data[: limit + 1]
    os.close(fd)


def test_reading_a_small_file_needs_no_room_for_the_limit(spool: Spool) -> None:
    name = put(spool)
    fd = os.open(spool.path / "pending" / name, os.O_RDONLY)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, hard))
    try:
        assert disk.read(fd, 2**30)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        os.close(fd)


# The tree.


def test_a_new_spool_has_all_its_directories_for_its_owner_alone(spool: Spool) -> None:
    made = {path.name: path.stat().st_mode & 0o777 for path in spool.path.iterdir() if path.is_dir()}
    assert made == dict.fromkeys(DIRECTORIES, 0o700)
    assert spool.path.stat().st_mode & 0o777 == 0o700


def test_making_a_spool_again_keeps_what_is_in_it(spool: Spool) -> None:
    put(spool)
    again = Spool.create(spool.path)
    assert (again.uuid, len(names(again, "pending"))) == (spool.uuid, 1)


def test_making_a_spool_again_completes_it(spool: Spool) -> None:
    (spool.path / "dead").rmdir()
    Spool.create(spool.path)
    assert (spool.path / "dead").is_dir()


def test_a_directory_that_came_open_to_others_is_closed_when_it_is_made_a_spool(tmp_path: Path) -> None:
    (tmp_path / "came").mkdir(mode=0o777)
    (tmp_path / "came").chmod(0o777)
    assert Spool.create(tmp_path / "came").path.stat().st_mode & 0o777 == 0o700


def test_of_two_makers_both_get_the_same_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link
    others: list[str] = []

    def be_second(*args: Any, **kwargs: Any) -> None:
        monkeypatch.undo()
        others.append(Spool.create(tmp_path / "new").uuid)
        link(*args, **kwargs)

    monkeypatch.setattr(os, "link", be_second)
    assert [Spool.create(tmp_path / "new").uuid] == others
    assert list((tmp_path / "new" / "tmp").iterdir()) == []


@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_where_there_is_no_marker_there_is_no_spool(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "no-spool"
    if kind == "file":
        path.touch()
    elif kind == "empty":
        path.mkdir()
    with pytest.raises(NotFound, match="no spool here"):
        Spool(path)


def test_a_spool_of_a_newer_format_is_refused(spool: Spool) -> None:
    (spool.path / "queuectl.json").write_text('{"format": 2, "uuid": "x"}')
    with pytest.raises(Refused, match="format 2 is newer than this queuectl reads"):
        Spool(spool.path)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"format": "x", "uuid": ""}', "\xff", '{"format": []}'])
def test_a_marker_that_cannot_be_read_is_refused(spool: Spool, text: str) -> None:
    (spool.path / "queuectl.json").write_text(text, "latin-1")
    with pytest.raises(Refused, match="not readable as a spool's marker"):
        Spool(spool.path)


def test_a_missing_directory_is_named(spool: Spool) -> None:
    (spool.path / "failed").rmdir()
    with pytest.raises(Refused, match=r"failed: this directory of the spool is missing"):
        Spool(spool.path).directories["failed"]


def test_a_spool_that_has_been_moved_is_noticed(spool: Spool, tmp_path: Path) -> None:
    assert spool.still_there()
    os.rename(spool.path, tmp_path / "moved")
    assert not spool.still_there()
    Spool.create(spool.path)
    assert not spool.still_there()


def test_a_queue_is_paused_until_it_is_resumed(spool: Spool) -> None:
    seen = [spool.paused()]
    spool.pause()
    spool.pause()
    seen.append(spool.paused())
    assert spool.resume()
    assert not spool.resume()
    assert [*seen, spool.paused()] == [False, True, False]


def test_settings_that_cannot_be_written_leave_the_old_ones_and_no_draft(spool: Spool) -> None:
    spool.write_config("max_retries = 1\n", STAMP)
    with files_of_at_most(10), pytest.raises(OSError, match="File too large"):
        spool.write_config("max_retries = 2\n# and more\n", STAMP)
    assert (spool.config_text(), names(spool, "tmp")) == ("max_retries = 1\n", [])


def test_settings_that_are_not_utf_8_are_refused(spool: Spool) -> None:
    (spool.path / "config.toml").write_bytes(b"\xff")
    with pytest.raises(Refused, match=r"config\.toml: not UTF-8"):
        spool.config_text()


def test_a_probe_goes_through_all_directories_and_leaves_nothing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    inodes = {os.stat(spool.path / name).st_ino: name for name in DIRECTORIES}
    seen: set[str] = set()
    rename = os.rename

    def note(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        seen.add(inodes[os.fstat(dst_dir_fd).st_ino])
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", note)
    spool.probe(STAMP)
    assert (seen, names(spool, *DIRECTORIES)) == (set(DIRECTORIES), [])


def test_a_probe_names_the_directory_that_is_on_another_file_system(spool: Spool) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == spool.path.stat().st_dev:
        pytest.skip("no second file system here")
    other = memory / f"queuectl-test-{os.getpid()}"
    other.mkdir()
    try:
        (spool.path / "dead").rmdir()
        (spool.path / "dead").symlink_to(other)
        with pytest.raises(Refused, match="dead: not on one file system with failed/"):
            spool.probe(STAMP)
        assert names(spool, *DIRECTORIES) == []
    finally:
        other.rmdir()


def test_a_probe_that_fails_otherwise_leaves_nothing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename
    renamed: list[str] = []

    def fail_later(source: str, target: str, **kwargs: int) -> None:
        renamed.append(target)
        if len(renamed) == 4:
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target, **kwargs)

    monkeypatch.setattr(os, "rename", fail_later)
    with pytest.raises(OSError, match="Input/output error"):
        spool.probe(STAMP)
    assert names(spool, *DIRECTORIES) == []
