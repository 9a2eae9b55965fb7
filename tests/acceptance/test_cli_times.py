"""Durations and times as people write them, and the echo of what was understood."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from helpers import Cli, new_cli


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A spool without workers that tests put jobs into; none may count them."""
    return new_cli(tmp_path_factory.mktemp("times"))


@pytest.mark.parametrize(
    ("written", "seconds", "echo"),
    [
        ("90", 90, "1 m 30 s"),
        ("90s", 90, "1 m 30 s"),
        ("1.5h", 5400, "1 h 30 m"),
        ("2h30m", 9000, "2 h 30 m"),
        ("7d", 604_800, "7 d"),
        ("1w", 604_800, "7 d"),
        ("250ms", 0.25, "0.25 s"),
        (" 5m ", 300, "5 m"),
        ("0.5", 0.5, "0.5 s"),
    ],
)
def test_a_duration_is_understood_and_echoed(shared: Cli, written: str, seconds: float, echo: str) -> None:
    done = shared.run("enqueue", "true", "--timeout", written)
    assert json.loads(done.stdout)["timeout"] == seconds
    assert done.stderr == f"timeout {echo}\n"


@pytest.mark.parametrize(("option", "value"), [("--delay", "2h30m"), ("--delay", "9000"), ("--run-at", "+2h30m")])
def test_a_delay_is_counted_from_now_and_echoed(shared: Cli, option: str, value: str) -> None:
    done = shared.run("enqueue", "true", option, value, env={"TZ": "UTC"})
    job = json.loads(done.stdout)
    created, due = (datetime.fromisoformat(job[key]) for key in ("created_at", "run_at"))
    assert 8940 < (due - created).total_seconds() <= 9000
    assert job["due_at"] == job["run_at"]
    assert done.stderr.startswith(f"run at {due:%Y-%m-%d %H:%M:%S} (in 2 h ")


@pytest.mark.parametrize(
    ("written", "instant"),
    [
        ("2091-05-06T07:08:09Z", "2091-05-06T07:08:09.000Z"),
        ("2091-05-06T07:08:09.125Z", "2091-05-06T07:08:09.125Z"),
        ("2091-05-06T07:08:09+02:00", "2091-05-06T05:08:09.000Z"),
        ("2091-05-06 07:08", "2091-05-06T12:08:00.000Z"),
        ("2091-05-06", "2091-05-06T05:00:00.000Z"),
        ("20910506T070809Z", "2091-05-06T07:08:09.000Z"),
    ],
)
def test_a_time_has_its_zone_or_else_the_local_one(shared: Cli, written: str, instant: str) -> None:
    done = shared.run("enqueue", "true", "--run-at", written, env={"TZ": "XXX+5"})
    assert json.loads(done.stdout)["run_at"] == instant


def test_the_echo_of_a_time_is_local(shared: Cli) -> None:
    done = shared.run("enqueue", "true", "--run-at", "2091-05-06T07:08:09Z", env={"TZ": "XXX+5"})
    assert done.stderr.startswith("run at 2091-05-06 02:08:09 (in ")


def test_a_time_in_the_past_means_now(cli: Cli) -> None:
    id = cli.enqueue("true", "--run-at", "2001-01-01T00:00:00Z")
    cli.drain()
    assert cli.state(id) == "completed"


def test_a_job_file_takes_durations_and_relative_times_too(shared: Cli) -> None:
    job = {"command": "true", "timeout": "1.5h", "run_at": "+2h30m"}
    stored = json.loads(shared.ok("enqueue", json.dumps(job)))
    created, due = (datetime.fromisoformat(stored[key]) for key in ("created_at", "run_at"))
    assert stored["timeout"] == 5400
    assert 8940 < (due - created).total_seconds() <= 9000


@pytest.mark.parametrize(
    ("args", "echo"),
    [
        (["worker", "start", "--drain", "--for", "1.5h"], "stops after 1 h 30 m"),
        (["worker", "start", "--drain", "--timeout", "90"], "stops after 1 m 30 s"),
        (["purge", "--dead", "--older-than", "7d"], "older than 7 d"),
        (["wait", "--timeout", "2h30m"], "gives up after 2 h 30 m"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_every_verb_echoes_the_duration_that_it_understood(cli: Cli, args: list[str], echo: str) -> None:
    assert cli.run(*args).stderr.splitlines()[0] == echo
