from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuectl import clock
from queuectl.job import Job, State
from queuectl.settling import Outcome
from queuectl.terminal import Terminal

NOW = 1_800_000_000_000


def outcome(how: str, error: str | None = None, took_ms: int = 20) -> Outcome:
    return Outcome(how, error, NOW, NOW + took_ms)


def failed(error: str, attempts: int, retry_s: float) -> Job:
    return Job(
        command="x",
        id="demo1",
        state=State.FAILED,
        attempts=attempts,
        last_error=error,
        updated_at=clock.iso(NOW),
        due_at=clock.iso(NOW + round(retry_s * 1000)),
    )


@pytest.fixture
def log(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    yield fd
    os.close(fd)


def out(capfd: pytest.CaptureFixture[str]) -> str:
    return capfd.readouterr().out


def test_a_job_that_begins_is_announced_with_its_attempt(capfd: pytest.CaptureFixture[str]) -> None:
    Terminal(1, "INFO").running(Job(command="x", id="demo1", attempts=2))
    assert out(capfd) == "[Worker 1] Running job demo1 (attempt 3)\n"


def test_a_completed_job_is_announced_with_the_time_that_it_took(capfd: pytest.CaptureFixture[str]) -> None:
    Terminal(2, "INFO").settled(Job(command="x", id="demo1", state=State.COMPLETED), outcome("0"), 3)
    assert out(capfd) == "[Worker 2] Completed job demo1 (0.02 s)\n"


def test_a_failed_job_is_announced_with_its_reason_and_its_retry(capfd: pytest.CaptureFixture[str]) -> None:
    Terminal(1, "INFO").settled(failed("exit 7", 1, 2.0), outcome("7", "exit 7"), 3)
    assert out(capfd) == "[Worker 1] Job demo1 failed: exit 7 (attempt 1 of 4), retry in 2 s\n"


def test_a_dead_job_is_announced_with_its_reason(capfd: pytest.CaptureFixture[str]) -> None:
    dead = Job(command="x", id="demo1", state=State.DEAD, attempts=4, last_error="timeout after 2 m 30 s")
    Terminal(1, "INFO").settled(dead, outcome("timeout"), 3)
    assert out(capfd) == "[Worker 1] Job demo1 is dead: timeout after 2 m 30 s (attempt 4 of 4)\n"


def test_a_job_with_more_attempts_than_allowed_is_not_told_to_be_beyond_itself(
    capfd: pytest.CaptureFixture[str],
) -> None:
    dead = Job(command="x", id="demo1", state=State.DEAD, attempts=6, last_error="exit 1")
    Terminal(1, "INFO").settled(dead, outcome("1"), 3)
    assert "(attempt 6 of 6)" in out(capfd)


def test_a_cancelled_job_is_announced_as_such(capfd: pytest.CaptureFixture[str]) -> None:
    Terminal(1, "INFO").settled(Job(command="x", id="demo1", state=State.DEAD), outcome("cancelled"), 3)
    assert out(capfd) == "[Worker 1] Job demo1 was cancelled\n"


def test_a_job_that_was_put_back_is_announced_as_such(capfd: pytest.CaptureFixture[str]) -> None:
    Terminal(1, "INFO").settled(Job(command="x", id="demo1"), outcome("stopped"), 3)
    assert out(capfd) == "[Worker 1] Job demo1 was put back (attempt not counted)\n"


def test_a_lost_attempt_is_announced_with_its_retry(capfd: pytest.CaptureFixture[str]) -> None:
    Terminal(1, "INFO").lost(failed("worker lost", 1, 0.5), 3)
    assert out(capfd) == "[Worker 1] Job demo1 failed: worker lost (attempt 1 of 4), retry in 0.5 s\n"


def test_a_warning_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    Terminal(1, "ERROR").warn("Rejected 'a.json': empty")
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "[Worker 1] Rejected 'a.json': empty\n")


def test_a_name_that_is_not_utf_8_is_shown_escaped(capfd: pytest.CaptureFixture[str]) -> None:
    Terminal(1, "INFO").warn("Rejected \udcff.json")
    assert capfd.readouterr().err == "[Worker 1] Rejected \\udcff.json\n"


def test_only_new_output_of_a_job_is_shown(capfd: pytest.CaptureFixture[str], log: int) -> None:
    terminal = Terminal(1, "INFO")
    os.write(log, b"of an earlier attempt\n")
    terminal.running(Job(command="x", id="demo1"))
    start = os.fstat(log).st_size
    os.write(log, b"one\n")
    terminal.echo(log, start)
    os.write(log, b"two\n")
    terminal.echo(log, start)
    assert out(capfd) == "[Worker 1] Running job demo1 (attempt 1)\none\ntwo\n"


def test_the_next_job_is_shown_from_its_beginning(capfd: pytest.CaptureFixture[str], log: int) -> None:
    terminal = Terminal(1, "WARNING")
    terminal.level = "INFO"
    os.write(log, b"a longer output than the next\n")
    terminal.echo(log, 0)
    os.ftruncate(log, 0)
    os.write(log, b"next\n")
    terminal.running(Job(command="x", id="demo2"))
    terminal.echo(log, 0)
    assert out(capfd).endswith("[Worker 1] Running job demo2 (attempt 1)\nnext\n")


def test_output_is_shown_byte_for_byte(capfdbinary: pytest.CaptureFixture[bytes], log: int) -> None:
    data = bytes(range(256)) * 1000
    os.write(log, data)
    Terminal(1, "INFO").echo(log, 0)
    assert capfdbinary.readouterr().out == data


@pytest.mark.parametrize("level", ["WARNING", "ERROR"])
def test_a_quiet_worker_shows_neither_the_course_of_jobs_nor_their_output(
    capfd: pytest.CaptureFixture[str], log: int, level: str
) -> None:
    terminal = Terminal(1, level)
    os.write(log, b"output\n")
    terminal.running(Job(command="x", id="demo1"))
    terminal.echo(log, 0)
    terminal.settled(Job(command="x", id="demo1", state=State.COMPLETED), outcome("0"), 3)
    assert out(capfd) == ""


@pytest.mark.parametrize(("level", "shown"), [("WARNING", True), ("ERROR", False)])
def test_failures_are_shown_at_the_level_of_warnings(
    capfd: pytest.CaptureFixture[str], level: str, shown: bool
) -> None:
    Terminal(1, level).settled(failed("exit 7", 1, 2.0), outcome("7"), 3)
    assert (out(capfd) != "") is shown


def test_a_progress_bar_is_erased_before_each_line(capfd: pytest.CaptureFixture[str], log: int) -> None:
    terminal = Terminal(1, "INFO", over_bar=True)
    terminal.running(Job(command="x", id="demo1"))
    os.write(log, b"output\n")
    terminal.echo(log, 0)
    assert out(capfd) == "\r\x1b[2K[Worker 1] Running job demo1 (attempt 1)\n\r\x1b[2Koutput\n"


def test_a_terminal_that_has_gone_away_stops_nothing(log: int) -> None:
    read, write = os.pipe()
    os.close(read)
    saved = os.dup(1)
    try:
        os.dup2(write, 1)
        os.write(log, b"output\n")
        terminal = Terminal(1, "INFO")
        terminal.running(Job(command="x", id="demo1"))
        terminal.echo(log, 0)
        assert terminal._shown == len(b"output\n")
    finally:
        os.dup2(saved, 1)
        for fd in (saved, write):
            os.close(fd)
