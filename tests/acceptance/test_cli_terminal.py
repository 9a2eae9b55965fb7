"""What a person sees: aligned tables with colour, whole words, harmless characters, progress bars."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from helpers import Cli, new_cli, wait_until
from screen import CTRL_C, plain, screen, shown

COLOURS = {"pending": 36, "processing": 33, "completed": 32, "failed": 35, "dead": 31}
STATES = {"pending": "later", "processing": "busy", "completed": "good", "failed": "flaky", "dead": "broken"}
LONG = "echo " + "word " * 60
EVIL = "printf '\x1b[2J\x07\x9b31m\u202e' # \u200b\nexit 3"
ESCAPED = r"printf '\x1b[2J\x07\x9b31m\u202e' # \u200b\nexit 3"


@pytest.fixture(scope="module")
def one_of_each(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A spool with one job in each state and a worker, which tests only look at."""
    cli = new_cli(tmp_path_factory.mktemp("each"))
    cli.enqueue_all(
        {"command": "true", "id": "good", "priority": 9},
        {"command": EVIL, "id": "broken", "max_retries": 0},
        {"command": "exit 4", "id": "flaky", "backoff_base": 3000},
        {"command": LONG, "id": "later", "run_at": "2099-01-01T00:00:00Z"},
        {"command": "exec sleep 1000", "id": "busy"},
    )
    with cli.workers("--count", "1"):
        wait_until(lambda: set(cli.counts().values()) == {1})
        yield cli


def test_list_is_an_aligned_table_under_a_header(one_of_each: Cli) -> None:
    header, *lines = plain(shown(one_of_each, "list", columns=120)).splitlines()
    assert header.split() == "ID STATE PRI ATTEMPTS MAX WHEN COMMAND LAST_ERROR".split()
    assert len(lines) == 5
    for title in ("STATE", "WHEN", "COMMAND"):
        at = header.index(title)
        assert {line[at - 1] for line in lines} == {" "}, title
        assert all(line[at] != " " for line in lines), title
    end = header.index("PRI") + len("PRI")
    assert sorted(line[:end].split()[-1] for line in lines) == ["5", "5", "5", "5", "9"]


@pytest.mark.parametrize("columns", [80, 100, 132])
def test_only_the_command_is_shortened_so_that_lines_fit_the_terminal(one_of_each: Cli, columns: int) -> None:
    lines = plain(shown(one_of_each, "list", columns=columns)).splitlines()
    (later,) = (line for line in lines if line.startswith("later"))
    assert len(later) <= columns
    assert "echo word" in later
    assert later.endswith("…")
    assert all(state in line for state, id in STATES.items() for line in lines if line.startswith(id))


def test_wide_shows_the_whole_command(one_of_each: Cli) -> None:
    assert LONG.rstrip() in shown(one_of_each, "list", "--wide", columns=80)


def test_each_state_has_its_colour_and_its_word(one_of_each: Cli) -> None:
    out = shown(one_of_each, "list")
    found = {word: int(code) for code, word in re.findall(r"\x1b\[(\d+)m(\w+)\x1b\[0m", out)}
    assert found == COLOURS


@pytest.mark.parametrize(
    ("args", "env"),
    [([], {"NO_COLOR": "1"}), ([], {"TERM": "dumb"}), (["--color", "never"], {}), (["--color=never"], {})],
    ids=["NO_COLOR", "dumb", "never", "never-joined"],
)
def test_a_terminal_gets_no_colour_when_it_is_not_wanted(
    one_of_each: Cli, args: list[str], env: dict[str, str]
) -> None:
    assert "\x1b" not in shown(one_of_each, "list", *args, env=env)
    assert "\x1b" not in shown(one_of_each, "status", *args, env=env)


@pytest.mark.parametrize("args", [["--color", "always", "list"], ["list", "--color", "always"]], ids=" ".join)
def test_colour_always_wins_over_no_color_and_a_pipe(one_of_each: Cli, args: list[str]) -> None:
    assert "\tpending\t" not in one_of_each.ok(*args)
    assert "\t\x1b[36mpending\x1b[0m\t" in one_of_each.ok(*args)


def test_a_pipe_gets_no_colour(one_of_each: Cli) -> None:
    assert "\x1b" not in one_of_each.ok("list", env={"NO_COLOR": ""}).replace(EVIL.split("\n")[0], "")


@pytest.mark.parametrize(
    "args", [["list", "--wide"], ["dlq", "--wide"], ["dlq", "list", "--wide"], ["show", "broken"]], ids=" ".join
)
def test_control_characters_of_a_command_are_spelled_out(one_of_each: Cli, args: list[str]) -> None:
    out = shown(one_of_each, *args, env={"NO_COLOR": "1"})
    assert ESCAPED in out
    assert not [c for c in out if not c.isprintable() and c != "\n"]


