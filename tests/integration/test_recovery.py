"""What is left in `processing/` by a worker that died, and what becomes of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hand import Hand

from queuectl import clock, job, recovery
from queuectl.admission import Admission
from queuectl.job import Attempt, Job, State
from queuectl.queue import Queue
from queuectl.recovery import Recovered
from queuectl.spool import READ_ORDER, Spool

NOW = 1_800_000_000_000
STARTED = clock.stamp(NOW)
FIRST_RUN = Attempt(attempt=1, worker="w", started_at="", finished_at="", log_start=0, log_end=4)

Recover = Callable[[], Recovered]


@pytest.fixture
def recover(hand: Hand) -> Recover:
    """Recover as a worker does at its start."""

    def recover_all() -> Recovered:
        return recovery.recover(hand.spool, hand.config, hand, Admission(hand.spool, limit=hand.config.max_job_bytes))

    return recover_all


def leave(spool: Spool, name_rev: int, **fields: Any) -> Job:
    """Leave a job in `processing/` that nobody holds."""
    times = {"due_at": clock.iso(NOW), "updated_at": clock.iso(NOW)}
    made = Job(**{"command": "true", "id": "a", **times, **fields})
    (spool.path / "processing" / f"{STARTED}.{name_rev}.a.json").write_bytes(job.encode(made))
    return made


def files(spool: Spool, *places: str) -> list[str]:
    return sorted(f"{place}/{path.name}" for place in places for path in (spool.path / place).iterdir())


# Lost attempts.


def test_a_lost_attempt_counts_and_waits_for_its_retry(queue: Queue, spool: Spool, recover: Recover) -> None:
    leave(spool, 1)
    before = clock.now()
    done = recover()
    found = queue.get("a")
    assert (len(done.lost), done.moved, done.rejected) == (1, 0, [])
    assert (found.state, found.attempts, found.last_error, found.exit) == (State.FAILED, 1, "worker lost", "lost")
    assert clock.uniso(found.due_at or "") >= before + 2000


def test_a_lost_attempt_is_decided_at_the_revision_of_its_name(queue: Queue, spool: Spool, recover: Recover) -> None:
    """Its JSON may be older by more than one; a decision below the name's revision would be taken for none."""
    leave(spool, 5, rev=2)
    recover()
    assert queue.get("a").rev == 5


def test_a_lost_attempt_stands_in_the_history_with_when_it_began(queue: Queue, spool: Spool, recover: Recover) -> None:
    leave(spool, 1)
    recover()
    (run,) = queue.get("a").history
    assert (run.attempt, run.worker, run.started_at, run.error) == (1, "lost", clock.iso(NOW), "worker lost")


def test_a_job_whose_last_attempt_is_lost_is_buried(queue: Queue, spool: Spool, recover: Recover) -> None:
    leave(spool, 4, rev=3, attempts=3)
    recover()
    assert (queue.get("a").state, queue.get("a").attempts) == (State.DEAD, 4)


def test_the_output_of_a_lost_attempt_is_kept_with_it(queue: Queue, spool: Spool, recover: Recover) -> None:
    leave(spool, 2, rev=1, attempts=1, history=[FIRST_RUN])
    (spool.path / "logs" / "a.log").write_bytes(b"one\ntwo\n")
    recover()
    assert (queue.logs("a", attempt=1), queue.logs("a", attempt=2)) == (b"one\n", b"two\n")


@pytest.mark.parametrize("kind", ["missing", "shortened", "link"])
def test_a_log_that_was_taken_away_leaves_a_lost_attempt_without_output(
    queue: Queue, spool: Spool, recover: Recover, kind: str
) -> None:
    leave(spool, 2, rev=1, attempts=1, history=[FIRST_RUN])
    log = spool.path / "logs" / "a.log"
    if kind == "shortened":
        log.write_bytes(b"o")
    elif kind == "link":
        log.symlink_to("/etc/passwd")
    recover()
    run = queue.get("a").history[-1]
    assert (run.attempt, run.log_end - run.log_start) == (2, 0)


def test_a_job_that_kills_its_worker_each_time_is_buried_in_the_end(queue: Queue, hand: Hand, recover: Recover) -> None:
    queue.enqueue("true", id="a", backoff_base=0)
    for _ in range(4):
        hand.claim("a").close()
        recover()
    assert (queue.get("a").state, [run.attempt for run in queue.get("a").history]) == (State.DEAD, [1, 2, 3, 4])


def test_an_attempt_that_is_lost_after_a_failure_counts_too(queue: Queue, hand: Hand, recover: Recover) -> None:
    queue.enqueue("true", id="a", backoff_base=0)
    hand.fail("a")
    hand.claim("a").close()
    recover()
    assert (queue.get("a").rev, queue.get("a").attempts, queue.get("a").state) == (2, 2, State.FAILED)


def test_a_lost_attempt_is_found_once(spool: Spool, recover: Recover) -> None:
    leave(spool, 1)
    assert (len(recover().lost), len(recover().lost)) == (1, 0)


# What is not lost.


def test_a_job_whose_command_still_lives_is_left_alone(queue: Queue, hand: Hand, recover: Recover) -> None:
    queue.enqueue("true", id="a")
    claim = hand.claim("a")
    child = subprocess.Popen(["sleep", "300"], pass_fds=[claim.fd])
    try:
        claim.close()
        assert recover() == Recovered()
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()
    assert len(recover().lost) == 1


