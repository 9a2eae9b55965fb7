"""What the commands that look print into a pipe: lines for `wc` and `cut`, one JSON document for programs."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator

import pytest
from helpers import Cli, command, environment, new_cli, next_line, wait_until

LATER = "2099-01-01T00:00:00.000Z"
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
JOB_KEYS = (
    "command id priority run_at timeout max_retries backoff_base cwd env meta "
    "state attempts created_at updated_at last_error exit_code history"
).split()
STATES = {"pending": "later", "processing": "busy", "completed": "good", "failed": "flaky", "dead": "broken"}


@pytest.fixture(scope="module")
def one_of_each(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A spool with one job in each state and a worker, which tests only look at."""
    cli = new_cli(tmp_path_factory.mktemp("each"))
    cli.enqueue_all(
        {"command": "echo 'a\tb\nc'", "id": "good", "priority": 9, "meta": {"k": [1]}},
        {"command": ["sh", "-c", "echo out; exit 7"], "id": "broken", "max_retries": 0},
        {"command": "exit 4", "id": "flaky", "backoff_base": 3000},
        {"command": "echo " + "x" * 500, "id": "later", "run_at": LATER, "timeout": 90},
        {"command": "exec sleep 1000", "id": "busy", "priority": 0},
    )
    cli.drop("no-job.json", {"no": "command"})
    with cli.workers("--count", "1"):
        wait_until(lambda: set(cli.counts().values()) == {1} and cli.files("rejected"))
        yield cli


def rows(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines()]


def test_list_is_one_line_of_tab_separated_fields_a_job_without_a_header(one_of_each: Cli) -> None:
    found = rows(one_of_each.ok("list"))
    assert {row[1]: row[0] for row in found} == STATES
    assert {len(row) for row in found} == {8}


def test_the_columns_of_list_are_those_of_the_job(one_of_each: Cli) -> None:
    found = {row[0]: row for row in rows(one_of_each.ok("list"))}
    assert [row[2:5] for row in (found["good"], found["broken"], found["later"])] == [
        ["9", "1", "4"],
        ["5", "1", "1"],
        ["5", "0", "4"],
    ]
    assert all(INSTANT.fullmatch(row[5]) for row in found.values())
    assert found["later"][5] == LATER
    assert (found["broken"][6], found["broken"][7]) == ("sh -c 'echo out; exit 7'", "exit 7")


def test_nothing_is_shortened_in_a_pipe_and_a_command_stays_one_field(one_of_each: Cli) -> None:
    found = {row[0]: row[6] for row in rows(one_of_each.ok("list"))}
    assert found["later"] == "echo " + "x" * 500
    assert found["good"] == r"echo 'a\tb\nc'"


@pytest.mark.parametrize("state", STATES)
def test_list_of_a_state_lists_its_jobs(one_of_each: Cli, state: str) -> None:
    assert [row[:2] for row in rows(one_of_each.ok("list", "--state", state))] == [[STATES[state], state]]


@pytest.mark.parametrize(("limit", "count"), [("0", 0), ("2", 2), ("99999999999999999999", 5)])
def test_list_shows_at_most_the_limit(one_of_each: Cli, limit: str, count: int) -> None:
    assert len(rows(one_of_each.ok("list", "--limit", limit))) == count


def test_list_as_json_is_one_array_of_jobs_with_their_own_keys(one_of_each: Cli) -> None:
    jobs = one_of_each.json("list")
    assert {job["state"]: job["id"] for job in jobs} == STATES
    assert all(job.keys() >= set(JOB_KEYS) for job in jobs)
    assert one_of_each.json("list", "--state", "dead") == [job for job in jobs if job["state"] == "dead"]
    assert one_of_each.json("list", "--limit", "0") == []


@pytest.mark.parametrize("args", [["dlq"], ["dlq", "list"]], ids=" ".join)
def test_the_dead_letter_queue_lists_id_command_attempts_and_last_error(one_of_each: Cli, args: list[str]) -> None:
    assert one_of_each.ok(*args) == "broken\tsh -c 'echo out; exit 7'\t1\texit 7\n"