@pytest.mark.parametrize("args", [["list", "--json"], ["show", "broken", "--json"]], ids=" ".join)
def test_json_is_indented_and_harmless_and_still_the_same(one_of_each: Cli, args: list[str]) -> None:
    out = shown(one_of_each, *args)
    assert not [c for c in out if not c.isprintable() and c != "\n"]
    assert out.startswith(("[\n  {\n    ", "{\n  "))
    assert json.loads(out) == json.loads(one_of_each.ok(*args))


def test_the_dead_letter_queue_is_a_table_too(one_of_each: Cli) -> None:
    header, line = shown(one_of_each, "dlq", "--wide").splitlines()
    assert header.split() == ["ID", "COMMAND", "ATTEMPTS", "LAST_ERROR"]
    assert line.endswith("       1  exit 3")


def test_show_is_a_block_of_facts_with_every_attempt(one_of_each: Cli) -> None:
    lines = plain(shown(one_of_each, "show", "broken")).splitlines()
    assert lines[:2] == ["Id:           broken", "State:        dead"]
    assert "Attempts:     1 of 1" in lines
    assert [line.split() for line in lines if line.startswith("ATTEMPT")] == [
        ["ATTEMPT", "STARTED", "TOOK", "ENDED", "WORKER", "HOST"]
    ]
    assert lines[-1].split()[0] == "1"


def test_status_tells_times_in_words(cli: Cli) -> None:
    cli.enqueue("true")
    cli.enqueue("true", "--run-at", "2099-01-01T00:00:00Z")
    out = shown(cli, "status", env={"NO_COLOR": "1"})
    assert re.search(r"^Oldest pending: \d+ (s|m \d+ s) \(since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\)$", out, re.M)
    assert re.search(r"^Next scheduled: 2099-01-01 00:00:00 \(in \d+ d( \d+ h)?\)$", out, re.M)


def test_status_with_watch_redraws_in_place_until_ctrl_c(one_of_each: Cli) -> None:
    with screen(one_of_each, "status", "--watch") as watching:
        out = watching.wait_for("\x1b[J\x1b[HWorkers active: 1\x1b[K\n")
        assert out.startswith("\x1b[2J\x1b[HWorkers active: 1\x1b[K\n")
        watching.type(CTRL_C)
        watching.finish()
    assert watching.process.returncode == 130


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["list"], "No jobs"),
        (["list", "--state", "dead"], "No dead jobs"),
        (["dlq"], "The dead letter queue is empty"),
        (["worker", "list"], "No workers are running"),
        (["dlq", "retry", "--all"], "The dead letter queue is empty"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_where_there_is_nothing_a_terminal_says_so(
    tmp_path_factory: pytest.TempPathFactory, args: list[str], text: str
) -> None:
    assert shown(new_cli(tmp_path_factory.mktemp("empty")), *args) == f"{text}\n"


def test_enqueue_is_one_human_line_a_job(cli: Cli) -> None:
    assert shown(cli, "enqueue", "echo hi", "--id", "demo1") == "Enqueued demo1  echo hi\n"
    later = shown(cli, "enqueue", "echo hi", "--id", "demo2", "--run-at", "2099-01-01T00:00:00Z", columns=200)
    assert re.fullmatch(r"Enqueued demo2  echo hi  run at 2099-01-01 00:00:00 \(in \d+ d( \d+ h)?\)\n", later)
    long = shown(cli, "enqueue", LONG, "--id", "demo3", columns=60)
    assert (long[:20], len(long), long[-2:]) == ("Enqueued demo3  echo", 61, "…\n")


def test_enqueue_of_many_jobs_shows_a_progress_bar_that_goes_away(cli: Cli) -> None:
    (cli.cwd / "jobs.txt").write_text("true\n" * 3000)
    out = shown(cli, "enqueue", "-q", "--lines", "-f", "jobs.txt")
    assert re.search(r"Enqueueing \[#+-*\] 3000/3000 100%\r\x1b\[2K", out)
    assert len(re.findall(r"^\w{16}$", out.replace("\r", "\n").replace("\x1b[2K", "\n"), re.M)) == 3000


def test_wait_shows_a_progress_bar_and_a_summary(cli: Cli) -> None:
    gate = cli.cwd / "gate"
    command = f"until [ -e {gate} ]; do sleep 0.02; done"
    cli.enqueue_all({"command": command}, {"command": f"{command}; exit 2", "max_retries": 0})
    with cli.workers("--count", "2"), screen(cli, "wait") as waiting:
        waiting.wait_for("Waiting [------------------------------] 0/2   0%")
        gate.touch()
        out = waiting.finish()
    assert waiting.process.returncode == 1
    assert out.endswith("2 jobs ended: 1 completed, 1 dead\n")
    assert re.search(r"^\w{16}  dead   2     exit 2$", plain(out), re.M)
