"""What kill -9 leaves behind, at any moment and of anything: no job lost, none run twice at once, every run counted."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import HOLD, PATIENCE_S, STATES, Cli, end, environment, next_line, wait_until

# Notes each run; a directory that is there already is another run of this job that still lives.
PROVE = (
    "echo $QUEUECTL_ATTEMPT >>runs.$QUEUECTL_JOB_ID;"
    "mkdir now.$QUEUECTL_JOB_ID || { echo $QUEUECTL_JOB_ID >>overlaps; exit 1; };"
)
UNPROVE = "; rmdir now.$QUEUECTL_JOB_ID"
EARLY, LATE = "20200101T000000000Z", "20990101T000000000Z"


@pytest.fixture
def cli(cli: Cli) -> Iterator[Cli]:
    """A spool whose retries do not wait and whose workers look often; whatever runs is ended afterwards."""
    cli.configure(backoff_base=0, kill_grace_sec=0.3, poll_interval_sec=0.1)
    yield cli
    cli.end_all()


def runs(cli: Cli, id: str) -> list[int]:
    """Return the numbers of the attempts in which a job's command ran, in the order of its runs."""
    path = cli.cwd / f"runs.{id}"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def up(cli: Cli, id: str) -> None:
    """Wait until a job's command runs."""
    wait_until((cli.cwd / f"up.{id}").exists, what=f"{id} to run")


def pids_of(cli: Cli, id: str) -> tuple[int, int]:
    """Return the pids of a job's worker and of its command, as the job wrote them down."""
    path = cli.cwd / f"pids.{id}"
    worker, command = wait_until(lambda: path.exists() and path.read_text(), what="the pids").split()
    return int(worker), int(command)


def others_work(cli: Cli, word: str, count: int = 10) -> None:
    """Wait until the workers have run some other jobs, and so have looked around many times."""
    for number in range(count):
        cli.put(f"{word}-{number}", "true")
    wait_until(lambda: all(cli.state(f"{word}-{number}") == "completed" for number in range(count)))


def lost(job: dict[str, Any]) -> list[int]:
    """Return the numbers of a job's attempts whose worker died."""
    return [run["attempt"] for run in job["history"] if run["error"] == "worker lost"]


# One worker dies.


def test_a_job_is_not_started_again_while_the_command_of_its_dead_worker_lives(cli: Cli) -> None:
    cli.put("one", f"{PROVE} echo $PPID $$ >pids.one; {HOLD}{UNPROVE}")
    with cli.workers("--count", "2"):
        up(cli, "one")
        os.kill(pids_of(cli, "one")[0], signal.SIGKILL)
        others_work(cli, "a")
        wait_until(lambda: len(cli.worker_pids()) == 2, what="the worker's successor")
        others_work(cli, "b")
        assert (cli.state("one"), runs(cli, "one")) == ("processing", [1])
        (cli.cwd / "go").touch()
        wait_until(lambda: cli.state("one") == "completed")
    assert not (cli.cwd / "overlaps").exists()


def test_the_attempt_of_a_worker_that_died_counts_and_stands_in_the_history(cli: Cli) -> None:
    cli.put("one", "[ $QUEUECTL_ATTEMPT = 2 ] || { echo $PPID $$ >pids.one; exec sleep 60; }")
    with cli.workers():
        worker, command = pids_of(cli, "one")
        os.kill(worker, signal.SIGKILL)
        os.kill(command, signal.SIGKILL)
        wait_until(lambda: cli.state("one") == "completed")
    job = cli.job("one")
    assert (job["attempts"], [run["error"] for run in job["history"]]) == (2, ["worker lost", None])


def test_a_lost_attempt_keeps_its_output_apart_from_the_next(cli: Cli) -> None:
    cli.put("one", "echo this is $QUEUECTL_ATTEMPT; [ $QUEUECTL_ATTEMPT = 2 ] || kill -9 $PPID")
    with cli.workers():
        wait_until(lambda: cli.state("one") == "completed")
    pieces = [cli.log("one")[run["log_start"] : run["log_end"]] for run in cli.job("one")["history"]]
    assert pieces == [b"this is 1\n", b"this is 2\n"]


