"""The plain enqueue against the one that does everything: the same bytes, or none of its business."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl import clock, job, plain
from queuectl.errors import NotFound, Refused
from queuectl.job import Job
from queuectl.queue import Queue
from queuectl.spool import Spool

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
COMMANDS = st.one_of(TEXT, st.lists(TEXT, min_size=2, max_size=4))


@given(command=COMMANDS, directory=TEXT, instant=st.integers(0, 4_000_000_000_000))
def test_the_line_is_the_one_that_the_job_file_would_have(
    command: str | list[str], directory: str, instant: int
) -> None:
    spelt = clock.iso(instant)
    whole = Job(command=command, cwd=directory, id="abc", created_at=spelt, updated_at=spelt, due_at=spelt)
    assert plain.encode(command, directory, "abc", spelt).encode() == job.encode(whole)


@pytest.mark.parametrize("command", ["echo 'a b' \"ä\" \\t", ["printf", "%s\n", "x"]])
def test_the_job_is_read_back_as_it_was_given(spool: Spool, command: str | list[str]) -> None:
    queued = plain.enqueue(spool.place, command)
    assert queued is not None
    found = Queue(spool.path).get(queued[0])
    assert (found.command, found.cwd, found.level) == (command, os.getcwd(), 5)


def test_it_leaves_one_file_under_the_name_that_its_json_says(spool: Spool) -> None:
    queued = plain.enqueue(spool.place, "true")
    assert queued is not None
    written = job.parse(queued[1].encode())
    (name,) = os.listdir(spool.path / "pending")
    assert name == f"{clock.iso_to_stamp(written.due_at or '')}.5.{queued[0]}.json"
    assert os.listdir(spool.path / "tmp") == []


@pytest.mark.parametrize("command", ["", "  ", "a\0b", "\udcff", "x" * 140_000, ["", "x"], ["a", "b\0"]])
def test_what_is_wrong_with_a_command_is_left_for_the_long_way_to_say(spool: Spool, command: str | list[str]) -> None:
    assert plain.enqueue(spool.place, command) is None
    assert os.listdir(spool.path / "pending") == []


@pytest.mark.parametrize("line", ["max_pending = 5", "'max-pending' = 5"])
def test_a_limit_on_the_queue_is_left_for_the_long_way_to_hold(spool: Spool, line: str) -> None:
    (spool.path / "config.toml").write_text(line)
    assert plain.enqueue(spool.place, "true") is None


def test_a_limit_in_the_environment_is_left_for_the_long_way_to_hold(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUEUECTL_MAX_PENDING", "5")
    assert plain.enqueue(spool.place, "true") is None


def test_a_directory_without_a_marker_is_no_spool(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        plain.enqueue(str(tmp_path), "true")


def test_a_spool_of_a_newer_format_is_refused(spool: Spool) -> None:
    (spool.path / "queuectl.json").write_text('{"format": 2, "uuid": "x"}')
    with pytest.raises(Refused, match="newer"):
        plain.enqueue(spool.place, "true")
