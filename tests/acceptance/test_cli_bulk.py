"""`enqueue -f`: files full of jobs in every form, queued as a whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers import Cli, new_cli

JOBS = [{"command": "echo one", "id": "one"}, {"command": ["echo", "two"], "id": "two", "priority": 5}]
LINES = "".join(json.dumps(job) + "\n" for job in JOBS)


def queued(cli: Cli) -> list[str]:
    """Return the commands that wait, in the order in which they will run."""
    ordered = cli.json("list", "--state", "pending")
    return [job["command"] if isinstance(job["command"], str) else " ".join(job["command"]) for job in ordered]


@pytest.mark.parametrize(
    ("args", "file", "content"),
    [
        (["-f", "jobs.json"], "jobs.json", json.dumps(JOBS)),
        (["-f", "jobs.json"], "jobs.json", json.dumps(JOBS, indent=4)),
        (["--file", "jobs.jsonl"], "jobs.jsonl", LINES),
        (["-f", "jobs"], "jobs", LINES),
        (["-f", "jobs.jsonl"], "jobs.jsonl", "\n" + LINES.replace("\n", "\r\n\r\n")),
        (["-f", "jobs.jsonl"], "jobs.jsonl", "\ufeff" + LINES.rstrip("\n")),
        (["-f", "-"], None, LINES),
        (["-f", "-"], None, json.dumps(JOBS)),
        (["--lines", "-f", "jobs.sh"], "jobs.sh", "echo one\n\n  \necho two\n"),
        (["-f", "commands.json", "--lines"], "commands.json", "echo one\r\necho two"),
        (["--lines", "-f", "-"], None, "echo one\necho two\n"),
    ],
    ids="array pretty jsonl no-ending crlf-blank bom stdin-jsonl stdin-array lines lines-crlf stdin-lines".split(),
)
def test_a_file_in_each_form_is_queued_in_its_order(cli: Cli, args: list[str], file: str | None, content: str) -> None:
    if file:
        (cli.cwd / file).write_text(content, newline="")
    printed = cli.ok("enqueue", *args, stdin=None if file else content)
    assert [json.loads(line)["state"] for line in printed.splitlines()] == ["pending", "pending"]
    assert queued(cli) == ["echo one", "echo two"]


def test_a_json_file_may_hold_one_object(cli: Cli) -> None:
    (cli.cwd / "job.json").write_text(json.dumps(JOBS[0], indent=2))
    assert cli.enqueue("-f", "job.json") == "one"


def test_ids_are_printed_in_the_order_of_the_file(cli: Cli) -> None:
    wanted = [f"job-{number * 7919 % 997}" for number in range(300)]
    assert cli.enqueue_all(*({"command": "true", "id": id} for id in wanted)) == wanted
    assert [line.split("\t")[0] for line in cli.ok("list").splitlines()] == wanted


def test_options_are_laid_under_each_job_of_a_file(cli: Cli) -> None:
    plain: Mapping[str, Any] = {"command": "true"}
    own = {"command": "true", "priority": 5, "max_retries": 0, "env": {"A": "own"}, "meta": {"m": 1}, "cwd": "/"}
    lines = json.dumps(plain) + "\n" + json.dumps(own) + "\n"
    options = ["--priority", "high", "--max-retries", "8", "-e", "A=1", "-e", "B=2", "--meta", "m=2", "--cwd", "/tmp"]
    first, second = map(json.loads, cli.ok("enqueue", "-f", "-", *options, stdin=lines).splitlines())
    assert (first["priority"], first["max_retries"], first["env"]) == (9, 8, {"A": "1", "B": "2"})
    assert (first["meta"], first["cwd"]) == ({"m": "2"}, "/tmp")
    assert (second["priority"], second["max_retries"], second["env"]) == (5, 0, {"A": "own", "B": "2"})
    assert (second["meta"], second["cwd"]) == ({"m": 1}, "/")


def test_jobs_of_a_file_run_in_the_callers_directory(cli: Cli) -> None:
    cli.enqueue("--lines", "-f", "-", stdin="pwd > where\n")
    cli.drain(cwd=cli.spool)
    assert (cli.cwd / "where").read_text() == f"{cli.cwd}\n"


def test_an_empty_file_queues_nothing_and_is_no_error(cli: Cli) -> None:
    done = cli.run("enqueue", "-f", "-", stdin="\n\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no jobs in the file\n")


# All or nothing.

GOOD = '{"command": "true"}'
BAD_LINES: dict[str, tuple[str | bytes, str]] = {
    "not json": ("{bad", "not JSON: "),
    "half an object": ('{"command": "tr', "not JSON: "),
    "a shell command": ("echo hi", "not JSON: "),
    "not an object": ('"true"', "expected object, got str"),
    "an array": ('[{"command": "true"}]', "expected object, got array"),
    "two objects": (GOOD + GOOD, "not JSON: "),
    "no command": ('{"id": "x"}', "object missing required field command"),
    "an unknown key": ('{"command": "true", "comand": 1}', "unknown key 'comand', did you mean 'command'?"),
    "an empty command": ('{"command": " "}', "command is empty"),
    "an empty list": ('{"command": []}', "command is empty"),
    "a number in a list": ('{"command": ["a", 1]}', "expected str, got int in command[1]"),
    "a nul": (r'{"command": "a\u0000b"}', "command holds a NUL character"),
    "a lone surrogate": (r'{"command": "\ud800"}', "not JSON: "),
    "a command that no program can be given": (
        json.dumps({"command": "x" * 131_072}),
        "command is longer than the 128 KiB that a program can be given",
    ),
    "bytes that are not utf-8": (b'{"command": "\xff"}', "not UTF-8"),
    "a bad id": ('{"command": "true", "id": "a/b"}', "id 'a/b' must be"),
    "an empty id": ('{"command": "true", "id": ""}', "expected str of length >= 1 in id"),
    "a key twice": ('{"command": "true", "command": "false"}', "key 'command' stands twice"),
    "negative retries": ('{"command": "true", "max_retries": -1}', "expected int >= 0 in max_retries"),
    "a huge number": ('{"command": "true", "max_retries": 1' + "0" * 400 + "}", "expected int <= 1000000000"),
    "a bad priority": ('{"command": "true", "priority": "urgent"}', "priority 'urgent' must be 0 to 9"),
    "a bad time": ('{"command": "true", "run_at": "tomorrow"}', "run_at: 'tomorrow' is not a time"),
    "a bad duration": ('{"command": "true", "timeout": "soon"}', "timeout: 'soon' is not a duration"),
    "a relative cwd": ('{"command": "true", "cwd": "here"}', "cwd 'here' must be an absolute path"),
    "a bad variable": ('{"command": "true", "env": {"A=B": "1"}}', "env: 'A=B' is not a variable's name"),
    "a number of 5,000 digits": (
        '{"command": "true", "meta": {"n": 1' + "0" * 5000 + "}}",
        "integer value out of range",
    ),
    "deep nesting": ('{"command": "true", "meta": {"a":' + "[" * 100_000, "nested too deeply"),
}


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A spool into which only files with a mistake are put."""
    return new_cli(tmp_path_factory.mktemp("untouched"))