def test_a_job_that_a_worker_holds_is_left_alone(queue: Queue, hand: Hand, recover: Recover) -> None:
    queue.enqueue("true", id="a")
    claim = hand.claim("a")
    assert recover() == Recovered()
    claim.close()


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"state": State.COMPLETED, "exit": "0"}, f"completed/{STARTED}.0.a.json"),
        ({"state": State.DEAD, "exit": "timeout"}, f"dead/{STARTED}.timeout.a.json"),
        ({"state": State.FAILED, "priority": 7}, f"failed/{STARTED}.7.a.json"),
        ({"state": State.PENDING}, f"pending/{STARTED}.5.a.json"),
    ],
)
def test_a_decided_job_is_moved_and_not_counted_again(
    spool: Spool, recover: Recover, fields: dict[str, Any], place: str
) -> None:
    made = leave(spool, 1, rev=1, attempts=1, **fields)
    done = recover()
    assert (done.moved, done.lost, done.rejected) == (1, [], [])
    assert job.parse((spool.path / place).read_bytes()) == made


# What cannot be understood.


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (f"{STARTED}.1.a.json", b""),
        (f"{STARTED}.1.a.json", b'{"command": "tr'),
        (f"{STARTED}.1.a.json", b'{"command": "true", "rev": -1}'),
        (f"{STARTED}.1.a.json", b'{"command": "true", "rev": 1, "state": "processing"}'),
        (f"{STARTED}.1.a.json", b'{"command": "true", "rev": 1, "state": "dead", "exit": "a/b"}'),
        (f"{STARTED}.1.a.json", b'{"command": "true", "rev": 1, "state": "completed", "exit": "well"}'),
        ("a.json", b'{"command": "true"}'),
        ("README", b"not mine"),
        (f"{STARTED}.1234567890.a.json", b'{"command": "true"}'),
    ],
)
def test_what_cannot_be_understood_is_rejected_with_its_bytes(
    spool: Spool, recover: Recover, name: str, data: bytes
) -> None:
    (spool.path / "processing" / name).write_bytes(data)
    ((rejected, why),) = recover().rejected
    assert (rejected, bool(why)) == (name, True)
    kept = [path for path in (spool.path / "rejected").iterdir() if path.suffix != ".why"]
    assert [path.read_bytes() for path in kept] == [data]
    assert files(spool, "processing") == []


@pytest.mark.parametrize("kind", ["directory", "link", "fifo", "hidden"])
def test_what_is_no_regular_file_is_left_alone(spool: Spool, recover: Recover, kind: str) -> None:
    path = spool.path / "processing" / (".hidden" if kind == "hidden" else f"{STARTED}.1.a.json")
    {
        "directory": path.mkdir,
        "link": lambda: path.symlink_to("/etc/passwd"),
        "fifo": lambda: os.mkfifo(path),
        "hidden": path.touch,
    }[kind]()
    assert recover() == Recovered()
    assert files(spool, "processing", "rejected") == [f"processing/{path.name}"]


def test_one_file_that_cannot_be_understood_keeps_no_other_from_recovery(spool: Spool, recover: Recover) -> None:
    leave(spool, 1)
    for number in range(5):
        (spool.path / "processing" / f"{STARTED}.1.b{number}.json").write_bytes(b'{"state": "processing"}')
    done = recover()
    assert (len(done.lost), len(done.rejected)) == (1, 5)


# Sizes.


def test_a_job_that_has_grown_beyond_the_limit_for_drops_is_still_recovered(
    queue: Queue, spool: Spool, recover: Recover
) -> None:
    leave(spool, 1, meta={"x": "y" * (2**20 + 1)})
    recover()
    assert queue.get("a").state is State.FAILED


# Two names of one job.


def test_of_two_names_of_one_file_the_one_in_processing_stays_and_that_is_made_durable(
    spool: Spool, synced: list[str]
) -> None:
    leave(spool, 1)
    os.link(spool.path / "processing" / f"{STARTED}.1.a.json", spool.path / "pending" / f"{STARTED}.5.a.json")
    assert recovery.settle_twins(spool, clock.now()) == 1
    assert files(spool, *READ_ORDER) == [f"processing/{STARTED}.1.a.json"]
    assert synced == ["pending"]


# Drafts.


def draft(spool: Spool, pid: int | str) -> Path:
    path = spool.path / "tmp" / f"{STARTED}.{pid}.abc"
    path.touch()
    return path


def test_an_old_draft_of_a_dead_writer_is_swept(spool: Spool, gone: int) -> None:
    path = draft(spool, gone)
    assert recovery.sweep(spool, clock.now() + recovery.STALE_DRAFT_MS) == 1
    assert not path.exists()


def test_a_young_draft_is_not_swept(spool: Spool, gone: int) -> None:
    path = draft(spool, gone)
    assert recovery.sweep(spool, clock.now()) == 0
    assert path.exists()


def test_a_draft_of_a_living_writer_is_not_swept(spool: Spool) -> None:
    path = draft(spool, os.getpid())
    assert recovery.sweep(spool, clock.now() + recovery.STALE_DRAFT_MS) == 0
    assert path.exists()


def test_a_draft_that_somebody_holds_is_not_swept(hand: Hand, gone: int) -> None:
    path = draft(hand.spool, gone)
    fd = hand.spool.directories["tmp"].lock(path.name)
    assert isinstance(fd, int)
    assert recovery.sweep(hand.spool, clock.now() + recovery.STALE_DRAFT_MS) == 0
    os.close(fd)


@pytest.mark.parametrize("name", ["x", "queuectl.json.abc.def", "a.٣.b", "a.99999999999999999999.b"])
def test_an_old_draft_of_nobody_is_swept(spool: Spool, name: str) -> None:
    (spool.path / "tmp" / name).touch()
    assert recovery.sweep(spool, clock.now() + recovery.STALE_DRAFT_MS) == 1


def test_a_directory_among_the_drafts_is_left_alone(spool: Spool) -> None:
    (spool.path / "tmp" / "folder").mkdir()
    assert recovery.sweep(spool, clock.now() + recovery.STALE_DRAFT_MS) == 0