@pytest.mark.parametrize(("pipeline", "count"), [('"$0" dlq list | wc -l', "1"), ('"$0" list | wc -l', "5")])
def test_counting_lines_counts_jobs(one_of_each: Cli, pipeline: str, count: str) -> None:
    env = environment({"QUEUECTL_SPOOL": str(one_of_each.spool)})
    done = subprocess.run(["sh", "-c", pipeline, *command()], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == count


def test_status_reads_as_written_down(one_of_each: Cli) -> None:
    lines = one_of_each.ok("status").splitlines()
    assert lines[:9] == [
        "Workers active: 1",
        "Job counts by state:",
        "  pending   : 1",
        "  processing: 1",
        "  completed : 1",
        "  failed    : 1",
        "  dead      : 1",
        "DLQ size: 1",
        "Rejected: 1",
    ]
    retry = one_of_each.job("flaky")["due_at"]
    here = re.sub(r"[^A-Za-z0-9_-]", "-", os.uname().nodename)
    assert lines[9:] == [
        "Oldest pending: none",
        f"Next retry: {retry}",
        f"Next scheduled: {LATER}",
        f"Running on: {here} (1)",
    ]


def test_status_tells_since_when_the_oldest_job_waits_and_that_the_queue_is_paused(cli: Cli) -> None:
    ids = cli.enqueue_all({"command": "true"}, {"command": "true"})
    cli.ok("pause")
    lines = cli.ok("status").splitlines()
    assert f"Oldest pending: {cli.job(ids[0])['due_at']}" in lines
    assert lines[-1] == "Paused: yes"


def test_status_as_json_has_the_same_numbers(one_of_each: Cli) -> None:
    shown = one_of_each.json("status")
    assert shown["counts"] == dict.fromkeys(STATES, 1)
    assert (shown["workers_active"], shown["dlq_size"], shown["rejected"], shown["paused"]) == (1, 1, 1, False)
    assert (shown["next_run_at"], shown["oldest_pending_at"]) == (LATER, None)
    assert [info["pid"] for info in shown["workers"]] == one_of_each.worker_pids()


def test_status_with_watch_goes_on_until_ctrl_c(one_of_each: Cli) -> None:
    process = one_of_each.start("status", "--watch", "--json")
    try:
        assert [json.loads(next_line(process.stdout))["counts"]["dead"] for _ in range(2)] == [1, 1]
        process.send_signal(2)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.communicate()


def test_show_in_a_pipe_is_a_name_and_a_value_a_line_and_a_line_an_attempt(one_of_each: Cli) -> None:
    found = rows(one_of_each.ok("show", "broken"))
    facts = {row[0]: row[1] for row in found if len(row) == 2}
    assert (facts["id"], facts["state"], facts["exit_code"]) == ("broken", "dead", "7")
    assert (facts["command"], facts["last_error"]) == ("sh -c 'echo out; exit 7'", "exit 7")
    (attempt,) = (row for row in found if row[0] == "attempt")
    assert (attempt[1], attempt[4]) == ("1", "exit 7")
    assert INSTANT.fullmatch(attempt[2])
    assert INSTANT.fullmatch(attempt[3])


def test_show_as_json_is_the_whole_job_with_every_attempt(one_of_each: Cli) -> None:
    shown = one_of_each.json("show", "broken")
    assert shown == one_of_each.job("broken")
    (attempt,) = shown["history"]
    wanted = {"attempt": 1, "exit_code": 7, "signal": None, "error": "exit 7", "log_start": 0, "log_end": 4}
    assert {key: attempt[key] for key in wanted} == wanted
    assert attempt.keys() == {*wanted, "worker", "host", "started_at", "finished_at"}


def test_show_of_a_running_job_tells_since_when(one_of_each: Cli) -> None:
    shown = one_of_each.json("show", "busy")
    (path,) = one_of_each.files("processing")
    assert (shown["state"], re.sub("[-:.]", "", shown["updated_at"])) == ("processing", path.name.split(".")[0])


def test_worker_list_is_a_line_a_worker(one_of_each: Cli) -> None:
    ((name, pid, supervisor, started),) = rows(one_of_each.ok("worker", "list"))
    assert ([int(pid)], name.rpartition(".")[2]) == (one_of_each.worker_pids(), pid)
    assert int(supervisor) > 0
    assert INSTANT.fullmatch(started)
    (info,) = one_of_each.json("worker", "list")
    assert (info["worker"], info["started_at"], info["role"]) == (name, started, "worker")


@pytest.mark.parametrize(
    "args",
    [
        ["list"],
        ["show", "good"],
        ["status"],
        ["dlq"],
        ["dlq", "list"],
        ["config"],
        ["config", "get", "max_retries"],
        ["worker", "list"],
        ["logs", "good"],
        ["logs", "show", "good"],
        ["wait", "good"],
        ["purge", "--dead", "--dry-run"],
        ["doctor"],
    ],
    ids=" ".join,
)
def test_json_is_one_document_on_one_stream(one_of_each: Cli, args: list[str]) -> None:
    done = one_of_each.run(*args, "--json")
    assert json.loads(done.stdout) is not None
    assert (done.returncode, done.stderr) == (0, "")


def test_an_empty_queue_prints_no_lines_and_an_empty_array(cli: Cli) -> None:
    for args in (["list"], ["dlq"], ["worker", "list"], ["wait"]):
        assert cli.run(*args).stdout == ""
        assert cli.json(*args) == []
