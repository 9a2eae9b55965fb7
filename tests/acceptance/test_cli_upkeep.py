"""pause and resume, purge, doctor: looking after a queue and its spool."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest
from helpers import Cli, new_cli, wait_until
from screen import shown

# pause, resume


def test_a_paused_queue_starts_no_job_and_lets_running_ones_go_on(cli: Cli) -> None:
    gate = cli.cwd / "gate"
    cli.enqueue(f"until [ -e {gate} ]; do sleep 0.02; done", "--id", "running")
    with cli.workers("--count", "2"):
        wait_until(lambda: cli.state("running") == "processing")
        assert cli.ok("pause") == "Paused: running jobs go on, no new ones start\n"
        cli.enqueue("true", "--id", "waiting")
        gate.touch()
        wait_until(lambda: cli.state("running") == "completed")
        assert (cli.state("waiting"), cli.json("status")["paused"]) == ("pending", True)
        assert cli.ok("resume") == "Resumed\n"
        wait_until(lambda: cli.state("waiting") == "completed")


def test_workers_that_start_on_a_paused_queue_say_so(cli: Cli) -> None:
    cli.ok("pause")
    cli.ok("pause")
    done = cli.run("worker", "start", "--for", "100ms")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "The queue is paused; queuectl resume lets it go on")


def test_resume_of_a_queue_that_is_not_paused_is_no_error(cli: Cli) -> None:
    assert cli.run("resume").returncode == 0


# purge


@pytest.fixture
def ended(cli: Cli) -> Cli:
    """A spool with jobs in completed, dead and pending, and a rejected file."""
    cli.enqueue_all(
        {"command": "echo kept", "id": "good-1"},
        {"command": "echo kept", "id": "good-2"},
        {"command": "exit 1", "id": "broken", "max_retries": 0},
        {"command": "true", "id": "later", "run_at": "2099-01-01T00:00:00Z"},
    )
    cli.drop("no-job.json", {"no": "command"})
    cli.drain()
    wait_until(lambda: len(cli.files("rejected")) == 2)
    return cli


def left(cli: Cli) -> tuple[list[str], int]:
    """Return the ids that have a file, and how many files have been rejected."""
    ids = [id for state in ("completed", "dead", "pending") for id in sorted(cli.jobs(state))]
    return ids, len([path for path in cli.files("rejected") if path.suffix != ".why"])


@pytest.mark.parametrize(
    ("args", "said", "ids", "rejected"),
    [
        (["--completed"], "2 completed jobs", ["broken", "later"], 1),
        (["--dead"], "1 dead job", ["good-1", "good-2", "later"], 1),
        (["--rejected"], "1 rejected file", ["good-1", "good-2", "broken", "later"], 0),
        (["--completed", "--dead", "--rejected"], "2 completed jobs, 1 dead job, 1 rejected file", ["later"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_purge_deletes_what_it_is_asked_for_and_says_how_many(
    ended: Cli, args: list[str], said: str, ids: list[str], rejected: int
) -> None:
    everything = left(ended)
    assert ended.ok("purge", *args, "--dry-run") == f"Would delete {said}\n"
    assert left(ended) == everything
    assert ended.ok("purge", *args) == f"Deleted {said}\n"
    assert left(ended) == (ids, rejected)


def test_purge_deletes_the_logs_of_the_jobs_that_it_deletes_and_no_others(ended: Cli) -> None:
    ended.ok("purge", "--completed")
    assert [path.name for path in ended.files("logs")] == ["broken.log"]


def test_purge_leaves_what_ended_later_than_the_age_given(ended: Cli) -> None:
    assert ended.ok("purge", "--completed", "--dead", "--older-than", "1h") == "Deleted 0 completed jobs, 0 dead jobs\n"
    (old,) = (path for path in ended.files("completed") if path.name.endswith(".good-1.json"))
    os.rename(old, old.with_name("20200101T000000000Z.0.good-1.json"))
    assert ended.ok("purge", "--completed", "--older-than", "1h") == "Deleted 1 completed job\n"
    assert left(ended)[0] == ["good-2", "broken", "later"]


def test_purge_as_json_is_one_object_of_counts(ended: Cli) -> None:
    counts = {"completed": 2, "dead": 0, "rejected": 0}
    assert ended.json("purge", "--completed", "--dry-run") == {**counts, "dry_run": True}
    assert ended.json("purge", "--completed") == {**counts, "dry_run": False}


# doctor


def test_doctor_has_nothing_to_report_of_a_clean_spool(ended: Cli) -> None:
    done = ended.run("doctor")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"{ended.spool}: nothing to report\n")
    assert ended.json("doctor") == []


def break_job(cli: Cli) -> str:
    path = cli.spool / "dead" / "20200101T000000000Z.1.torn.json"
    path.write_bytes(b'{"command": "tr')
    return str(path)


def lose_log(cli: Cli) -> str:
    (cli.spool / "logs" / "nobody.log").touch()
    return str(cli.spool / "logs" / "nobody.log")


def break_marker(cli: Cli) -> str:
    (cli.spool / "queuectl.json").write_text('{"format": 9, "uuid": "x"}')
    return str(cli.spool / "queuectl.json")


def lose_marker(cli: Cli) -> str:
    (cli.spool / "queuectl.json").unlink()
    return str(cli.spool / "queuectl.json")


def odd_name(cli: Cli) -> str:
    path = cli.spool / "completed" / "notes.txt"
    path.write_text("mine")
    return str(path)


def lose_directory(cli: Cli) -> str:
    (cli.spool / "tmp").rmdir()
    return str(cli.spool / "tmp")


def open_directory(cli: Cli) -> str:
    (cli.spool / "pending").chmod(0o770)
    return str(cli.spool / "pending")


def orphan(cli: Cli) -> str:
    path = cli.spool / "processing" / "20200101T000000000Z.1.lost.json"
    path.write_text('{"command": "true", "id": "lost"}')
    return str(path)


def twice(cli: Cli) -> str:
    cli.enqueue("true", "--id", "same", "--run-at", "2099-01-01T00:00:00Z")
    path = cli.spool / "dead" / "20200101T000000000Z.1.same.json"
    path.write_text(
        '{"command": "true", "id": "same", "state": "dead", "exit": "1", "updated_at": "2020-01-01T00:00:00Z"}'
    )
    return str(path)


def stale_request(cli: Cli) -> str:
    (cli.spool / "cancel" / "nobody").touch()
    return str(cli.spool / "cancel" / "nobody")


DAMAGE: list[tuple[Callable[[Cli], str], str, bool]] = [
    (break_job, "not readable as a job", True),
    (lose_directory, "a directory of the spool is missing", True),
    (stale_request, "asks to cancel a job that is not running", True),
    (odd_name, "not a name that queuectl gives, so nobody looks at it", True),
    (open_directory, "writable by others, who could run commands as ", False),
    (orphan, "its worker died; the attempt is lost", True),
    (twice, "the same id as ", True),
    (lose_log, "the log of a job that is not here", True),
    (break_marker, "format 9 is newer than this queuectl reads", False),
    (lose_marker, "missing, so this is no spool to any command", False),
]


@pytest.mark.parametrize(("damage", "meaning", "repairable"), DAMAGE, ids=[case[0].__name__ for case in DAMAGE])
def test_doctor_explains_each_finding_and_repairs_what_is_safe(
    cli: Cli, damage: Callable[[Cli], str], meaning: str, repairable: bool
) -> None:
    path = damage(cli)
    done = cli.run("doctor")
    ((found, state, said, remedy),) = (line.split("\t") for line in done.stdout.splitlines())
    assert (done.returncode, found, state) == (1, path, "open")
    assert said.startswith(meaning)
    assert remedy
    repaired = cli.run("doctor", "--repair")
    assert (repaired.returncode, repaired.stdout.split("\t")[1]) == ((0, "repaired") if repairable else (1, "open"))
    assert cli.run("doctor").returncode == (0 if repairable else 1)


def test_doctor_repair_keeps_the_bytes_of_what_it_cannot_read(cli: Cli) -> None:
    break_job(cli)
    cli.ok("doctor", "--repair")
    (kept,) = (path for path in cli.files("rejected") if path.suffix != ".why")
    assert (kept.read_bytes(), cli.files("dead")) == (b'{"command": "tr', [])


def test_doctor_as_json_is_one_array_of_findings(cli: Cli) -> None:
    path = break_job(cli)
    done = cli.run("doctor", "--json")
    (finding,) = json.loads(done.stdout)
    assert (done.returncode, finding["path"], finding["repaired"]) == (1, path, False)
    assert finding["meaning"].startswith("not readable as a job: ")
    assert list(finding) == ["kind", "path", "meaning", "remedy", "repaired"]
    assert finding["remedy"].startswith("queuectl doctor --repair")


def test_doctor_on_a_terminal_gives_each_finding_its_lines(cli: Cli) -> None:
    path = odd_name(cli)
    lines = shown(cli, "doctor").splitlines()
    assert lines == [
        path,
        "  not a name that queuectl gives, so nobody looks at it",
        "  move it away; in pending/, a drop needs a name that ends in .json",
    ]


def test_doctor_beside_working_workers_reports_nothing(cli: Cli) -> None:
    cli.enqueue_all(*[{"command": "true"}] * 200)
    with cli.workers("--count", "2"):
        done = cli.run("doctor")
    assert (done.returncode, done.stdout) == (0, "")


def test_doctor_finds_what_a_dead_worker_left_and_the_next_worker_settles_it(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    cli = new_cli(tmp_path_factory.mktemp("orphan"))
    orphan(cli)
    assert cli.run("doctor").returncode == 1
    cli.drain(env={"QUEUECTL_BACKOFF_BASE": "0"})
    assert (cli.state("lost"), cli.run("doctor").returncode) == ("completed", 0)