def test_a_lost_job_is_found_at_the_next_start_without_a_time_out(cli: Cli) -> None:
    cli.configure(backoff_base=0, poll_interval_sec=3600)
    cli.put("one", "[ $QUEUECTL_ATTEMPT = 2 ] || { touch up.one; exec sleep 60; }")
    with cli.workers():
        up(cli, "one")
        cli.kill_all()
    assert cli.state("one") == "processing"
    cli.drain()
    assert (cli.state("one"), cli.job("one")["attempts"]) == ("completed", 2)


def test_a_job_that_kills_its_worker_each_time_uses_up_its_retries_and_dies(cli: Cli) -> None:
    cli.put("one", "echo $QUEUECTL_ATTEMPT >>runs.one; kill -9 $PPID", max_retries=1)
    cli.put("two", "true", priority=0)
    with cli.workers():
        wait_until(lambda: cli.state("one") == "dead")
        wait_until(lambda: cli.state("two") == "completed")
    job = cli.job("one")
    assert (runs(cli, "one"), job["attempts"], lost(job)) == ([1, 2], 2, [1, 2])
    assert cli.names("one")[0].name.split(".")[1] == "lost"


def test_the_loss_of_a_worker_is_told_by_the_one_that_finds_it(cli: Cli) -> None:
    cli.put("one", "kill -9 $PPID", max_retries=0)
    told = cli.cwd / "told"
    with told.open("wb") as out, cli.workers(stdout=out):
        wait_until(lambda: cli.state("one") == "dead")
        wait_until(lambda: "Job one is dead: worker lost (attempt 1 of 1)\n" in told.read_text())


def test_a_lost_job_is_found_while_the_queue_is_paused_and_runs_after_that(cli: Cli) -> None:
    cli.put("one", "echo run >>runs; [ $QUEUECTL_ATTEMPT = 2 ] || { touch up.one; exec sleep 60; }")
    with cli.workers():
        up(cli, "one")
        cli.ok("pause")
        cli.kill_all()
    with cli.workers():
        wait_until(lambda: cli.state("one") == "failed")
        assert (cli.cwd / "runs").read_text() == "run\n"
        cli.ok("resume")
        wait_until(lambda: cli.state("one") == "completed")


# Everything dies.


def test_after_a_kill_of_everything_all_200_jobs_complete_and_every_run_is_counted(cli: Cli) -> None:
    for number in range(200):
        # flock(1) rather than a directory: it lets go when the command is killed. The last jobs wait for the kill.
        line = (
            f"echo $QUEUECTL_ATTEMPT >>runs.job-{number}; until [ {number} -lt 150 ] || [ -e go ]; do sleep 0.02; done"
        )
        cli.put(f"job-{number}", ["flock", "-n", f"now.job-{number}", "sh", "-c", line], max_retries=5)
    with cli.workers("--count", "4"):
        wait_until(lambda: cli.counts()["completed"] >= 60)
        cli.kill_all()
    assert cli.counts()["completed"] < 200
    (cli.cwd / "go").touch()
    cli.drain(4)
    assert cli.counts() == {"pending": 0, "processing": 0, "completed": 200, "failed": 0, "dead": 0}
    for id, job in cli.jobs("completed").items():
        assert counted(runs(cli, id), job), job


def counted(ran: list[int], job: dict[str, Any]) -> bool:
    """Say whether each run was an attempt of its own, and each attempt a run unless its worker died before it began."""
    attempts = set(range(1, job["attempts"] + 1))
    return len(set(ran)) == len(ran) and attempts - set(lost(job)) <= set(ran) <= attempts


def test_a_completed_job_never_runs_again(cli: Cli) -> None:
    cli.put("one", "echo run >>runs")
    with cli.workers():
        wait_until(lambda: cli.state("one") == "completed")
        cli.kill_all()
    cli.drain()
    assert (cli.cwd / "runs").read_text() == "run\n"


def test_drafts_of_a_writer_that_died_are_never_run(cli: Cli) -> None:
    draft = cli.spool / "tmp" / f"{EARLY}.999999999.0a1b2c3d1"
    draft.write_text('{"command": "echo run >>runs"}')
    (cli.spool / "tmp" / f"{EARLY}.999999999.0a1b2c3d2").write_text('{"comm')
    cli.put("one", "true")
    cli.drain()
    assert cli.state("one") == "completed"
    assert not (cli.cwd / "runs").exists()