@pytest.mark.parametrize("name", BAD_LINES)
def test_one_bad_line_and_none_is_queued_and_the_error_names_the_line(untouched: Cli, name: str) -> None:
    bad, reason = BAD_LINES[name]
    line = bad if isinstance(bad, bytes) else bad.encode()
    done = untouched.run("enqueue", "-f", "-", stdin=b"\n".join([GOOD.encode()] * 2 + [line, GOOD.encode()]))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: stdin:3: {reason}")
    assert len(done.stderr.splitlines()) <= 2
    assert untouched.counts()["pending"] == 0


@pytest.mark.parametrize(
    ("file", "content", "error"),
    [
        ("jobs.json", f'[{GOOD},\n\n {GOOD},\n {{"command": ""}}]', "jobs.json:4: command is empty"),
        ("jobs.json", f"[{GOOD},\n{GOOD}", "jobs.json: not JSON: "),
        ("jobs.json", f"[{GOOD},\nbad]", "jobs.json:2: not JSON: "),
        ("jobs.json", f"{GOOD}\n{GOOD}", "jobs.json:1: not JSON: "),
        ("jobs.jsonl", f"{GOOD}\n\n\r\n{{}}", "jobs.jsonl:4: "),
    ],
)
def test_the_error_names_the_file_and_the_line(untouched: Cli, file: str, content: str, error: str) -> None:
    (untouched.cwd / file).write_text(content, newline="")
    done = untouched.run("enqueue", "-f", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {error}")
    assert untouched.counts()["pending"] == 0


@pytest.mark.parametrize(
    ("line", "hint"), [("echo hi", "--lines reads one shell command a line"), (f"[{GOOD}]", "an array belongs into")]
)
def test_a_file_of_another_form_gets_a_hint(untouched: Cli, line: str, hint: str) -> None:
    (untouched.cwd / "wrong.jsonl").write_text(line)
    assert f"\nhint: {hint}" in untouched.run("enqueue", "-f", "wrong.jsonl").stderr


def test_an_id_twice_in_a_file_queues_none(untouched: Cli) -> None:
    lines = "".join(json.dumps({"command": "true", "id": id}) + "\n" for id in ("a", "b", "a"))
    done = untouched.run("enqueue", "-f", "-", stdin=lines)
    assert (done.returncode, done.stderr) == (5, "error: stdin:3: id a is also in line 1\n")
    assert untouched.counts()["pending"] == 0


def test_an_id_that_exists_already_queues_none(cli: Cli) -> None:
    cli.enqueue("true", "--id", "taken")
    lines = "".join(json.dumps({"command": "true", "id": id}) + "\n" for id in ("a", "b", "taken"))
    done = cli.run("enqueue", "-f", "-", stdin=lines)
    assert done.returncode == 5
    assert done.stderr.startswith("error: taken: a job with this id exists already (pending)\n")
    assert list(cli.jobs("pending")) == ["taken"]


@pytest.mark.parametrize(
    ("args", "code", "error"),
    [
        (["-f", "nowhere.jsonl"], 3, "nowhere.jsonl: no such file"),
        (["-f", "."], 1, ".: is a directory"),
        (["-f", "-", "true"], 2, "give a command or -f, not both"),
        (["-f", "-", "--command", "true"], 2, "give a command or -f, not both"),
        (["-f", "-", "--id", "x"], 2, "--id names one job; in a file each job has its own"),
        (["--lines", "true"], 2, "--lines needs -f FILE"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line_of_error(
    untouched: Cli, args: list[str], code: int, error: str
) -> None:
    done = untouched.run("enqueue", *args, stdin=GOOD)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.splitlines()[0] == f"error: {error}"


def test_a_file_of_lines_that_is_not_utf_8_names_the_line(untouched: Cli) -> None:
    done = untouched.run("enqueue", "--lines", "-f", "-", stdin=b"echo ok\necho \xff\n")
    assert (done.returncode, done.stderr) == (2, "error: stdin:2: not UTF-8\n")


def test_ten_thousand_jobs_are_queued_by_one_command(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "many.txt").write_text("".join(f"echo {number}\n" for number in range(10_000)))
    assert len(cli.ok("enqueue", "-q", "--lines", "-f", str(tmp_path / "many.txt")).splitlines()) == 10_000
    assert cli.json("status")["counts"]["pending"] == 10_000
