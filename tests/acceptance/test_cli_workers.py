"""Workers as a person starts them: every spelling, the lines on their terminal, the drain."""

from __future__ import annotations

import re

import pytest
from helpers import Cli, end, next_line, wait_until
from screen import CTRL_C, plain, screen, shown


@pytest.mark.parametrize(
    "args", [["worker", "start", "--count", "2"], ["worker", "--count", "2"], ["start", "--count", "2"]], ids=" ".join
)
def test_each_spelling_starts_so_many_workers(cli: Cli, args: list[str]) -> None:
    process = cli.start(*args)
    try:
        wait_until(lambda: len(cli.worker_pids()) == 2)
        assert cli.ok("status").startswith("Workers active: 2\n")
        assert cli.ok("worker", "stop") == "Stopped 2 workers\n"
        assert process.wait(30) == 143
    finally:
        end(process)


@pytest.mark.parametrize(
    "args",
    [["worker", "--drain"], ["start", "--drain"], ["worker", "--for", "100ms"], ["start", "--for", "100ms"]],
    ids=" ".join,
)
def test_the_short_spellings_take_the_other_options_too(cli: Cli, args: list[str]) -> None:
    assert cli.run(*args).returncode == 0


def test_json_of_worker_stop_tells_which_workers_were_stopped(cli: Cli) -> None:
    with cli.workers("--count", "2"):
        wait_until(lambda: len(cli.worker_pids()) == 2)
        pids = cli.worker_pids()
        assert sorted(info["pid"] for info in cli.json("worker", "stop")) == sorted(pids)
    assert cli.json("worker", "stop") == []


# The lines.


@pytest.mark.parametrize("where", ["pipe", "terminal"])
def test_the_workers_terminal_tells_of_each_run_with_its_output_between(cli: Cli, where: str) -> None:
    cli.enqueue("echo out; sleep 0.02; echo err >&2", "--id", "demo1")
    args = ("worker", "start", "--drain")
    out = cli.ok(*args) if where == "pipe" else shown(cli, *args).replace("\r\x1b[2K", "")
    expected = (
        r"\[Worker 1\] Running job demo1 \(attempt 1\)\nout\nerr\n\[Worker 1\] Completed job demo1 \(0\.\d+ s\)\n"
    )
    assert re.search(expected, out)


def test_a_failed_run_tells_of_its_retry_and_the_last_of_its_death(cli: Cli) -> None:
    cli.configure(backoff_base=0.5, max_retries=2)
    cli.enqueue("exit 7", "--id", "demo1")
    assert cli.drain().stdout.splitlines() == [
        "[Worker 1] Running job demo1 (attempt 1)",
        "[Worker 1] Job demo1 failed: exit 7 (attempt 1 of 3), retry in 0.5 s",
        "[Worker 1] Running job demo1 (attempt 2)",
        "[Worker 1] Job demo1 failed: exit 7 (attempt 2 of 3), retry in 0.25 s",
        "[Worker 1] Running job demo1 (attempt 3)",
        "[Worker 1] Job demo1 is dead: exit 7 (attempt 3 of 3)",
    ]


def test_the_default_backoff_is_told_as_two_seconds_of_four_runs(cli: Cli) -> None:
    cli.enqueue("exit 7", "--id", "demo1")
    with cli.workers(stdout=-1) as process:
        lines = [next_line(process.stdout) for _ in range(2)]
    assert lines[1] == "[Worker 1] Job demo1 failed: exit 7 (attempt 1 of 4), retry in 2 s\n"


def test_a_cancelled_job_has_its_line(cli: Cli) -> None:
    cli.enqueue("exec sleep 1000", "--id", "demo1")
    with cli.workers(stdout=-1) as process:
        assert next_line(process.stdout) == "[Worker 1] Running job demo1 (attempt 1)\n"
        cli.ok("cancel", "demo1")
        assert next_line(process.stdout) == "[Worker 1] Job demo1 was cancelled\n"


def test_output_is_shown_while_the_job_runs(cli: Cli) -> None:
    gate = cli.cwd / "gate"
    cli.enqueue(f"echo early; until [ -e {gate} ]; do sleep 0.02; done; echo late", "--id", "demo1")
    with screen(cli, "worker", "start", "--drain", env={"NO_COLOR": "1"}) as working:
        assert "late" not in working.wait_for("early\n")
        gate.touch()
        working.finish()
    assert working.process.returncode == 0


