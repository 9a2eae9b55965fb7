"""`enqueue`: every form of the command, and every option, one job at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import Cli, end, new_cli, next_line, wait_until

FORMS: dict[str, tuple[list[str], str]] = {
    "one word is for the shell": (["echo $((1+1)) | tr 2 3"], "3\n"),
    "one word after two dashes is for the shell": (["--", "echo $((2+2))"], "4\n"),
    "several words need no shell": (["--", "printf", "%s,%s", "a  b", "$HOME;"], "a  b,$HOME;"),
    "options of the program are its own": (["--", "printf", "%s ", "--priority", "-q"], "--priority -q "),
    "an object is the job": (['{"command": "echo from an object"}'], "from an object\n"),
    "an object with a list": (['{"command": ["printf", "%s", "$HOME"]}'], "$HOME"),
    "an object with blanks before its brace": ([' \n{"command": "echo blanks"}'], "blanks\n"),
    "the option --command": (["--command", "echo one; echo two"], "one\ntwo\n"),
    "the option --command takes a group": (["--command", "{ echo grouped; }"], "grouped\n"),
    "the caller's directory": (["basename $(pwd)"], "work\n"),
    "another directory": (["--cwd", "..", "ls -d work"], "work\n"),
    "a variable": (["-e", "WORD=a = b", "echo $WORD"], "a = b\n"),
    "a copied variable": (["-e", "ONLY_HERE", "echo $ONLY_HERE"], "the caller's\n"),
    "a variable over the worker's": (["--env", "OF_WORKER=of the job", "echo $OF_WORKER"], "of the job\n"),
    "the worker's variable": (["echo $OF_WORKER"], "of the worker\n"),
    "a caller's variable is not stored": (["echo [$ONLY_HERE]"], "[]\n"),
    "words that are not ascii": (["echo 'Grüße 🚀'"], "Grüße 🚀\n"),
    "several lines": (["echo first\necho second"], "first\nsecond\n"),
    "its own id": (["--id", "who", "echo $QUEUECTL_JOB_ID $QUEUECTL_ATTEMPT"], "who 1\n"),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A spool with workers, started in another directory, that run whatever comes once."""
    cli = new_cli(tmp_path_factory.mktemp("served"))
    cli.configure(max_retries=0)
    with Cli(cli.spool, cli.spool).workers("--count", "2", env={"OF_WORKER": "of the worker"}):
        yield cli


