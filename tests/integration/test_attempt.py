"""One attempt at a job, from the claim to its place, with real commands."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hand import Hand
from helpers import is_alive

from queuectl import attempt, clock, settling
from queuectl.config import Config
from queuectl.executors import Execution, Order
from queuectl.job import Job, State
from queuectl.queue import Queue
from queuectl.settling import Outcome
from queuectl.spool import Spool

NOW = 1_800_000_000_000


def outcome(how: str, **fields: Any) -> Outcome:
    return Outcome(how, None if how == "0" else f"exit {how}", NOW, NOW + 20, **fields)


def pids(queue: Queue, id: str) -> list[int]:
    return [int(word) for word in queue.logs(id).split()]


# Deciding.


@pytest.mark.parametrize(
    ("how", "attempts", "state"),
    [
        ("0", 0, State.COMPLETED),
        ("0", 3, State.COMPLETED),
        ("7", 0, State.FAILED),
        ("7", 2, State.FAILED),
        ("7", 3, State.DEAD),
        ("timeout", 0, State.FAILED),
        ("sig9", 3, State.DEAD),
        ("lost", 0, State.FAILED),
        ("nostart", 0, State.FAILED),
        ("cancelled", 0, State.DEAD),
    ],
)
def test_what_becomes_of_a_job_follows_from_its_outcome_and_its_attempts(how: str, attempts: int, state: State) -> None:
    found = Job(command="x", id="a", attempts=attempts)
    settling.decide(found, outcome(how), Config(), "host.1")
    assert (found.state, found.attempts, found.rev) == (state, attempts + 1, 1)


def test_a_decision_tells_when_the_retry_is_due() -> None:
    found = Job(command="x", id="a", attempts=1)
    settling.decide(found, outcome("7"), Config(), "host.1")
    assert (found.updated_at, found.due_at) == (clock.iso(NOW + 20), clock.iso(NOW + 20 + 4000))


@pytest.mark.parametrize(
    ("fields", "settings", "due"),
    [
        ({}, {}, 2000),
        ({}, {"backoff_base": 3.0}, 3000),
        ({"backoff_base": 5.0}, {"backoff_base": 3.0}, 5000),
        ({"backoff_base": 50.0}, {"backoff_max": 10.0}, 10_000),
        ({"backoff_base": 0.0}, {}, 0),
    ],
)
def test_a_jobs_own_backoff_goes_before_the_settings(
    fields: dict[str, Any], settings: dict[str, Any], due: int
) -> None:
    found = Job(command="x", id="a", **fields)
    settling.decide(found, outcome("7"), Config(**settings), "host.1")
    assert found.due_at == clock.iso(NOW + 20 + due)


@pytest.mark.parametrize(("own", "general", "state"), [(0, 3, State.DEAD), (3, 0, State.FAILED), (None, 0, State.DEAD)])
def test_a_jobs_own_retries_go_before_the_settings(own: int | None, general: int, state: State) -> None:
    found = Job(command="x", id="a", max_retries=own)
    settling.decide(found, outcome("7"), Config(max_retries=general), "host.1")
    assert found.state is state


def test_an_attempt_stands_in_the_history_with_all_that_is_known_of_it() -> None:
    found = Job(command="x", id="a")
    settling.decide(found, outcome("7", exit_code=7, log_start=3, log_end=9), Config(), "host.1")
    settling.decide(found, outcome("sig9", signal=9, log_start=9, log_end=9), Config(), "host.2")
    first, second = found.history
    assert (first.attempt, first.worker, first.exit_code, first.signal, first.error) == (1, "host.1", 7, None, "exit 7")
    assert (first.started_at, first.finished_at) == (clock.iso(NOW), clock.iso(NOW + 20))
    assert (first.log_start, first.log_end) == (3, 9)
    assert (second.attempt, second.worker, second.exit_code, second.signal) == (2, "host.2", None, 9)


def test_a_job_that_is_put_back_keeps_its_attempts_and_its_place() -> None:
    found = Job(command="x", id="a", attempts=2, rev=5, state=State.FAILED, due_at=clock.iso(NOW))
    settling.release(found, NOW + 9)
    assert (found.state, found.attempts, found.rev, found.due_at) == (State.PENDING, 2, 6, clock.iso(NOW))
    assert found.history == []


# Running.


@pytest.mark.parametrize(
    ("command", "how", "error", "code", "number"),
    [
        ("true", "0", None, 0, None),
        ("exit 7", "7", "exit 7", 7, None),
        ("kill -9 $$", "sig9", "killed by signal 9 (SIGKILL)", None, 9),
        ("kill -34 $$", "sig34", "killed by signal 34", None, 34),
        (["/no/such"], "nostart", "cannot start /no/such: No such file or directory", None, None),
        ("no-such-program", "127", "exit 127", 127, None),
    ],
)
def test_the_end_of_a_command_is_recorded(
    queue: Queue, hand: Hand, command: Any, how: str, error: str | None, code: int | None, number: int | None
) -> None:
    queue.enqueue(command, id="a")
    hand.run()
    found = queue.get("a")
    assert (found.exit, found.exit_code) == (how, code)
    assert (found.last_error or "").startswith(error) if error else found.last_error is None
    assert (found.history[0].exit_code, found.history[0].signal) == (code, number)


def test_a_directory_that_is_not_there_is_a_failed_attempt(queue: Queue, hand: Hand) -> None:
    queue.enqueue("true", id="a", cwd="/no/such")
    hand.run()
    found = queue.get("a")
    assert (found.state, found.attempts, found.exit) == (State.FAILED, 1, "nostart")
    assert found.last_error == "cannot enter directory /no/such: No such file or directory"


def test_a_command_is_told_which_job_and_attempt_it_is(queue: Queue, hand: Hand) -> None:
    queue.enqueue("echo $QUEUECTL_JOB_ID $QUEUECTL_ATTEMPT $QUEUECTL_SPOOL; exit 1", id="a", backoff_base=0)
    hand.run()
    hand.run()
    assert queue.logs("a").decode() == f"a 1 {queue.path}\na 2 {queue.path}\n"


def test_a_jobs_own_variables_lie_over_the_workers(queue: Queue, hand: Hand) -> None:
    queue.enqueue("echo $A $HOME", id="a", env={"A": "ä b", "HOME": "/mine", "QUEUECTL_JOB_ID": "forged"})
    hand.run()
    assert queue.logs("a").decode() == "ä b /mine\n"


def test_a_job_cannot_pretend_to_be_another(queue: Queue, hand: Hand) -> None:
    queue.enqueue("echo $QUEUECTL_JOB_ID", id="a", env={"QUEUECTL_JOB_ID": "forged"})
    hand.run()
    assert queue.logs("a") == b"a\n"


def test_a_command_is_told_the_directory_that_it_was_put_in(queue: Queue, hand: Hand, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    queue.enqueue(["sh", "-c", "echo $PWD"], id="a", cwd=str(tmp_path / "link"))
    hand.run()
    assert queue.logs("a").decode() == f"{tmp_path}/link\n"


# Ending a command early.


def test_a_timeout_ends_the_command_and_counts(queue: Queue, hand: Hand) -> None:
    queue.enqueue("echo $$; sleep 300 & echo $!; wait", id="a", timeout=0.05)
    hand.run()
    found = queue.get("a")
    assert (found.state, found.exit, found.attempts) == (State.FAILED, "timeout", 1)
    assert found.last_error == "timeout after 0.05 s"
    assert not any(map(is_alive, pids(queue, "a")))


def test_the_timeout_of_the_settings_is_for_jobs_that_have_none(queue: Queue, hand: Hand) -> None:
    hand.config = Config(job_timeout_sec=0.05)
    queue.enqueue("exec sleep 300", id="a")
    hand.run()
    assert queue.get("a").exit == "timeout"


def test_a_job_may_ask_for_no_timeout(queue: Queue, hand: Hand) -> None:
    hand.config = Config(job_timeout_sec=0.01)
    queue.enqueue("sleep 0.05", id="a", timeout=0)
    hand.run()
    assert queue.get("a").state is State.COMPLETED


def test_a_command_that_ignores_term_is_killed_after_its_grace(queue: Queue, hand: Hand) -> None:
    hand.config = Config(kill_grace_sec=0.05)
    line = "trap '' TERM; echo $$; (trap '' TERM; exec sleep 300) & echo $!; wait; sleep 300"
    queue.enqueue(line, id="a", timeout=0.05)
    hand.run()
    found = queue.get("a")
    assert (found.exit, found.history[0].signal) == ("timeout", signal.SIGKILL)
    assert len(pids(queue, "a")) == 2
    assert not any(map(is_alive, pids(queue, "a")))


def test_a_success_after_the_timeout_is_no_success(queue: Queue, hand: Hand) -> None:
    queue.enqueue("trap 'exit 0' TERM; while :; do sleep 0.01; done", id="a", timeout=0.05)
    hand.run()
    found = queue.get("a")
    assert (found.state, found.exit, found.exit_code) == (State.FAILED, "timeout", 0)


@pytest.mark.parametrize(
    ("word", "state", "attempts", "how"),
    [(settling.CANCELLED, State.DEAD, 1, "cancelled"), (settling.STOPPED, State.PENDING, 0, None)],
)
def test_a_word_from_outside_ends_the_command(
    queue: Queue,
    hand: Hand,
    monkeypatch: pytest.MonkeyPatch,
    word: str,
    state: State,
    attempts: int,
    how: str | None,
) -> None:
    monkeypatch.setattr(attempt, "TICK_S", 0.01)
    monkeypatch.setattr(hand, "word", lambda _id: word)
    queue.enqueue("echo $$; exec sleep 300", id="a")
    hand.run()
    found = queue.get("a")
    assert (found.state, found.attempts, found.exit) == (state, attempts, how)


# What the machine refuses.


class Refusing:
    """An executor on a machine that has no room for another process."""

    def start(self, _order: Order) -> Execution:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")


def test_a_job_that_there_is_no_room_to_start_is_put_back_unspent(queue: Queue, hand: Hand) -> None:
    hand.executor = Refusing()  # type: ignore[assignment]
    queue.enqueue("true", id="a")
    with pytest.raises(OSError, match="temporarily unavailable"):
        hand.run()
    assert (queue.get("a").state, queue.get("a").attempts) == (State.PENDING, 0)


@pytest.mark.parametrize("kind", ["link", "directory"])
def test_a_log_that_cannot_be_opened_is_a_failed_attempt(queue: Queue, hand: Hand, kind: str) -> None:
    log = queue.path / "logs" / "a.log"
    log.mkdir() if kind == "directory" else log.symlink_to("/dev/null")
    queue.enqueue("true", id="a")
    hand.run()
    found = queue.get("a")
    assert (found.state, found.attempts, found.exit) == (State.FAILED, 1, "nostart")
    assert (found.last_error or "").startswith("cannot open its log: ")


Refuse = Callable[[int], None]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Let the next few decisions not be written, as on a full disk."""
    monkeypatch.setattr(settling, "RETRY_SETTLE_S", 0.0)
    settle = Spool.settle

    def for_times(times: int) -> None:
        left = [times]

        def refuse_or_settle(*args: Any, **kwargs: Any) -> bool:
            left[0] -= 1
            if left[0] >= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return settle(*args, **kwargs)

        monkeypatch.setattr(Spool, "settle", refuse_or_settle)

    return for_times


