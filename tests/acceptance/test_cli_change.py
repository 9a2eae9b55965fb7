"""The verbs that change jobs one by one: retry, cancel, rm, dlq retry."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers import Cli, new_cli, wait_until

KINDS = {
    "good": {"command": "echo ran"},
    "broken": {"command": "echo ran; exit 3", "max_retries": 0},
    "flaky": {"command": "exit 4", "backoff_base": 3000},
    "later": {"command": "echo ran", "run_at": "2099-01-01T00:00:00Z"},
    "busy": {"command": "exec sleep 1000"},
}
STATE = {"good": "completed", "broken": "dead", "flaky": "failed", "later": "pending", "busy": "processing"}


class Stock:
    """Jobs in every state beside working workers; each test takes those that it changes."""

    def __init__(self, cli: Cli) -> None:
        self.cli = cli
        self._taken = 0

    def take(self, *kinds: str) -> list[str]:
        """Enqueue a job of each kind, and return the ids when all are in the states that they are for."""
        self._taken += 1
        ids = [f"{kind}-{self._taken}.{number}" for number, kind in enumerate(kinds)]
        self.cli.enqueue_all(*({"id": id, **KINDS[kind]} for id, kind in zip(ids, kinds, strict=True)))
        for id, kind in zip(ids, kinds, strict=True):
            wait_until(lambda id=id, kind=kind: self.cli.state(id) == STATE[kind], what=id)
        return ids


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stock]:
    cli = new_cli(tmp_path_factory.mktemp("stock"))
    with cli.workers("--count", "6"):
        yield Stock(cli)


def runs(cli: Cli, id: str) -> int:
    """Return how often a job has run, by what it printed."""
    path = cli.spool / "logs" / f"{id}.log"
    return path.read_bytes().count(b"ran\n") if path.exists() else 0


# retry


@pytest.mark.parametrize("kind", ["good", "broken"])
def test_retry_runs_an_ended_job_again_with_attempts_from_zero(stock: Stock, kind: str) -> None:
    (id,) = stock.take(kind)
    assert stock.cli.ok("retry", id) == f"Retrying {id}\n"
    wait_until(lambda: runs(stock.cli, id) == 2 and stock.cli.state(id) == STATE[kind])
    job = stock.cli.job(id)
    assert (job["attempts"], [entry["attempt"] for entry in job["history"]]) == (1, [1, 1])


def test_retry_does_not_wait_for_the_time_of_a_job_that_waits_for_its_retry(stock: Stock) -> None:
    (id,) = stock.take("flaky")
    stock.cli.ok("retry", id)
    wait_until(lambda: len(stock.cli.job(id)["history"]) == 2)


def test_retry_shows_the_job_as_json(stock: Stock) -> None:
    (id,) = stock.take("broken")
    (job,) = stock.cli.json("retry", id)
    assert (job["id"], job["state"], job["attempts"], job["exit_code"], job["last_error"]) == (
        id,
        "pending",
        0,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("kind", "hint"), [("later", "it waits already"), ("busy", "wait for it to end, or cancel it")]
)
def test_retry_of_a_job_that_has_not_ended_is_a_conflict(stock: Stock, kind: str, hint: str) -> None:
    (id,) = stock.take(kind)
    done = stock.cli.run("retry", id)
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr == f"error: {id}: is {STATE[kind]}, so it cannot be retried\nhint: {hint}\n"
    assert stock.cli.state(id) == STATE[kind]


# cancel


@pytest.mark.parametrize("kind", ["later", "flaky", "busy"])
def test_cancel_sends_a_job_that_has_not_ended_to_the_dead(stock: Stock, kind: str) -> None:
    (id,) = stock.take(kind)
    assert stock.cli.ok("cancel", id) == f"Cancelled {id}\n"
    job = stock.cli.job(id)
    assert (job["state"], job["last_error"], stock.cli.state(id)) == ("dead", "cancelled", "dead")
    assert stock.cli.names(id)[0].name.split(".")[1] == "cancelled"


def test_a_cancelled_job_does_not_run_again_until_it_is_retried(cli: Cli) -> None:
    id = cli.enqueue("echo ran")
    cli.ok("cancel", id)
    cli.drain()
    assert runs(cli, id) == 0
    cli.ok("retry", id)
    cli.drain()
    assert (runs(cli, id), cli.state(id)) == (1, "completed")


@pytest.mark.parametrize("kind", ["good", "broken"])
def test_cancel_of_an_ended_job_is_a_conflict(stock: Stock, kind: str) -> None:
    (id,) = stock.take(kind)
    done = stock.cli.run("cancel", id)
    assert (done.returncode, done.stderr) == (5, f"error: {id}: is {STATE[kind]}, so it cannot be cancelled\n")


def test_cancel_takes_several_ids_and_shows_them_as_json(stock: Stock) -> None:
    ids = stock.take("later", "busy")
    jobs = stock.cli.json("cancel", *ids)
    assert [(job["id"], job["state"]) for job in jobs] == [(id, "dead") for id in ids]


# rm


@pytest.mark.parametrize("kind", ["good", "broken", "flaky", "later"])
def test_rm_deletes_a_job_that_is_not_running_and_its_log(stock: Stock, kind: str) -> None:
    (id,) = stock.take(kind)
    assert stock.cli.ok("rm", id) == f"Removed {id}\n"
    assert stock.cli.names(id) == []
    assert not (stock.cli.spool / "logs" / f"{id}.log").exists()


def test_rm_of_a_running_job_is_a_conflict(stock: Stock) -> None:
    (id,) = stock.take("busy")
    done = stock.cli.run("rm", id)
    assert done.returncode == 5
    assert done.stderr == (
        f"error: {id}: is processing, so it cannot be removed\nhint: queuectl cancel {id}, then remove it\n"
    )
    assert stock.cli.state(id) == "processing"


def test_the_id_of_a_removed_job_is_free_again(cli: Cli) -> None:
    cli.enqueue("true", "--id", "mine")
    cli.ok("rm", "mine")
    assert cli.enqueue("true", "--id", "mine") == "mine"


# dlq retry


def test_dlq_retry_brings_dead_jobs_back_with_attempts_from_zero(cli: Cli) -> None:
    cli.enqueue_all(*({"command": "exit 1", "id": id, "max_retries": 0} for id in ("a", "b", "c")))
    cli.drain()
    assert cli.ok("dlq", "retry", "b", "c") == "Retrying b\nRetrying c\n"
    assert {id: job["attempts"] for id, job in cli.jobs("pending").items()} == {"b": 0, "c": 0}
    assert list(cli.jobs("dead")) == ["a"]


def test_dlq_retry_all_brings_every_dead_job_back_and_no_other(cli: Cli) -> None:
    cli.enqueue_all(
        {"command": "true", "id": "good"}, *({"command": "exit 1", "id": id, "max_retries": 0} for id in ("a", "b"))
    )
    cli.drain()
    assert cli.ok("dlq", "retry", "--all") == "Retrying a\nRetrying b\n"
    assert cli.counts() == {"pending": 2, "processing": 0, "completed": 1, "failed": 0, "dead": 0}
    assert cli.run("dlq", "retry", "--all").stderr == "The dead letter queue is empty\n"


def test_dlq_retry_all_as_json_is_one_array(cli: Cli) -> None:
    cli.enqueue_all(*({"command": "exit 1", "id": id, "max_retries": 0} for id in ("a", "b")))
    cli.drain()
    assert [(job["id"], job["state"]) for job in cli.json("dlq", "retry", "--all")] == [
        ("a", "pending"),
        ("b", "pending"),
    ]
    assert cli.json("dlq", "retry", "--all") == []


def test_dlq_retry_of_a_job_that_is_not_dead_is_a_conflict(stock: Stock) -> None:
    (id,) = stock.take("good")
    done = stock.cli.run("dlq", "retry", id)
    assert (done.returncode, done.stderr) == (5, f"error: {id}: is completed, so it cannot be retried\n")
    assert runs(stock.cli, id) == 1
