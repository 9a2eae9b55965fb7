"""`/metrics`, as JSON and as Prometheus scrapes it."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime

import pytest
from api.caller import Caller
from hand import Hand
from helpers import wait_until

from queuectl import catalog
from queuectl.queue import Queue

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def scrape(api: Caller) -> dict[str, float]:
    """Return the samples by name and labels; fail for a line that is none."""
    answer = api.ask("GET", "/metrics", headers={"accept": PROMETHEUS})
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = {}
    for line in answer.text.splitlines():
        if not line.startswith("#"):
            sample = re.fullmatch(r"([a-z_]+(?:\{(?:[a-z]+=\"[^\"]*\",?)*\})?) ([0-9.e+-]+)", line)
            assert sample, line
            found[sample[1]] = float(sample[2])
    return found


def run(queue: Queue, hand: Hand, *commands: str) -> None:
    for number, command in enumerate(commands):
        made = queue.enqueue(command, id=f"job-{number}", max_retries=0)
        hand.run(made.id)


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", BROWSER, "application/json, text/plain"])
def test_whoever_asks_for_nothing_in_particular_gets_averages_by_state(
    api: Caller, queue: Queue, hand: Hand, accept: str | None
) -> None:
    run(queue, hand, "sleep 0.05", "sleep 0.05")
    found = api.get("/metrics", headers={"accept": accept} if accept else {})
    assert found["completed"]["jobs"] == 2
    assert 0.05 <= found["completed"]["avg_time_sec"] < 30
    assert found["failed"] == {"jobs": 0, "avg_time_sec": None}
    assert list(found) == ["pending", "failed", "processing", "completed", "dead"]


def test_the_average_is_that_of_the_last_runs(api: Caller, queue: Queue, hand: Hand) -> None:
    run(queue, hand, "true", "sleep 0.2; exit 1")
    found = api.get("/metrics")
    assert found["completed"]["avg_time_sec"] < 0.2 <= found["dead"]["avg_time_sec"]


def test_the_figures_are_those_of_the_files(api: Caller, queue: Queue) -> None:
    for id, seconds in (("one", 1), ("three", 3)):
        run = {"attempt": 1, "worker": "host.1", "started_at": "2026-01-01T00:00:00.000Z"}
        run["finished_at"] = f"2026-01-01T00:00:0{seconds}.000Z"
        job = {"command": "true", "state": "completed", "attempts": 1, "rev": 1, "exit": "0", "history": [run]}
        (queue.path / "completed" / f"20260101T00000{seconds}000Z.0.{id}.json").write_text(json.dumps(job))
    assert api.get("/metrics")["completed"] == {"jobs": 2, "avg_time_sec": 2.0}
    found, name = scrape(api), "queuectl_job_duration_seconds"
    assert found[f'{name}_sum{{state="completed"}}'] == 4
    assert [found[f'{name}_bucket{{state="completed",le="{le}"}}'] for le in ("0.5", "1.0", "5.0")] == [0, 1, 2]


def test_the_age_of_the_oldest_is_told_in_seconds(api: Caller, queue: Queue) -> None:
    queue.enqueue("true", id="one")
    (path,) = (queue.path / "pending").iterdir()
    path.rename(path.with_name("20260101T000000000Z.5.one.json"))
    began = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    before = time.time() - began
    found = scrape(api)["queuectl_oldest_pending_age_seconds"]
    assert before - 1 <= found <= time.time() - began + 1


def test_a_job_that_never_ran_has_no_time(api: Caller, queue: Queue) -> None:
    queue.cancel(queue.enqueue("true").id)
    assert api.get("/metrics")["dead"] == {"jobs": 1, "avg_time_sec": None}


def test_an_average_forgets_what_is_purged(api: Caller, queue: Queue, hand: Hand) -> None:
    run(queue, hand, "true")
    assert api.get("/metrics")["completed"]["avg_time_sec"] is not None
    queue.purge(completed=True)
    api.door.view.hurry()
    assert api.get("/metrics")["completed"] == {"jobs": 0, "avg_time_sec": None}


@pytest.mark.parametrize("accept", [PROMETHEUS, "text/plain", "application/json;q=0.1, text/plain;q=0.9"])
def test_a_scraper_gets_text(api: Caller, accept: str) -> None:
    answer = api.ask("GET", "/metrics", headers={"accept": accept})
    assert answer.text.startswith("# HELP queuectl_jobs ")
    assert answer.headers["vary"] == "Accept"


def test_a_scrape_counts_what_there_is(api: Caller, queue: Queue, hand: Hand) -> None:
    run(queue, hand, "true", "true", "exit 7", "kill -9 $$")
    queue.enqueue("true")
    found = scrape(api)
    assert found['queuectl_jobs{state="completed"}'] == found["queuectl_jobs_finished_total"] == 2
    assert found['queuectl_jobs_failed_total{exit="7"}'] == found['queuectl_jobs_failed_total{exit="sig9"}'] == 1
    assert found['queuectl_jobs{state="pending"}'] == 1
    assert found["queuectl_workers"] == found["queuectl_rejected_files"] == found["queuectl_paused"] == 0
    assert found["queuectl_oldest_pending_age_seconds"] >= 0
    assert found["queuectl_scrape_duration_seconds"] > 0


def test_totals_do_not_fall_when_jobs_are_purged(api: Caller, queue: Queue, hand: Hand) -> None:
    run(queue, hand, "true", "exit 7")
    before = scrape(api)
    queue.purge(completed=True, dead=True)
    api.door.view.hurry()
    after = scrape(api)
    assert after['queuectl_jobs{state="completed"}'] == 0
    for name in ("queuectl_jobs_finished_total", 'queuectl_jobs_failed_total{exit="7"}'):
        assert after[name] == before[name] == 1


def test_the_histogram_adds_up(api: Caller, queue: Queue, hand: Hand) -> None:
    run(queue, hand, "true", "sleep 0.15")
    found, name = scrape(api), "queuectl_job_duration_seconds"
    buckets = [value for key, value in found.items() if key.startswith(f'{name}_bucket{{state="completed"')]
    assert buckets == sorted(buckets)
    assert buckets[-1] == found[f'{name}_count{{state="completed"}}'] == 2
    assert found[f'{name}_bucket{{state="completed",le="0.1"}}'] <= 1
    assert 0.15 <= found[f'{name}_sum{{state="completed"}}'] < 30


def test_a_scrape_reads_only_so_many_files_and_the_next_one_goes_on(
    api: Caller, queue: Queue, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queuectl.api.metrics.MOST_READ", 2)
    run(queue, hand, "true", "true", "true")
    assert scrape(api)["queuectl_durations_unread"] == 1
    assert scrape(api)["queuectl_durations_unread"] == 0


def test_a_file_is_read_once(api: Caller, queue: Queue, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    run(queue, hand, "true", "true")
    read, load = [], catalog.load
    monkeypatch.setattr(catalog, "load", lambda tree, state, name: read.append(name) or load(tree, state, name))
    for _ in range(3):
        api.get("/metrics")
    assert len(read) == len(set(read)) == 2


def test_retries_that_are_due_are_counted(api: Caller, queue: Queue, hand: Hand) -> None:
    queue.enqueue("false", backoff_base=0)
    queue.enqueue("exit 2", backoff_base=100)
    hand.run()
    hand.run()
    wait_until(lambda: scrape(api)["queuectl_retries_due"] == 1)