# Workers whose clock is two hours ahead.
LATER = """
import sys
from queuectl import clock, supervisor
now = clock.now
clock.now = lambda: now() + 7_200_000
supervisor.run(sys.argv[1], count=1, drain=True)
"""


def test_old_drafts_of_writers_that_died_are_gone_after_a_start(cli: Cli) -> None:
    (cli.spool / "tmp" / f"{EARLY}.999999999.0a1b2c3d1").touch()
    living = cli.spool / "tmp" / f"{EARLY}.{os.getpid()}.0a1b2c3d1"
    living.touch()
    subprocess.run([sys.executable, "-c", LATER, str(cli.spool)], env=environment(), timeout=60, check=True)
    assert cli.files("tmp") == [living]


# What stands on the disk after a crash, by the revision in the name and the one in the file.


def crashed(cli: Cli, rev: int, job: dict[str, Any]) -> Path:
    """Leave a job in processing/ as a worker that died there has it."""
    whole = {"id": "one", "command": "echo $QUEUECTL_ATTEMPT >>runs.one", "cwd": str(cli.cwd), **job}
    path = cli.spool / "processing" / f"{EARLY}.{rev}.one.json"
    path.write_text(json.dumps(whole))
    path.chmod(0o600)
    return path


def entry(number: int, error: str | None = None) -> dict[str, Any]:
    """Return an attempt as a history keeps it."""
    at = "2020-01-01T00:00:00.000Z"
    return {"attempt": number, "worker": "w", "started_at": at, "finished_at": at, "error": error}


DUE, ENDED = "2099-01-01T00:00:00.000Z", "2020-01-01T00:00:01.000Z"
DECIDED: dict[str, tuple[dict[str, Any], str]] = {
    "completed": ({"exit": "0", "exit_code": 0, "attempts": 1, "history": [entry(1)]}, "20200101T000001000Z.0"),
    "failed": ({"exit": "7", "exit_code": 7, "attempts": 1, "history": [entry(1, "exit 7")]}, f"{LATE}.5"),
    "dead": ({"exit": "sig9", "attempts": 1, "history": [entry(1, "signal 9")]}, "20200101T000001000Z.sig9"),
    "pending": ({"priority": 8}, f"{LATE}.8"),
}


@pytest.mark.parametrize("ahead", [0, 2], ids=["equal", "ahead"])
@pytest.mark.parametrize("state", DECIDED)
def test_a_decided_job_is_moved_where_its_file_says_and_not_run(cli: Cli, state: str, ahead: int) -> None:
    """The revision in the file is that of the name, or higher: the crash came between the decision and the move."""
    fields, name = DECIDED[state]
    path = crashed(cli, 3, {"state": state, "rev": 3 + ahead, "due_at": DUE, "updated_at": ENDED, **fields})
    before = path.read_bytes()
    with cli.workers():
        wait_until(lambda: cli.state("one") == state)
        others_work(cli, "a", 1)
    (found,) = cli.names("one")
    assert (found.parent.name, found.name) == (state, f"{name}.one.json")
    assert (found.read_bytes(), runs(cli, "one")) == (before, [])


UNDECIDED: dict[str, dict[str, Any]] = {
    "from-pending": {"state": "pending", "rev": 0},
    "from-failed": {"state": "failed", "rev": 1, "attempts": 1, "due_at": ENDED, "history": [entry(1, "exit 7")]},
    "after-a-put-back": {"state": "pending", "rev": 4, "due_at": ENDED},
}


@pytest.mark.parametrize("which", UNDECIDED)
def test_an_attempt_that_was_claimed_and_not_decided_is_lost_and_counts(cli: Cli, which: str) -> None:
    """The revision in the file is lower than that of the name: the crash came after the claim."""
    job = UNDECIDED[which]
    had = job.get("attempts", 0)
    crashed(cli, job["rev"] + 1, job)
    cli.drain()
    found = cli.job("one")
    assert (cli.state("one"), found["attempts"], runs(cli, "one")) == ("completed", had + 2, [had + 2])
    assert lost(found) == [had + 1]


@pytest.mark.parametrize("rest", ["pending/20200101T000000000Z.5.one.json", "failed/20200101T000000000Z.5.one.json"])
def test_a_claim_of_which_a_power_cut_left_both_names_is_one_job_again(cli: Cli, rest: str) -> None:
    path = crashed(cli, 1, {"rev": 0})
    os.link(path, cli.spool / rest)
    cli.drain(2)
    assert runs(cli, "one") == [2]
    assert [found.parent.name for found in cli.names("one")] == ["completed"]


