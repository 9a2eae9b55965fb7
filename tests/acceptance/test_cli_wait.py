"""`wait`: until jobs have ended, and an exit code that says how."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import Cli, end, new_cli, next_line, wait_until


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A spool with jobs that have ended, which tests only look at."""
    cli = new_cli(tmp_path_factory.mktemp("wait"))
    cli.enqueue_all(
        {"command": "true", "id": "good"},
        {"command": "true", "id": "fine"},
        {"command": "exit 7", "id": "broken", "max_retries": 0},
    )
    cli.drain()
    return cli


@pytest.mark.parametrize(
    ("ids", "code", "lines"),
    [
        (["good"], 0, ["good\tcompleted\t0\t"]),
        (["fine", "good"], 0, ["fine\tcompleted\t0\t", "good\tcompleted\t0\t"]),
        (["broken"], 1, ["broken\tdead\t7\texit 7"]),
        (["good", "broken"], 1, ["good\tcompleted\t0\t", "broken\tdead\t7\texit 7"]),
        ([], 0, []),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wait_for_ended_jobs_returns_with_a_line_a_job(ran: Cli, ids: list[str], code: int, lines: list[str]) -> None:
    done = ran.run("wait", *ids)
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (code, lines, "")


def test_wait_as_json_is_one_array_of_jobs(ran: Cli) -> None:
    assert [(job["id"], job["state"]) for job in ran.json("wait", "good", "fine")] == [
        ("good", "completed"),
        ("fine", "completed"),
    ]


@contextlib.contextmanager
def gated(cli: Cli, *jobs: tuple[str, int]) -> Iterator[Path]:
    """Run jobs of these ids that end with these exit codes as soon as the yielded file exists."""
    gate = cli.cwd / "gate"
    cli.enqueue_all(
        *(
            {"command": f"until [ -e {gate} ]; do sleep 0.02; done; exit {code}", "id": id, "max_retries": 0}
            for id, code in jobs
        )
    )
    with cli.workers("--count", str(len(jobs))):
        wait_until(lambda: cli.counts()["processing"] == len(jobs))
        yield gate


def watches(process: subprocess.Popen[bytes]) -> bool:
    """Say whether a waiting command has looked for the jobs and now watches: that takes further threads."""
    return len(list(Path(f"/proc/{process.pid}/task").iterdir())) > 1


@pytest.mark.parametrize(("args", "code"), [(["one"], 0), (["one", "two"], 1), ([], 1)], ids=["one", "several", "all"])
def test_wait_returns_when_the_jobs_have_ended_and_not_before(cli: Cli, args: list[str], code: int) -> None:
    with gated(cli, ("one", 0), ("two", 5)) as gate:
        process = cli.start("wait", *args, "--timeout", "1h")
        try:
            assert next_line(process.stderr) == "gives up after 1 h\n"
            wait_until(lambda: watches(process))
            assert process.poll() is None
            gate.touch()
            out, _ = process.communicate(timeout=30)
        finally:
            end(process)
        assert process.returncode == code
        assert out.count(b"\n") == (len(args) or 2)


def test_wait_gives_up_after_its_timeout_with_exit_124_and_the_jobs_go_on(cli: Cli) -> None:
    with gated(cli, ("one", 0), ("two", 0)) as gate:
        done = cli.run("wait", "--timeout", "0.2s")
        assert (done.returncode, done.stdout) == (124, "")
        assert done.stderr == "gives up after 0.2 s\nerror: still waiting for 2 of 2 after 0.2 s\n"
        gate.touch()
        assert cli.run("wait", "one", "two").returncode == 0


def test_wait_goes_on_over_a_retry(cli: Cli) -> None:
    with cli.workers():
        command = "test -e second || { touch second; exit 1; }"
        id = cli.enqueue(command, "--max-retries", "1", "--backoff-base", "0.3")
        assert cli.ok("wait", id) == f"{id}\tcompleted\t0\t\n"


def test_wait_ends_with_exit_3_when_the_job_is_removed(cli: Cli) -> None:
    cli.enqueue("true", "--id", "one")
    process = cli.start("wait", "one")
    try:
        assert process.stderr is not None
        assert next_line(process.stderr) == "no worker is running; queuectl worker start runs one\n"
        cli.ok("rm", "one")
        assert process.wait(30) == 3
        assert process.stderr.read().startswith(b"error: one: removed while it was waited for")
    finally:
        end(process)


def test_wait_for_all_does_not_wait_for_jobs_that_come_later(cli: Cli) -> None:
    with gated(cli, ("one", 0)) as gate:
        process = cli.start("wait", "--timeout", "1h")
        try:
            assert next_line(process.stderr)
            wait_until(lambda: watches(process))
            cli.enqueue("true", "--id", "far", "--delay", "1h")
            gate.touch()
            assert process.wait(30) == 0
        finally:
            end(process)