def test_lines_of_several_workers_stay_whole(cli: Cli) -> None:
    cli.enqueue_all(*({"command": "true", "id": f"job-{number}"} for number in range(100)))
    lines = cli.drain(3).stdout.splitlines()
    running = re.compile(r"\[Worker [123]\] Running job job-\d+ \(attempt 1\)")
    completed = re.compile(r"\[Worker [123]\] Completed job job-\d+ \([\d.]+ s\)")
    assert sum(bool(running.fullmatch(line)) for line in lines) == 100
    assert sum(bool(completed.fullmatch(line)) for line in lines) == 100
    assert len(lines) == 200


# The drain.


def test_a_drain_ends_with_exit_0_whatever_the_results_and_prints_the_counts(cli: Cli) -> None:
    cli.enqueue_all(
        {"command": "true"},
        {"command": "test $QUEUECTL_ATTEMPT = 2", "backoff_base": 0.2},
        {"command": "exit 1", "max_retries": 1, "backoff_base": 0},
        {"command": "true", "run_at": "2099-01-01T00:00:00Z"},
    )
    done = cli.drain()
    assert done.stderr == "Drained: 2 completed, 1 dead, 3 failed attempts; 1 scheduled for later\n"
    assert cli.counts() == {"pending": 1, "processing": 0, "completed": 2, "failed": 0, "dead": 1}


def test_a_drain_takes_jobs_that_come_while_it_works(cli: Cli) -> None:
    command = f"queuectl='{cli.spool}'; mv next '{cli.spool}/pending/next.json'"
    (cli.cwd / "next").write_text('{"command": "echo second", "id": "second"}')
    cli.enqueue(command)
    cli.drain()
    assert cli.log("second") == b"second\n"


def test_a_drain_shows_a_progress_bar_on_a_terminal_and_leaves_nothing_of_it(cli: Cli) -> None:
    gate = cli.cwd / "gate"
    last = f"until [ -e {gate} ]; do sleep 0.02; done; exit 1"
    cli.enqueue_all({"command": "true"}, {"command": "true"}, {"command": last, "max_retries": 0})
    with screen(cli, "worker", "start", "--drain") as working:
        working.wait_for("Draining [####################----------] 2/3  66%")
        gate.touch()
        out = working.finish()
    assert out.endswith("\r\x1b[2KDrained: 2 completed, 1 dead, 1 failed attempt; 0 scheduled for later\n")
    for line in re.findall(r"[^\n]*\[Worker 1\][^\n]*", out):
        assert line.rpartition("\r\x1b[2K")[2].startswith("[Worker 1] "), line


# Ctrl-C on a terminal, which reaches the whole foreground group.


def test_ctrl_c_lets_the_running_job_finish(cli: Cli) -> None:
    gate = cli.cwd / "gate"
    cli.enqueue(f"echo begun; until [ -e {gate} ]; do sleep 0.02; done; echo over", "--id", "demo1")
    with screen(cli, "worker", "start") as working:
        working.wait_for("begun\n")
        working.type(CTRL_C)
        working.wait_for("Stopping when the running jobs have ended (Ctrl-C again ends them)")
        gate.touch()
        out = plain(working.finish())
    assert re.search(r"\nover\n\[Worker 1\] Completed job demo1 ", out)
    assert (working.process.returncode, cli.state("demo1")) == (130, "completed")


def test_a_second_ctrl_c_ends_the_job_and_puts_it_back_without_using_an_attempt(cli: Cli) -> None:
    cli.enqueue("echo begun; exec sleep 1000", "--id", "demo1")
    with screen(cli, "worker", "start") as working:
        working.wait_for("begun\n")
        working.type(CTRL_C)
        working.wait_for("again ends them)")
        working.type(CTRL_C)
        out = plain(working.finish())
    assert "Ending the running jobs; they will be put back\n" in out
    assert "[Worker 1] Job demo1 was put back (attempt not counted)\n" in out
    assert (working.process.returncode, cli.state("demo1"), cli.job("demo1")["attempts"]) == (130, "pending", 0)


def test_a_closed_terminal_stops_the_workers_kindly(cli: Cli) -> None:
    gate = cli.cwd / "gate"
    cli.enqueue(f"until [ -e {gate} ]; do sleep 0.02; done; echo over", "--id", "demo1")
    with screen(cli, "worker", "start") as working:
        working.wait_for("Running job demo1")
        working.hang_up()
        gate.touch()
        assert working.process.wait(30) == 143
    assert (cli.log("demo1"), cli.state("demo1")) == (b"over\n", "completed")