def test_a_recorded_success_does_not_run_again_when_a_power_cut_brings_the_claim_back(cli: Cli) -> None:
    crashed(cli, 1, {"rev": 0})
    whole = {"command": "echo >>runs.one", "cwd": str(cli.cwd), "id": "one", "rev": 1, "attempts": 1, "exit": "0"}
    ended = cli.spool / "completed" / "20200101T000001000Z.0.one.json"
    ended.write_text(json.dumps({**whole, "state": "completed", "updated_at": ENDED}))
    cli.drain()
    assert (runs(cli, "one"), [found.parent.name for found in cli.names("one")]) == ([], ["completed"])
    assert sum(not path.name.endswith(".why") for path in cli.files("rejected")) == 1


def test_a_lost_attempt_without_retries_left_is_dead(cli: Cli) -> None:
    crashed(cli, 3, {"state": "failed", "rev": 2, "attempts": 1, "history": [entry(1, "exit 7")], "max_retries": 1})
    cli.drain()
    (found,) = cli.names("one")
    assert (found.parent.name, found.name.split(".")[1]) == ("dead", "lost")
    assert (runs(cli, "one"), cli.job("one")["attempts"]) == ([], 2)


def test_a_lost_attempt_is_found_by_a_worker_that_is_never_idle(cli: Cli) -> None:
    numbers = itertools.count()

    def found() -> bool:
        while len(cli.files("pending")) < 20:
            cli.put(f"busy-{next(numbers)}", "sleep 0.02")
        return cli.state("one") == "dead"

    with cli.workers():
        wait_until(lambda: found() or cli.counts()["completed"] > 0)
        crashed(cli, 1, {"rev": 0, "max_retries": 0})
        wait_until(found)
    assert lost(cli.job("one")) == [1]


def test_an_unreadable_file_in_processing_goes_to_the_rejected_unchanged(cli: Cli) -> None:
    crashed(cli, 1, {}).write_bytes(b"\0\0\0\0")
    cli.put("two", "true")
    cli.drain()
    assert cli.state("two") == "completed"
    kept = [path for path in cli.files("rejected") if path.suffix != ".why"]
    assert [path.read_bytes() for path in kept] == [b"\0\0\0\0"]
    assert not cli.files("processing")


# Commands that outlive their job.

DAEMON = "setsid sh -c 'touch up.daemon; until [ -e go ]; do sleep 0.02; done; touch daemon.ended' & "


def test_a_job_that_leaves_a_daemon_behind_completes(cli: Cli) -> None:
    """The daemon has inherited the lock on the job's file, and keeps it."""
    cli.put("one", DAEMON + "echo main has ended")
    with cli.workers():
        up(cli, "daemon")
        wait_until(lambda: cli.state("one") == "completed")
        assert not (cli.cwd / "daemon.ended").exists()


def test_a_job_whose_daemon_lives_can_be_retried(cli: Cli) -> None:
    cli.put("one", f"{DAEMON} echo $QUEUECTL_ATTEMPT >>runs.one; exit 1", max_retries=1)
    with cli.workers():
        wait_until(lambda: cli.state("one") == "dead")
        assert runs(cli, "one") == [1, 2]
        cli.ok("dlq", "retry", "one")
        wait_until(lambda: len(runs(cli, "one")) == 4)
        assert not (cli.cwd / "daemon.ended").exists()


# Cancel.

CATCH = "exec 2>/dev/null; trap 'echo asked; exit 0' TERM;"


def test_cancel_ends_a_running_job(cli: Cli) -> None:
    cli.put("one", f"{CATCH} {HOLD}")
    with cli.workers():
        up(cli, "one")
        cli.ok("cancel", "one")
        assert cli.log("one") == b"asked\n"
    (found,) = cli.names("one")
    assert (found.parent.name, found.name.split(".")[1]) == ("dead", "cancelled")


def test_cancel_kills_a_job_that_ignores_term(cli: Cli) -> None:
    cli.put("one", f"trap '' TERM; echo $$; {HOLD}")
    with cli.workers():
        up(cli, "one")
        cli.ok("cancel", "one")
        assert cli.state("one") == "dead"
        wait_until(lambda: not Path(f"/proc/{int(cli.log('one'))}").exists())


