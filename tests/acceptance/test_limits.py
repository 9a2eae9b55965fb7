"""What a job and a queue may use up: `max_log_bytes`, `min_free_bytes`, `max_pending`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import HOLD, Cli, next_line, wait_until

TOO_MUCH = "sig25"  # SIGXFSZ
MORE_THAN_THERE_IS = "1024 TiB"


@pytest.fixture
def cli(cli: Cli) -> Iterator[Cli]:
    """A spool whose workers end jobs quickly; whatever runs is ended afterwards."""
    cli.configure(backoff_base=0, kill_grace_sec=0.3)
    yield cli
    cli.end_all()


# max_log_bytes


def test_a_job_that_floods_its_log_is_ended_and_says_why(cli: Cli) -> None:
    cli.configure(max_log_bytes=100_000, kill_grace_sec=0.3)
    cli.put("flood", "trap 'echo told >ended; exit 0' TERM; while :; do echo $$; done", max_retries=0)
    cli.drain()
    found = cli.job("flood")
    assert (found["state"], found["exit"]) == ("dead", TOO_MUCH)
    assert found["last_error"] == "more output than max_log_bytes (100000 bytes)"
    assert (cli.cwd / "ended").read_text() == "told\n"
    assert [path.name.split(".")[1] for path in cli.files("dead")] == [TOO_MUCH]


def test_a_job_that_floods_its_log_and_ignores_term_is_killed(cli: Cli) -> None:
    cli.configure(max_log_bytes=100_000, kill_grace_sec=0.1)
    cli.put("flood", "trap '' TERM; while :; do echo $$; done", max_retries=0)
    cli.drain()
    assert (cli.job("flood")["exit"], cli.job("flood")["history"][0]["signal"]) == (TOO_MUCH, 9)


def test_the_limit_is_the_same_for_a_job_that_has_ended_before_anybody_looked(cli: Cli) -> None:
    cli.configure(max_log_bytes=1000)
    cli.put("just", "head -c 1000 /dev/zero", max_retries=0)
    cli.put("more", "head -c 1001 /dev/zero", max_retries=0)
    cli.drain()
    assert (cli.state("just"), cli.state("more")) == ("completed", "dead")
    assert (cli.job("more")["exit"], cli.job("more")["exit_code"]) == (TOO_MUCH, 0)


def test_each_attempt_has_the_whole_limit_for_itself(cli: Cli) -> None:
    cli.configure(max_log_bytes=1000, backoff_base=0)
    cli.put("twice", "head -c 700 /dev/zero; [ $QUEUECTL_ATTEMPT = 3 ]")
    cli.drain()
    assert (cli.state("twice"), len(cli.log("twice"))) == ("completed", 2100)


def test_a_flood_is_retried_like_any_failure(cli: Cli) -> None:
    cli.configure(max_log_bytes=1000, backoff_base=0)
    cli.put("flood", "[ $QUEUECTL_ATTEMPT = 2 ] || head -c 2000 /dev/zero")
    cli.drain()
    assert (cli.state("flood"), cli.job("flood")["attempts"]) == ("completed", 2)


# min_free_bytes


def test_without_room_no_job_starts_and_status_and_the_terminal_say_so(cli: Cli) -> None:
    cli.configure(min_free_bytes=MORE_THAN_THERE_IS)
    cli.put("one", "true")
    with cli.workers("--count", "2", stderr=subprocess.PIPE) as process:
        line = next_line(process.stderr)
        assert (line.startswith("No new jobs: "), "less than min_free_bytes (1024 TiB)" in line) == (True, True)
        assert cli.state("one") == "pending"
        told = cli.ok("status").splitlines()[-1]
        assert (told.startswith("No new jobs: "), told.endswith("less than min_free_bytes (1024 TiB)")) == (True, True)
        shown = cli.json("status")
        assert (shown["free_bytes"] > 0, "min_free_bytes" in shown["short_of_room"]) == (True, True)
        cli.ok("config", "set", "min-free-bytes", "1")
        assert next_line(process.stderr) == "There is room again: jobs go on\n"  # said once, and nothing between
        wait_until(lambda: cli.state("one") == "completed")
    assert cli.json("status")["short_of_room"] is None


def test_running_jobs_go_on_without_room(cli: Cli) -> None:
    cli.put("one", HOLD)
    with cli.workers("--count", "2", stderr=subprocess.PIPE) as process:
        wait_until((cli.cwd / "up.one").exists)
        cli.ok("config", "set", "min-free-bytes", MORE_THAN_THERE_IS)
        assert next_line(process.stderr).startswith("No new jobs: ")  # the idle worker has taken it up
        cli.put("two", "true")
        (cli.cwd / "go").touch()
        wait_until(lambda: cli.state("one") == "completed")
        assert cli.counts()["completed"] == 1


def test_what_a_dead_worker_left_is_settled_without_room(cli: Cli) -> None:
    cli.configure(min_free_bytes=MORE_THAN_THERE_IS)
    lost = cli.spool / "processing" / "20200101T000000000Z.1.lost.json"
    lost.write_text('{"command": "true", "id": "lost", "max_retries": 0}')
    with cli.workers():
        wait_until(lambda: cli.state("lost") == "dead")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount file systems")
def test_workers_go_on_by_themselves_when_there_is_room_again(tmp_path: Path) -> None:
    place, work = tmp_path / "small", tmp_path / "work"
    place.mkdir()
    work.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", place], check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    cli = Cli(place / "spool", work)
    try:
        cli.ok("init", str(cli.spool), spool=False)
        cli.configure(min_free_bytes="2 MiB", poll_interval_sec=3600)
        (place / "ballast").write_bytes(bytes(3 * 2**20))
        cli.enqueue("--id", "one", "true")
        with cli.workers(stderr=subprocess.PIPE) as process:
            assert next_line(process.stderr).startswith("warning: ")  # it is in memory
            assert next_line(process.stderr).startswith("No new jobs: ")
            (place / "ballast").unlink()
            wait_until(lambda: cli.state("one") == "completed")
    finally:
        cli.kill_all()
        subprocess.run(["umount", "-l", place], check=True)


# max_pending


@pytest.mark.parametrize(
    "words",
    [["enqueue", "-q", "true"], ["enqueue", "--id", "more", "true"], ["enqueue", "--", "true", "x"]],
    ids=["plain", "chosen id", "program"],
)
def test_enqueue_into_a_full_queue_is_refused(cli: Cli, words: list[str]) -> None:
    cli.configure(max_pending=2)
    cli.enqueue("true")
    cli.enqueue("true")
    refused = cli.run(*words)
    assert (refused.returncode, refused.stdout, cli.counts()["pending"]) == (6, "", 2)
    error, hint = refused.stderr.splitlines()
    assert error == "error: the queue is full: 1 more would make more than max_pending (2) jobs in pending/"
    assert hint.startswith("hint: wait until workers have run some")


def test_many_jobs_are_queued_all_or_none(cli: Cli) -> None:
    cli.configure(max_pending=3)
    cli.enqueue("true")
    lines = [json.dumps({"command": "true"})] * 3
    refused = cli.run("enqueue", "-f", "-", stdin="\n".join(lines))
    assert (refused.returncode, cli.counts()["pending"], cli.files("tmp")) == (6, 1, [])
    cli.ok("enqueue", "-f", "-", stdin="\n".join(lines[:2]))
    assert cli.counts()["pending"] == 3


def test_drops_count_and_are_not_refused(cli: Cli) -> None:
    cli.configure(max_pending=1)
    for number in range(3):
        cli.drop(f"{number}.json", {"command": "true"})
    assert cli.run("enqueue", "true").returncode == 6
    cli.drain()
    assert cli.counts()["completed"] == 3


def test_a_queue_has_room_again_when_jobs_have_run(cli: Cli) -> None:
    cli.configure(max_pending=1)
    cli.enqueue("true")
    cli.drain()
    cli.enqueue("true")
    assert cli.counts()["pending"] == 1


def test_the_environment_may_set_how_many_jobs_may_wait(cli: Cli) -> None:
    cli.enqueue("true")
    assert cli.run("enqueue", "-q", "true", env={"QUEUECTL_MAX_PENDING": "1"}).returncode == 6
    cli.configure(max_pending=1)
    cli.enqueue("true", env={"QUEUECTL_MAX_PENDING": "2"})
    assert cli.counts()["pending"] == 2


def test_settings_that_cannot_be_read_do_not_keep_anybody_from_enqueueing(cli: Cli) -> None:
    (cli.spool / "config.toml").write_text("max_retries = many\n")
    cli.enqueue("true")
    assert cli.counts()["pending"] == 1


def test_a_limit_that_cannot_be_read_is_named(cli: Cli) -> None:
    (cli.spool / "config.toml").write_text('max_pending = "many"\n')
    refused = cli.run("enqueue", "-q", "true")
    assert (refused.returncode, cli.counts()["pending"]) == (2, 0)
    assert "config.toml: max_pending = 'many'" in refused.stderr
