"""A call that the machine refuses once: nothing is lost, nothing is left behind, no lock is kept."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

import pytest
from hand import Hand

from queuectl import clock, disk, recovery, registry
from queuectl.admission import Admission
from queuectl.disk import Miss
from queuectl.errors import Refused
from queuectl.job import State
from queuectl.queue import Queue
from queuectl.spool import Spool

NAME = "20200101T000000000Z.5.one.json"


def refusing(code: int, allowed: int = 0) -> Callable[..., Any]:
    """Return a call that fails with an error, after it has been made `allowed` times to no effect."""
    left = [allowed]

    def call(*_args: Any, **_kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(code, os.strerror(code))

    return call


@pytest.fixture
def one(spool: Spool) -> str:
    """The name of a job that waits."""
    (spool.path / "pending" / NAME).write_text('{"command": "true"}')
    return NAME


@pytest.mark.parametrize("synced", range(3))
def test_a_claim_that_cannot_be_made_durable_is_given_back(
    spool: Spool, one: str, monkeypatch: pytest.MonkeyPatch, synced: int
) -> None:
    monkeypatch.setattr(os, "fsync", refusing(errno.ENOSPC, synced))
    with pytest.raises(OSError, match="No space left"):
        spool.claim("pending", one, now=clock.now(), limit=1000, durable=True)
    assert (os.listdir(spool.path / "pending"), os.listdir(spool.path / "processing")) == ([one], [])


def test_a_claim_that_was_given_back_is_not_locked(spool: Spool, one: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", refusing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        spool.claim("pending", one, now=clock.now(), limit=1000, durable=True)
    assert not isinstance(spool.directories["pending"].lock(one), Miss)


def test_a_claim_is_not_given_back_over_a_file_that_has_taken_its_name(spool: Spool, one: str) -> None:
    claim = spool.claim("pending", one, now=clock.now(), limit=1000, durable=False)
    assert not isinstance(claim, Miss)
    (spool.path / "pending" / one).write_text("another's")
    spool.unclaim(claim, "pending", one)
    assert (spool.path / "pending" / one).read_text() == "another's"


def test_a_retry_that_cannot_be_written_leaves_the_dead_job_as_it_was(
    queue: Queue, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.enqueue("false", id="one", max_retries=0)
    hand.fail("one")
    before = os.listdir(queue.path / "dead")
    monkeypatch.setattr(disk, "write", refusing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        queue.retry("one")
    assert (os.listdir(queue.path / "dead"), os.listdir(queue.path / "processing")) == (before, [])


def test_a_decided_job_whose_move_fails_is_not_put_back(
    queue: Queue, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.enqueue("false", id="one", max_retries=0)
    hand.fail("one")
    monkeypatch.setattr(Spool, "_move", refusing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        queue.retry("one")
    assert (os.listdir(queue.path / "dead"), len(os.listdir(queue.path / "processing"))) == ([], 1)


def test_a_run_whose_end_cannot_be_seen_is_counted(queue: Queue, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.enqueue("echo output", id="one")
    monkeypatch.setattr(hand, "tick", refusing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        hand.run("one")
    recovery.recover(hand.spool, hand.config, hand, Admission(hand.spool, limit=1000))
    assert queue.get("one").attempts == 1


def test_a_job_that_its_worker_has_ended_with_itself_is_cancelled(
    queue: Queue, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.enqueue("true", id="one")
    claim = hand.claim("one")

    def the_worker_ends(_spool: Spool) -> list[registry.WorkerInfo]:
        claim.job.rev, claim.job.state, claim.job.attempts = 1, State.FAILED, 1
        hand.spool.settle(claim, now=clock.now(), durable=False)
        return []

    monkeypatch.setattr(registry, "live", the_worker_ends)
    assert queue.cancel("one").exit == "cancelled"


def test_a_lock_that_the_system_cannot_give_is_an_error_of_the_system(spool: Spool) -> None:
    fd = spool.open_lock()
    os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        disk.flock(fd)


def test_a_registration_that_fails_leaves_no_draft(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "write", refusing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        registry.register(spool, registry.WORKER, 1, clock.now())
    assert os.listdir(spool.path / "tmp") == []


def test_a_drop_whose_rejection_fails_is_not_kept_locked(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    (spool.path / "pending" / "broken.json").write_text('{"command": 5}')
    monkeypatch.setattr(Spool, "reject", refusing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        Admission(spool, limit=1000).admit(["broken.json"], clock.now())
    assert not isinstance(spool.directories["pending"].lock("broken.json"), Miss)


def test_a_file_is_not_rejected_while_its_reason_cannot_be_written(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (spool.path / "pending" / "broken.json").write_text('{"command": 5}')
    monkeypatch.setattr(disk, "write", refusing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        spool.reject("pending", "broken.json", "no job", now=clock.now())
    assert (os.listdir(spool.path / "pending"), os.listdir(spool.path / "rejected")) == (["broken.json"], [])


def test_an_enqueue_whose_rename_fails_leaves_no_draft(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "rename", refusing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        queue.enqueue("true")
    assert os.listdir(queue.path / "tmp") == []


def test_a_job_that_cannot_be_read_is_not_said_to_be_taken_by_another_process(queue: Queue, hand: Hand) -> None:
    queue.enqueue("false", id="one", max_retries=0)
    hand.fail("one")
    next((queue.path / "dead").iterdir()).write_text("{")
    with pytest.raises(Refused, match="not readable as a job"):
        queue.remove("one")
