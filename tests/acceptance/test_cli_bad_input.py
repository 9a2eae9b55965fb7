"""Bad input: one line of error that names what is wrong, the right exit code, nothing done."""

from __future__ import annotations

import os

import pytest
from helpers import Cli, new_cli

TIME = "write 2026-11-22T10:15:00Z"

# What was typed, and how the line of error begins.
USAGE: list[tuple[list[str | bytes], str]] = [
    # Commands.
    (["enqueue"], "nothing to enqueue: give a command, or -f FILE"),
    (["enqueue", ""], "command is empty"),
    (["enqueue", " \t\n"], "command is empty"),
    (["enqueue", "--command", ""], "command is empty"),
    (["enqueue", "--", "", "x"], "command is empty"),
    (["enqueue", "true", "--command", "true"], "give one command"),
    (["enqueue", b"echo \xff"], "command holds a lone surrogate"),
    (["enqueue", "ls", "--long"], "no such option"),
    (["enqueue", "ls", "--id", "x", "/"], "options stand among the words of the command"),
    # Objects.
    (["enqueue", "{bad"], "the job: not JSON"),
    (["enqueue", "{}"], "the job: object missing required field command"),
    (["enqueue", '{"command": "true", "prio": 1}'], "the job: unknown key 'prio', did you mean 'priority'?"),
    (["enqueue", '{"command": "true", "zzzzz": 1}'], "the job: unknown key 'zzzzz'"),
    (["enqueue", r'{"command": "a\u0000b"}'], "the job: command holds a NUL character"),
    (["enqueue", '{"command": null}'], "the job: expected str | array, got null in command"),
    (["enqueue", '{"command": {"a": 1}}'], "the job: expected str | array, got object in command"),
    (["enqueue", '{"command": "true"} and more'], "the job: not JSON"),
    (["enqueue", '{"command": "true", "timeout": 1e400}'], "the job: number out of range in timeout"),
    (["enqueue", '{"command": "true", "timeout": NaN}'], "the job: not JSON"),
    (["enqueue", '{"command": "true", "backoff_base": -1}'], "the job: expected float >= 0"),
    (["enqueue", '{"command": "true", "env": {"A": 1}}'], "the job: expected str, got int in env"),
    (["enqueue", '{"command": "true", "env": {"": "1"}}'], "the job: env: '' is not a variable's name"),
    (["enqueue", '{"command": "true", "meta": []}'], "the job: expected object | null, got array in meta"),
    (["enqueue", '{"command": "true", "state": "odd"}'], "the job: invalid enum value 'odd' in state"),
    # Values of options.
    (["enqueue", "true", "--id", ""], "--id is empty"),
    (["enqueue", "true", "--id", "a/b"], "id 'a/b' must be 1 to 100 of A-Z a-z 0-9 . _ -"),
    (["enqueue", "true", "--id", ".."], "id '..' must be"),
    (["enqueue", "true", "--id", "x" * 101], "id 'xxx"),
    (["enqueue", "true", "--id", "é"], "id 'é' must be"),
    (["enqueue", "true", "--priority", "10"], "invalid value for '--priority': priority '10' must be 0 to 9, or high"),
    (["enqueue", "true", "--priority", "-1"], "invalid value for '--priority': priority '-1' must be 0 to 9"),
    (["enqueue", "true", "--priority", "9" * 5000], "invalid value for '--priority': priority '999"),
    (["enqueue", "true", "--max-retries", "-1"], "invalid value for '--max-retries': max_retries = '-1': must be 0 to"),
    (["enqueue", "true", "--max-retries", "1.5"], "invalid value for '--max-retries'"),
    (["enqueue", "true", "--max-retries", "9" * 5000], "invalid value for '--max-retries'"),
    (["enqueue", "true", "--backoff-base", "nan"], "invalid value for '--backoff-base': backoff_base = 'nan': must be"),
    (["enqueue", "true", "--backoff-base", "1e400"], "invalid value for '--backoff-base'"),
    (["enqueue", "true", "--timeout", "soon"], "invalid value for '--timeout': 'soon' is not a duration; write 90"),
    (["enqueue", "true", "--timeout", "-5"], "invalid value for '--timeout': '-5' is not a duration"),
    (["enqueue", "true", "--timeout", "1y"], "invalid value for '--timeout'"),
    (["enqueue", "true", "--delay", "9" * 5000 + "d"], "invalid value for '--delay'"),
    (["enqueue", "true", "--delay", "36501d"], "invalid value for '--delay': '36501d' is longer than a hundred years"),
    (["enqueue", "true", "--delay", ""], "invalid value for '--delay': '' is not a duration"),
    (["enqueue", "true", "--run-at", "tomorrow"], f"invalid value for '--run-at': 'tomorrow' is not a time; {TIME}"),
    (["enqueue", "true", "--run-at", "2026-13-01T00:00:00Z"], "invalid value for '--run-at'"),
    (["enqueue", "true", "--run-at", "0001-01-01"], "invalid value for '--run-at'"),
    (["enqueue", "true", "--run-at", "+"], "invalid value for '--run-at'"),
    (["enqueue", "true", "--run-at", "+1h", "--delay", "1h"], "--delay and --run-at exclude each other"),
    (["enqueue", "true", "--cwd", "a\udcff"], "cwd holds a lone surrogate"),
    (["enqueue", "true", "-e", "=1"], "-e '=1' is not NAME=VALUE or NAME"),
    (["enqueue", "true", "-e", "NOT_SET_HERE"], "-e NOT_SET_HERE: not set in this environment"),
    (["enqueue", "true", "--meta", "word"], "--meta 'word' is not K=V"),
    # The other verbs.
    (["nosuchverb"], "no such command 'nosuchverb'"),
    (["enqeue", "true"], "no such command 'enqeue', did you mean 'enqueue'?"),
    (["dlq", "retyr"], "no such command 'retyr', did you mean 'retry'?"),
    (["--nonsense", "list"], "no such option"),
    (["list", "--color", "blue"], "invalid value for '--color'"),
    (["list", "--state", "done"], "invalid value for '--state': 'done' is not one of 'pending', 'processing',"),
    (["list", "--limit", "-1"], "invalid value for '--limit'"),
    (["list", "extra"], "got unexpected extra argument"),
    (["list", "--spool", ""], "--spool names no directory"),
    (["show"], "missing argument 'ID'"),
    (["show", ""], "an id is empty"),
    (["rm", ""], "an id is empty"),
    (["cancel"], "missing argument 'ID...'"),
    (["logs"], "missing argument 'ID'"),
    (["logs", "x", "--attempt", "0"], "invalid value for '--attempt'"),
    (["logs", "x", "-f", "--attempt", "1"], "--follow goes with neither --attempt nor --json"),
    (["dlq", "retry"], "give ids, or --all"),
    (["dlq", "retry", "x", "--all"], "give ids or --all, not both"),
    (["wait", "--timeout", "ages"], "invalid value for '--timeout': 'ages' is not a duration"),
    (["worker", "start", "--count", "0"], "invalid value for '--count'"),
    (["worker", "start", "--count", "9" * 5000], "invalid value for '--count'"),
    (["worker", "start", "--for", "x"], "invalid value for '--for'"),
    (["start", "--for", "1", "--timeout", "1"], "--timeout is another name of --for; give one of them"),
    (["purge"], "say what to delete: --completed, --dead, --rejected"),
    (["purge", "--dead", "--older-than", "old"], "invalid value for '--older-than'"),
    (["config", "--value", "5"], "--value needs --key"),
    (["config", "set", "max_retries"], "missing argument 'V'"),
    (["completion", "tcsh"], "invalid value for 'bash|zsh|fish'"),
]


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A spool that nothing in this file changes."""
    return new_cli(tmp_path_factory.mktemp("untouched"))


@pytest.mark.parametrize(
    ("args", "error"),
    USAGE,
    ids=lambda value: " ".join(str(word)[:30] for word in value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_of_error_with_exit_code_2(untouched: Cli, args: list[str | bytes], error: str) -> None:
    done = untouched.run(*(os.fsdecode(arg) for arg in args))
    assert (done.returncode, done.stdout) == (2, "")
    first, *rest = done.stderr.splitlines()
    assert first.startswith(f"error: {error}")
    assert [line.partition(": ")[0] for line in rest] in ([], ["hint"])
    assert (untouched.counts()["pending"], (untouched.spool / "config.toml").exists()) == (0, False)


def test_an_error_shows_control_characters_spelled_out(untouched: Cli) -> None:
    done = untouched.run("enqueue", "true", "--id", "a\x1b[31mb\nc")
    assert "\x1b" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "content", [b"\xff\xfe{\x00}\x00", b"\x00" * 1000, b"\x7fELF\x02\x01\x01\x00", b'{"command": "\xc3"}']
)
def test_a_file_that_is_no_text_is_one_line_of_error(untouched: Cli, content: bytes) -> None:
    for name in ("bytes.json", "bytes.jsonl"):
        (untouched.cwd / name).write_bytes(content)
        done = untouched.run("enqueue", "-f", name)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"error: {name}:1: not ")
        assert len(done.stderr.splitlines()) <= 2