def test_cancel_reaches_its_job_while_all_workers_are_busy_and_leaves_the_other_jobs_alone(cli: Cli) -> None:
    cli.configure(poll_interval_sec=3600, kill_grace_sec=0.3)
    for id in ("one", "two", "three"):
        cli.put(id, HOLD)
    with cli.workers("--count", "3"):
        for id in ("one", "two", "three"):
            up(cli, id)
        cli.ok("cancel", "two")
        assert [cli.state(id) for id in ("one", "two", "three")] == ["processing", "dead", "processing"]
        others_work(cli, "a", 1)
        (cli.cwd / "go").touch()
        wait_until(lambda: cli.state("one") == cli.state("three") == "completed")


def test_cancel_reaches_a_job_while_the_other_workers_are_busy_with_short_jobs(cli: Cli) -> None:
    cli.put("one", HOLD, priority=9)
    for number in range(400):
        cli.put(f"short-{number}", "sleep 0.01")
    with cli.workers("--count", "2"):
        up(cli, "one")
        cli.ok("cancel", "one")
        assert cli.state("one") == "dead"
        assert cli.counts()["pending"] > 0


def test_a_cancelled_job_is_not_retried(cli: Cli) -> None:
    cli.put("one", f"echo run >>runs.all; {HOLD}", max_retries=5)
    with cli.workers():
        up(cli, "one")
        cli.ok("cancel", "one")
        others_work(cli, "a", 3)
    assert (cli.cwd / "runs.all").read_text() == "run\n"


def test_a_cancelled_job_that_is_retried_is_not_cancelled_again(cli: Cli) -> None:
    cli.put("one", f"echo begun; {HOLD}")
    with cli.workers(stdout=subprocess.PIPE) as workers:
        up(cli, "one")
        cli.ok("cancel", "one")
        cli.ok("retry", "one")
        told = [next_line(workers.stdout) for _ in range(5)]
        assert told[1:] == ["begun\n", "[Worker 1] Job one was cancelled\n", told[0], "begun\n"]
        # The output has been shown, and so the worker has looked at what it is told.
        (cli.cwd / "go").touch()
        wait_until(lambda: cli.state("one") in ("completed", "dead"))
    assert cli.state("one") == "completed"


def test_a_request_whose_asker_has_died_is_heeded_and_deleted(cli: Cli) -> None:
    cli.put("one", HOLD)
    with cli.workers():
        up(cli, "one")
        (cli.spool / "cancel" / "one").touch()
        wait_until(lambda: cli.state("one") == "dead")
        wait_until(lambda: not cli.files("cancel"), what="the request to be deleted")


def test_cancel_of_a_job_whose_worker_died_withdraws_it_once_its_command_has_ended(cli: Cli) -> None:
    cli.put("one", f"{PROVE} echo $PPID $$ >pids.one; {HOLD}{UNPROVE}")
    with cli.workers("--count", "2"):
        up(cli, "one")
        cli.ok("pause")  # so that the job, once it is found, does not begin again before it is withdrawn
        os.kill(pids_of(cli, "one")[0], signal.SIGKILL)
        cancel = cli.start("cancel", "one")
        wait_until(lambda: cli.files("cancel"), what="the request")
        (cli.cwd / "go").touch()
        assert cancel.wait(PATIENCE_S) == 0
        end(cancel)
    assert (cli.state("one"), cli.job("one")["exit"], runs(cli, "one")) == ("dead", "cancelled", [1])


# A person with mv.


@pytest.mark.parametrize("target", ["pending", "failed", "completed", "dead"])
def test_a_running_job_that_is_moved_by_hand_has_one_name_and_never_two_runs_at_once(cli: Cli, target: str) -> None:
    cli.put("one", f"{PROVE} {HOLD}{UNPROVE}")
    with cli.workers("--count", "2"):
        up(cli, "one")
        (file,) = cli.files("processing")
        file.rename(cli.spool / target / file.name)
        others_work(cli, "a")
        assert (runs(cli, "one"), [path.parent.name for path in cli.names("one")]) == ([1], [target])
        (cli.cwd / "go").touch()
        if target in ("pending", "failed"):
            wait_until(lambda: cli.state("one") == "completed", what="another run")
        else:
            others_work(cli, "b")
    assert len(cli.names("one")) == 1
    assert not (cli.cwd / "overlaps").exists()