def test_a_decision_is_tried_again_until_the_disk_takes_it(queue: Queue, hand: Hand, refuse: Refuse) -> None:
    queue.enqueue("true", id="a")
    refuse(3)
    hand.run()
    assert queue.get("a").state is State.COMPLETED


def test_a_disk_that_refuses_is_told_of_once_and_so_is_its_end(queue: Queue, hand: Hand, refuse: Refuse) -> None:
    queue.enqueue("true", id="a")
    refuse(3)
    hand.run()
    assert hand.said == [
        "Cannot record job a (ENOSPC: No space left on device); trying again every second",
        "Job a is recorded now",
    ]


def test_a_job_that_was_moved_while_it_ran_is_told_of(queue: Queue, hand: Hand) -> None:
    queue.enqueue("mv $QUEUECTL_SPOOL/processing/*.a.json $QUEUECTL_SPOOL/..", id="a")
    hand.run()
    assert hand.said == ["Job a was moved by hand while it ran; its result is not recorded"]
    assert sum(queue.counts().values()) == 0


def test_an_attempt_leaves_no_descriptor_open(queue: Queue, hand: Hand) -> None:
    queue.enqueue_many(["true", "true", ["/no/such"], "true"])
    hand.run()
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        hand.run()
    assert len(os.listdir("/dev/fd")) == before