@pytest.mark.parametrize("name", FORMS)
def test_each_form_of_enqueue_runs_what_it_says(served: Cli, name: str) -> None:
    args, expected = FORMS[name]
    assert served.ok("enqueue", "--wait", *args, env={"ONLY_HERE": "the caller's"}) == expected


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A spool without workers that tests put jobs into; none may count them."""
    return new_cli(tmp_path_factory.mktemp("shared"))


@pytest.mark.parametrize(
    ("args", "fields"),
    [
        (["--id", "demo.1_x-Y"], {"id": "demo.1_x-Y"}),
        ([], {"priority": 5, "env": None, "meta": None, "timeout": None, "max_retries": None, "state": "pending"}),
        (["--priority", "0"], {"priority": 0}),
        (["--priority", "9"], {"priority": 9}),
        (["--priority", "high"], {"priority": 9}),
        (["--priority", "Medium"], {"priority": 5}),
        (["--priority", "low"], {"priority": 1}),
        (["--max-retries", "7", "--backoff-base", "1.5"], {"max_retries": 7, "backoff_base": 1.5}),
        (["--timeout", "2m"], {"timeout": 120.0}),
        (["--meta", "build=77", "--meta", "note=a=b"], {"meta": {"build": "77", "note": "a=b"}}),
        (["-e", "A=1", "--env", "B="], {"env": {"A": "1", "B": ""}}),
        (["--run-at", "2031-05-06T07:08:09Z"], {"run_at": "2031-05-06T07:08:09.000Z"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_option_becomes_a_field_of_the_job(shared: Cli, args: list[str], fields: dict[str, Any]) -> None:
    job = json.loads(shared.ok("enqueue", "true", *args))
    assert {key: job[key] for key in fields} == fields
    assert shared.jobs("pending")[job["id"]] == job


def test_options_win_over_the_fields_of_an_object_and_are_merged_with_its_variables(shared: Cli) -> None:
    given = {"command": "true", "priority": 1, "max_retries": 9, "env": {"A": "1", "B": "1"}, "meta": {"x": [1]}}
    options = ["--priority", "high", "-e", "B=2", "--meta", "y=2"]
    job = json.loads(shared.ok("enqueue", json.dumps(given), *options))
    assert (job["priority"], job["max_retries"]) == (9, 9)
    assert (job["env"], job["meta"]) == ({"A": "1", "B": "2"}, {"x": [1], "y": "2"})


def test_options_may_stand_after_the_command(shared: Cli) -> None:
    assert json.loads(shared.ok("enqueue", "true", "--priority", "3"))["priority"] == 3


def test_a_relative_directory_is_stored_as_an_absolute_one(shared: Cli) -> None:
    assert json.loads(shared.ok("enqueue", "true", "--cwd", "sub/.."))["cwd"] == str(shared.cwd)


def test_quiet_prints_the_id_and_nothing_else(shared: Cli) -> None:
    done = shared.run("enqueue", "-q", "true", "--id", "quiet")
    assert (done.stdout, done.stderr) == ("quiet\n", "")
    assert shared.run("enqueue", "--quiet", "true", "--id", "quiet2").stdout == "quiet2\n"


def test_in_a_pipe_the_job_is_one_line_of_json_as_with_json(shared: Cli) -> None:
    piped, asked = shared.ok("enqueue", "echo hi"), shared.ok("enqueue", "echo hi", "--json")
    assert piped.count("\n") == asked.count("\n") == 1
    assert json.loads(piped).keys() == json.loads(asked).keys() >= {"id", "command", "state", "attempts", "created_at"}


def test_generated_ids_differ_within_eight_characters(shared: Cli) -> None:
    ids = shared.enqueue_all(*[{"command": "true"}] * 500)
    assert len({id[:8] for id in ids}) == 500


def test_a_hint_says_how_to_enqueue_a_command_with_options(shared: Cli) -> None:
    done = shared.run("enqueue", "ls", "-la")
    assert done.returncode == 2
    assert done.stderr.endswith("hint: an option of the command itself: quote the whole command, or put it after --\n")


def test_two_shell_commands_are_not_taken_for_a_program(shared: Cli) -> None:
    done = shared.run("enqueue", "echo a", "echo b")
    assert done.returncode == 2
    assert "hint: queuectl enqueue takes one shell command; --lines -f FILE takes many\n" in done.stderr


# With --wait.


@pytest.mark.parametrize("code", [0, 1, 77, 255])
def test_wait_shows_the_jobs_output_and_exits_with_its_exit_code(served: Cli, code: int) -> None:
    done = served.run("enqueue", "--wait", f"echo out; echo err >&2; exit {code}")
    assert (done.returncode, done.stdout) == (code, "out\nerr\n")
    assert (f"is dead: exit {code}\n" in done.stderr) == (code != 0)


def test_wait_exits_with_one_for_a_job_that_a_signal_ended(served: Cli) -> None:
    done = served.run("enqueue", "--wait", "kill -SEGV $$")
    assert done.returncode == 1
    assert "is dead: killed by signal 11 (SIGSEGV)\n" in done.stderr


def test_wait_stays_until_the_job_has_ended(served: Cli, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    process = served.start("enqueue", "--wait", f"echo begun; until [ -e {gate} ]; do sleep 0.02; done; echo over")
    try:
        assert next_line(process.stdout) == "begun\n"
        assert process.poll() is None
        gate.touch()
        assert process.communicate(timeout=30)[0] == b"over\n"
    finally:
        gate.touch()
        end(process)
    assert process.returncode == 0


def test_wait_goes_on_over_retries_and_exits_with_the_last_result(served: Cli, tmp_path: Path) -> None:
    command = f"echo try; test -e {tmp_path}/second || {{ touch {tmp_path}/second; exit 9; }}"
    done = served.run("enqueue", "--wait", "--max-retries", "1", "--backoff-base", "0", command)
    assert (done.returncode, done.stdout) == (0, "try\ntry\n")


def test_wait_with_quiet_prints_the_id_only(served: Cli) -> None:
    done = served.run("enqueue", "--wait", "-q", "--id", "only-id", "echo hidden; exit 3")
    assert (done.returncode, done.stdout) == (3, "only-id\n")


def test_wait_with_json_prints_the_job_as_it_ended(served: Cli) -> None:
    done = served.run("enqueue", "--wait", "--json", "exit 4")
    job = json.loads(done.stdout)
    assert (done.returncode, job["state"], job["exit_code"], job["attempts"]) == (4, "dead", 4, 1)


def test_wait_for_a_file_of_jobs_exits_with_one_when_one_of_them_failed(served: Cli) -> None:
    done = served.run("enqueue", "--wait", "--lines", "-f", "-", stdin="echo a\necho b; exit 5\necho c\n")
    assert (done.returncode, sorted(done.stdout.split())) == (1, ["a", "b", "c"])


def test_wait_without_a_worker_says_so(cli: Cli) -> None:
    process = cli.start("enqueue", "--wait", "true")
    try:
        next_line(process.stderr)  # what was enqueued
        assert next_line(process.stderr) == "no worker is running; queuectl worker start runs one\n"
        cli.drain()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()
    wait_until(lambda: cli.counts()["completed"] == 1)


@pytest.mark.parametrize("words", [["true"], ["-q", "true"], ["--", "printf", "x"]])
def test_a_plain_enqueue_into_a_pipe_loads_little_more_than_the_interpreter_does(cli: Cli, words: list[str]) -> None:
    told = cli.run("enqueue", *words, env={"PYTHONPROFILEIMPORTTIME": "1"}).stderr
    loaded = {line.split("|")[-1].strip().split(".")[0] for line in told.splitlines() if "|" in line}
    assert "queuectl" in loaded
    assert loaded.isdisjoint({"click", "msgspec", "portalocker", "watchdog", "json", "datetime", "dataclasses"})
    assert len(cli.files("pending")) == 1