def test_the_worker_of_a_job_that_was_moved_by_hand_says_that_its_result_is_not_recorded(cli: Cli) -> None:
    cli.put("one", HOLD)
    with cli.workers() as supervisor:
        up(cli, "one")
        (file,) = cli.files("processing")
        file.rename(cli.spool / "dead" / file.name)
        (cli.cwd / "go").touch()
        others_work(cli, "a", 1)
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.stderr
        assert b"one was moved by hand while it ran" in supervisor.stderr.read()


@pytest.mark.parametrize("target", ["dead", "completed", "failed"])
def test_a_waiting_job_that_is_moved_by_hand_is_listed_there_and_can_be_retried(cli: Cli, target: str) -> None:
    id = cli.enqueue("echo run >>runs")
    (file,) = cli.files("pending")
    file.rename(cli.spool / target / file.name)
    listed = cli.json("list", "--state", target)
    assert [(job["id"], job["state"]) for job in listed] == [(id, target)]
    cli.ok("retry", id)
    cli.drain()
    assert (cli.state(id), (cli.cwd / "runs").read_text()) == ("completed", "run\n")


def test_a_waiting_job_that_is_moved_into_processing_by_hand_is_found_and_run(cli: Cli) -> None:
    id = cli.enqueue("echo run >>runs")
    (file,) = cli.files("pending")
    file.rename(cli.spool / "processing" / file.name)
    cli.drain()
    assert (cli.state(id), (cli.cwd / "runs").read_text()) == ("completed", "run\n")


@pytest.mark.parametrize("end", ["exit 1", "exit 127", "kill -9 $$"])
def test_a_dead_job_that_is_moved_into_pending_by_hand_runs_again(cli: Cli, end: str) -> None:
    cli.put("one", f"[ -e cured ] || {{ {end}; }}; echo run >>runs", max_retries=0)
    cli.drain()
    (file,) = cli.files("dead")
    (cli.cwd / "cured").touch()
    file.rename(cli.spool / "pending" / file.name)
    cli.drain()
    assert (cli.state("one"), (cli.cwd / "runs").read_text()) == ("completed", "run\n")
    assert len(cli.names("one")) == 1


# A crowd.


def wait_for_more(cli: Cli, workers: int) -> None:
    """Wait until there are more workers than so many."""
    wait_until(lambda: len(cli.worker_pids()) > workers, what="more workers")


def test_a_crowd_of_jobs_survives_workers_that_are_killed_at_random(cli: Cli) -> None:
    """300 jobs, 4 workers, for 8 seconds a SIGKILL to one of them now and then; then the rest in peace."""
    for number in range(300):
        # Some live long enough to be met by a second run, were there one.
        nap = "1" if number % 10 == 0 else "0.0$(($$ % 9))"
        cli.put(f"job-{number}", f"{PROVE} sleep {nap}{UNPROVE}", max_retries=50)
    dice, killed = random.Random(), 0
    started: list[subprocess.Popen[bytes]] = []
    with contextlib.ExitStack() as supervisors:
        until = time.monotonic() + 8
        while (time.monotonic() < until or killed <= 5) and cli.counts()["completed"] < 280:
            pids = cli.worker_pids()
            if len(pids) >= 3:
                with contextlib.suppress(ProcessLookupError):  # it may just have been replaced
                    os.kill(dice.choice(pids), signal.SIGKILL)
                    killed += 1
                time.sleep(dice.uniform(0.02, 0.15))
            else:  # a supervisor lets a worker wait that dies again and again
                started.append(supervisors.enter_context(cli.workers("--count", "2", stderr=subprocess.DEVNULL)))
                wait_for_more(cli, len(pids))
        # Kindly, since a command that is ended would leave its directory; and each of them, since `worker stop` does
        # not know the one that is just starting.
        for supervisor in started:
            supervisor.terminate()
        for supervisor in started:
            supervisor.wait(PATIENCE_S)
    cli.drain(4)
    assert killed > 5
    assert not (cli.cwd / "overlaps").exists()
    assert {state: len(cli.files(state)) for state in STATES} == dict.fromkeys(STATES, 0) | {"completed": 300}
    for id, job in cli.jobs("completed").items():
        assert counted(runs(cli, id), job), (runs(cli, id), job)
