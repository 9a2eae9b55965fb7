"""`logs`: what a job printed, at once or as it comes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from helpers import Cli, end, new_cli, next_line, wait_until


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A spool with jobs that have ended, which tests only look at, and a worker for those that tests add."""
    cli = new_cli(tmp_path_factory.mktemp("logs"))
    cli.enqueue_all(
        {"command": "printf '\\377\\000 raw \\033[31m'", "id": "bytes"},
        {
            "command": "echo try $QUEUECTL_ATTEMPT; echo err >&2; exit 1",
            "id": "twice",
            "max_retries": 1,
            "backoff_base": 0,
        },
        {"command": "true", "id": "silent"},
    )
    cli.drain()
    with cli.workers("--count", "2"):
        yield cli


@pytest.mark.parametrize("args", [["logs", "twice"], ["logs", "show", "twice"], ["logs", "tw"]], ids=" ".join)
def test_logs_show_the_output_of_all_attempts(ran: Cli, args: list[str]) -> None:
    assert ran.ok(*args) == "try 1\nerr\ntry 2\nerr\n"


def test_logs_are_the_bytes_that_the_job_printed(ran: Cli) -> None:
    process = ran.start("logs", "bytes")
    assert process.communicate(timeout=30) == (b"\xff\x00 raw \x1b[31m", b"")


@pytest.mark.parametrize(("number", "output"), [("1", "try 1\nerr\n"), ("2", "try 2\nerr\n")])
def test_an_attempt_has_its_own_part_of_the_log(ran: Cli, number: str, output: str) -> None:
    assert ran.ok("logs", "twice", "--attempt", number) == output
    assert ran.ok("logs", "show", "--attempt", number, "twice") == output


def test_an_attempt_that_was_never_made_is_not_found(ran: Cli) -> None:
    done = ran.run("logs", "twice", "--attempt", "3")
    assert (done.returncode, done.stderr) == (3, "error: twice: has no attempt 3; it has had 2\n")


def test_the_attempt_that_runs_can_be_shown(ran: Cli) -> None:
    id = ran.enqueue("echo begun; exec sleep 1000")
    log = ran.spool / "logs" / f"{id}.log"
    wait_until(lambda: ran.state(id) == "processing" and log.exists() and ran.log(id))
    assert ran.ok("logs", id, "--attempt", "1") == "begun\n"
    ran.ok("cancel", id)


@pytest.mark.parametrize("args", [["logs", "silent"], ["logs", "-f", "silent"]], ids=" ".join)
def test_a_job_that_printed_nothing_has_an_empty_log(ran: Cli, args: list[str]) -> None:
    assert ran.ok(*args) == ""


def test_the_log_of_a_job_that_has_not_run_is_empty(cli: Cli) -> None:
    assert cli.ok("logs", cli.enqueue("echo hi")) == ""


def test_a_deleted_log_reads_as_empty(cli: Cli) -> None:
    id = cli.enqueue("echo hi")
    cli.drain()
    (cli.spool / "logs" / f"{id}.log").unlink()
    assert cli.ok("logs", id) == ""


def test_logs_as_json_is_one_document(ran: Cli) -> None:
    assert ran.json("logs", "twice", "--attempt", "1") == {"id": "twice", "attempt": 1, "output": "try 1\nerr\n"}
    assert ran.json("logs", "bytes")["output"].endswith(" raw \x1b[31m")


# Following.


class Following:
    """`logs -f` in the background."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def line(self) -> str:
        """Wait for one line."""
        return next_line(self.process.stdout)

    def rest(self) -> str:
        """Wait for the end, which must be a good one; returns what came until then."""
        out, _ = self.process.communicate(timeout=30)
        assert self.process.returncode == 0
        return out.decode()


@pytest.fixture
def follow() -> Iterator[list[Following]]:
    """The followers that a test starts, ended with it."""
    started: list[Following] = []
    yield started
    for one in started:
        end(one.process)


@pytest.mark.parametrize(
    "words", ["logs -f ID", "logs ID -f", "logs --follow ID", "logs show -f ID", "logs show ID --follow"]
)
def test_following_an_ended_job_shows_all_and_ends(ran: Cli, words: str) -> None:
    assert ran.ok(*words.replace("ID", "twice").split()) == "try 1\nerr\ntry 2\nerr\n"


def test_follow_shows_from_before_the_job_starts_until_it_ends(cli: Cli, follow: list[Following]) -> None:
    gate = cli.cwd / "gate"
    id = cli.enqueue(f"echo first; until [ -e {gate} ]; do sleep 0.02; done; echo second; printf end")
    follow.append(Following(cli.start("logs", "-f", id)))
    process = follow[0].process
    assert next_line(process.stderr) == "no worker is running; queuectl worker start runs one\n"
    with cli.workers():
        assert follow[0].line() == "first\n"
        assert process.poll() is None
        gate.touch()
        assert follow[0].rest() == "second\nend"


def test_follow_goes_on_from_a_failed_attempt_to_the_next(ran: Cli, follow: list[Following]) -> None:
    id = ran.enqueue("echo try $QUEUECTL_ATTEMPT; exit 1", "--max-retries", "2", "--backoff-base", "0.3")
    follow.append(Following(ran.start("logs", "-f", id)))
    assert follow[0].rest() == "try 1\ntry 2\ntry 3\n"
    assert ran.state(id) == "dead"


def test_follow_ends_when_the_job_is_cancelled(ran: Cli, follow: list[Following]) -> None:
    id = ran.enqueue("echo begun; exec sleep 1000")
    follow.append(Following(ran.start("logs", "-f", id)))
    assert follow[0].line() == "begun\n"
    ran.ok("cancel", id)
    assert follow[0].rest() == ""


def test_follow_ends_when_the_waiting_job_is_removed(cli: Cli, follow: list[Following]) -> None:
    id = cli.enqueue("true")
    follow.append(Following(cli.start("logs", "-f", id)))
    process = follow[0].process
    assert next_line(process.stderr)
    cli.ok("rm", id)
    assert follow[0].rest() == ""


def test_follow_shows_a_megabyte_whole(ran: Cli, follow: list[Following]) -> None:
    id = ran.enqueue("seq 150000")
    follow.append(Following(ran.start("logs", "-f", id)))
    assert follow[0].rest() == "".join(f"{number}\n" for number in range(1, 150_001))
