"""What is made durable at each step, and in which order: the table in docs/spool.md, "Durability".

File systems differ in what one fsync takes along, and those at hand take more than any standard promises. So the power
cuts of tests/attack cannot miss each of these calls, and here they are counted.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hand import Hand

from queuectl import clock, disk, settling
from queuectl.config import Config
from queuectl.disk import Miss
from queuectl.queue import Queue
from queuectl.settling import Outcome
from queuectl.spool import Claim, Spool
from queuectl.tree import FEW

Steps = Callable[[Callable[[], object]], list[str]]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Do something, and return its fsyncs and renames in their order; `tmp/*` is a file in tmp/."""
    found: list[str] = []
    fsync, rename = os.fsync, os.rename

    def place(fd: int) -> str:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        return path.name if path.is_dir() else f"{path.parent.name}/*"

    def note_fsync(fd: int) -> None:
        found.append(f"fsync {place(fd)}")
        fsync(fd)

    def note_rename(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        found.append(f"{place(src_dir_fd)} > {place(dst_dir_fd)}")
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    def note_syncfs(directory: disk.Directory) -> None:
        found.append("syncfs")

    def traced(do: Callable[[], object]) -> list[str]:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", note_fsync)
            patch.setattr(os, "rename", note_rename)
            patch.setattr(disk, "sync_file_system", note_syncfs)
            do()
        return found

    return traced


@pytest.fixture
def waiting(queue: Queue) -> str:
    """The name of a job that waits."""
    queue.enqueue("true", id="one")
    (name,) = os.listdir(queue.path / "pending")
    return name


def claimed(spool: Spool, name: str, *, durable: bool) -> Claim:
    claim = spool.claim("pending", name, now=clock.now(), limit=2**20, durable=durable)
    assert not isinstance(claim, Miss)
    return claim


MOVE = ["fsync {0}", "fsync processing"]
DECISION = ["fsync tmp/*", "tmp > processing", "processing > {0}", *MOVE]
LEFT_OUT = ["fsync processing", "fsync pending"]


def named(steps: list[str], place: str) -> list[str]:
    return [step.format(place) for step in steps]


def test_a_new_job_is_durable_before_it_has_its_name_and_its_name_before_it_is_told(queue: Queue, steps: Steps) -> None:
    assert steps(lambda: queue.enqueue("true", id="one")) == ["fsync tmp/*", "tmp > pending", "fsync pending"]


def test_many_new_jobs_are_durable_before_the_first_has_its_name(queue: Queue, steps: Steps) -> None:
    count = FEW + 1
    done = steps(lambda: queue.enqueue_many([{"command": "true"}] * count))
    assert done == ["syncfs", *["tmp > pending"] * count, "fsync pending", "fsync tmp"]


def test_a_claim_is_durable_on_both_sides_and_so_is_what_was_claimed(spool: Spool, waiting: str, steps: Steps) -> None:
    done = steps(lambda: claimed(spool, waiting, durable=True))
    assert done == ["pending > processing", "fsync processing/*", "fsync processing", "fsync pending"]


def test_a_claim_at_the_level_relaxed_waits_for_nothing(spool: Spool, waiting: str, steps: Steps) -> None:
    assert steps(lambda: claimed(spool, waiting, durable=False)) == ["pending > processing"]


@pytest.mark.parametrize(
    ("level", "word", "expected"),
    [
        ("full", "0", named(DECISION, "completed")),
        ("full", "7", named(DECISION, "failed")),
        ("relaxed", "0", ["tmp > processing", "processing > completed"]),
        ("relaxed", "7", [*LEFT_OUT, *named(DECISION, "failed")]),
    ],
)
def test_a_decision_is_durable_before_the_move_and_the_move_in_its_target_first(
    spool: Spool, hand: Hand, waiting: str, steps: Steps, level: str, word: str, expected: list[str]
) -> None:
    config, now = Config(durability=level), clock.now()
    claim = claimed(spool, waiting, durable=level == "full")
    settling.decide(claim.job, Outcome(word, None, now, now, int(word)), config, "host.1")
    assert steps(lambda: settling.settle(spool, claim, config, hand)) == expected


def test_a_move_that_recovery_finishes_is_durable(spool: Spool, waiting: str, steps: Steps) -> None:
    claim, now = claimed(spool, waiting, durable=True), clock.now()
    settling.decide(claim.job, Outcome("0", None, now, now, 0), Config(), "host.1")
    assert spool._decide(claim, now, durable=True)
    assert steps(lambda: spool.finish_move(claim)) == ["processing > completed", *named(MOVE, "completed")]


def test_a_rejection_is_durable_on_both_sides(spool: Spool, steps: Steps) -> None:
    (spool.path / "pending" / "x.json").write_text("[]")
    done = steps(lambda: spool.reject("pending", "x.json", "no job", now=clock.now()))
    assert done == ["pending > rejected", "fsync rejected", "fsync pending"]


def test_an_ended_job_that_is_put_back_is_durable_there_before_it_is_gone_elsewhere(
    spool: Spool, queue: Queue, hand: Hand, steps: Steps
) -> None:
    queue.enqueue("true", id="one")
    ended = hand.run("one")
    (name,) = os.listdir(spool.path / "completed")
    os.rename(spool.path / "completed" / name, spool.path / "dead" / name)
    done = steps(lambda: spool.put_back("dead", name, ended))
    assert done == ["dead > completed", "fsync completed", "fsync dead"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda spool: spool.write_config("", "x"), ["fsync tmp/*", "tmp > spool", "fsync spool"]),
        (lambda spool: spool.pause(), ["fsync spool"]),
        (lambda spool: spool.resume(), ["fsync spool"]),
        (lambda spool: Spool.create(spool.path.parent / "new"), ["fsync tmp/*", "fsync new", "fsync {0}"]),
    ],
    ids=["settings", "pause", "resume", "a new spool"],
)
def test_what_is_not_a_job_is_durable_when_its_command_returns(
    spool: Spool, steps: Steps, change: Callable[[Spool], Any], expected: list[str]
) -> None:
    assert steps(lambda: change(spool)) == named(expected, spool.path.parent.name)
