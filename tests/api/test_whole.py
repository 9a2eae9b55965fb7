"""The queue as a whole over HTTP: overview, counts, workers, pause, settings, the stream of events."""

from __future__ import annotations

import threading

import pytest
from api.caller import Answer, Caller
from hand import Hand
from helpers import wait_until

from queuectl import clock
from queuectl.api.door import Door
from queuectl.job import State
from queuectl.overview import Snapshot
from queuectl.queue import Queue


def test_counts_are_those_of_the_directories(api: Caller, queue: Queue, hand: Hand) -> None:
    queue.enqueue("true", id="ok")
    hand.run("ok")
    queue.enqueue("true")
    (queue.path / "rejected" / "x").touch()
    expected = {"pending": 1, "processing": 0, "completed": 1, "failed": 0, "dead": 0, "rejected": 1}
    assert api.get("/api/v1/counts") == expected
    assert api.get("/api/v1/overview")["counts"] == expected


@pytest.mark.parametrize(
    "there",
    [
        ["drop.json"],
        [".hidden.json"],
        ["notes.txt"],
        ["two\nlines.json"],
        ["a.json", ".b.json", "c.txt", "20260101T000000000Z.5.d.json", "20260101T000000001Z.5.e.txt"],
    ],
)
def test_the_first_look_and_the_next_count_what_the_command_line_counts(
    api: Caller, queue: Queue, there: list[str]
) -> None:
    for name in there:
        (queue.path / "pending" / name).write_text("{}")
    assert api.get("/api/v1/counts")["pending"] == queue.counts()[State.PENDING]
    for name in there:
        (queue.path / "pending" / f"{name}.json").write_text("{}")
    assert api.get("/api/v1/counts")["pending"] == queue.counts()[State.PENDING]
    for name in there:
        (queue.path / "pending" / name).unlink()
    assert api.get("/api/v1/counts")["pending"] == queue.counts()[State.PENDING]


def test_the_minutes_say_what_has_just_ended_and_how(api: Caller, queue: Queue, hand: Hand) -> None:
    for id, command in (("ok", "true"), ("bad", "false")):
        queue.enqueue(command, id=id, max_retries=0)
        hand.run(id)
    queue.cancel(queue.enqueue("true").id)  # has not failed
    minutes = api.get("/api/v1/overview")["minutes"]
    assert len(minutes["finished"]) == len(minutes["failed"]) == 60
    assert (sum(minutes["finished"][-2:]), sum(minutes["failed"][-2:])) == (1, 1)


def test_the_overview_says_what_is_due(api: Caller, queue: Queue, hand: Hand) -> None:
    queue.enqueue("true", run_at="2030-01-01T00:00:00Z")
    first = queue.enqueue("false", backoff_base=50)
    found = api.get("/api/v1/overview")
    assert (found["oldest_pending_at"], found["next_run_at"]) == (first.due_at, "2030-01-01T00:00:00.000Z")
    retried = hand.run(first.id)
    assert api.get("/api/v1/overview")["next_retry_at"] == retried.due_at


def test_the_queue_is_paused_and_goes_on(api: Caller, queue: Queue) -> None:
    assert api.ask("PUT", "/api/v1/pause", {"paused": True}).json() == {"paused": True}
    assert queue.status().paused
    assert api.get("/api/v1/pause") == {"paused": True}
    api.ask("PUT", "/api/v1/pause", {"paused": False})
    assert not queue.status().paused


def test_settings_are_read_set_and_taken_back(api: Caller, queue: Queue) -> None:
    assert api.get("/api/v1/config")["max_retries"] == {"value": 3, "configured": False}
    assert api.ask("PUT", "/api/v1/config/max-retries", {"value": 5}).json()["max_retries"]["value"] == 5
    assert queue.config().max_retries == 5
    api.ask("DELETE", "/api/v1/config/max_retries")
    assert queue.config().max_retries == 3


@pytest.mark.parametrize(("key", "value"), [("colour", 1), ("max_retries", "many"), ("max_retries", True)])
def test_a_bad_setting_is_refused(api: Caller, queue: Queue, key: str, value: object) -> None:
    assert api.status("PUT", f"/api/v1/config/{key}", {"value": value}) == 422
    assert queue.configured() == {}


def test_a_spool_that_is_gone_is_not_found(api: Caller, queue: Queue) -> None:
    queue.path.rename(queue.path.with_name("elsewhere"))
    assert api.status("GET", "/api/v1/overview") == 404


def test_a_spool_that_comes_back_is_seen_again(api: Caller, queue: Queue) -> None:
    api.get("/api/v1/counts")
    queue.path.rename(queue.path.with_name("elsewhere"))
    Queue(queue.path, create=True).enqueue("true")
    assert api.get("/api/v1/counts")["pending"] == 1


def test_a_directory_that_is_missing_is_no_bug_of_the_server(api: Caller, queue: Queue) -> None:
    (queue.path / "rejected").rmdir()
    assert api.status("GET", "/api/v1/overview") == 503


def test_a_list_says_which_overview_it_belongs_to(api: Caller, queue: Queue) -> None:
    versions = []
    for _ in range(3):
        queue.enqueue("true")
        versions.append(api.get("/api/v1/jobs")["version"])
        assert api.get("/api/v1/overview")["version"] == versions[-1]
    assert versions == sorted(set(versions))


def test_a_version_is_another_one_after_a_restart(api: Caller, queue: Queue, hand: Hand) -> None:
    queue.enqueue("true", id="one")
    before = api.get("/api/v1/overview")["version"]
    hand.run("one")  # as many directories hold jobs as before
    now = clock.now()
    wait_until(lambda: clock.now() > now)
    restarted = Caller(Door(queue.path))
    assert restarted.get("/api/v1/overview")["version"] != before
    restarted.door.close()


# The stream.


def test_the_stream_begins_with_the_overview(api: Caller, queue: Queue) -> None:
    queue.enqueue("true")
    answer = api.ask("GET", "/api/v1/events", until=lambda answer: bool(answer.events()))
    assert answer.headers["content-type"].startswith("text/event-stream")
    (name, value), *_ = answer.events()
    assert (name, value["counts"]["pending"]) == ("overview", 1)


def test_the_stream_tells_of_a_change(api: Caller, queue: Queue) -> None:
    def go_on(answer: Answer) -> bool:
        events = answer.events()
        if len(events) == 1:
            (queue.path / "pending" / "x.json").write_text('{"command": "true"}')
        return len(events) > 1

    events = api.ask("GET", "/api/v1/events", until=go_on).events()
    assert [value["counts"]["pending"] for _, value in events] == [0, 1]


def test_a_look_that_the_machine_has_held_up_is_followed_by_no_long_rest(
    api: Caller, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_up, monotonic, snapshot = [0.0], clock.monotonic, api.door.view.snapshot

    def stall() -> Snapshot:
        held_up[0] += 3600
        return snapshot()

    monkeypatch.setattr(clock, "monotonic", lambda: monotonic() + held_up[0])
    monkeypatch.setattr(api.door.view, "snapshot", stall)

    def go_on(answer: Answer) -> bool:
        if len(answer.events()) == 1:
            (queue.path / "pending" / "x.json").write_text('{"command": "true"}')
        return bool(answer.events()) and answer.events()[-1][1]["counts"]["pending"] == 1

    assert len(api.ask("GET", "/api/v1/events", until=go_on).events()) > 1


def test_the_stream_is_silent_while_nothing_changes(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queuectl.api.events.LOOK_S", 0.01)
    looks = []
    latest = api.door.view.snapshot
    monkeypatch.setattr(api.door.view, "snapshot", lambda: looks.append(1) or latest())
    answer = api.ask("GET", "/api/v1/events", until=lambda answer: bool(answer.events()))
    api.door.closing = lambda: len(looks) > 5
    answer = api.ask("GET", "/api/v1/events")
    assert len(looks) > 5
    assert len(answer.events()) == 1


def test_the_stream_ends_when_the_server_is_about_to(api: Caller) -> None:
    closing = threading.Event()
    api.door.closing = closing.is_set

    def close(answer: Answer) -> bool:
        if answer.events():
            closing.set()
        return False

    assert api.ask("GET", "/api/v1/events", until=close).status == 200


def test_the_stream_gives_a_sign_of_life_while_nothing_changes(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queuectl.api.events.LOOK_S", 0.01)
    monkeypatch.setattr("queuectl.api.events.HEARTBEAT_S", 0.0)
    events = api.ask("GET", "/api/v1/events", until=lambda answer: len(answer.events()) > 2).events()
    assert len({value["version"] for _, value in events}) == 1


def test_the_stream_ends_when_the_spool_is_gone(api: Caller, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queuectl.api.events.LOOK_S", 0.01)

    def take_away(answer: Answer) -> bool:
        if answer.events() and queue.path.exists():
            queue.path.rename(queue.path.with_name("elsewhere"))
        return False

    assert api.ask("GET", "/api/v1/events", until=take_away).events()


# Directories too large to be read at every look.


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every directory counts as large, and has a long rest between two readings."""
    monkeypatch.setattr("queuectl.roster.LARGE_S", -1.0)
    monkeypatch.setattr("queuectl.roster.RESTS", 1e9)


def test_what_arrives_in_a_large_directory_is_told_by_the_watch(large: None, api: Caller, queue: Queue) -> None:
    queue.enqueue("true", id="one")
    assert api.get("/api/v1/counts")["pending"] == 1
    api.get("/api/v1/counts")
    other = Queue(queue.path)
    wait_until(lambda: api.get("/api/v1/counts")["pending"] == 1)
    other.enqueue("true", id="two")
    wait_until(lambda: api.get("/api/v1/counts")["pending"] == 2)
    assert [job["id"] for job in api.get("/api/v1/jobs?sort=id")["jobs"]] == ["one", "two"]


def test_what_is_removed_from_a_large_directory_is_told_by_the_watch(large: None, api: Caller, queue: Queue) -> None:
    queue.enqueue("true", id="one")
    api.get("/api/v1/counts")
    api.get("/api/v1/counts")
    queue.remove("one")
    wait_until(lambda: api.get("/api/v1/counts")["pending"] == 0)


@pytest.fixture
def deaf(large: None, api: Caller, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A view of a large directory with the job `one` that has read it, and is told of no change."""
    monkeypatch.setattr(api.door.view, "_deaf", True)
    queue.enqueue("true", id="one")
    for _ in range(3):
        api.get("/api/v1/counts")


def test_a_change_of_our_own_is_seen_in_a_large_directory_at_once(deaf: None, api: Caller) -> None:
    api.post("/api/v1/jobs/one/cancel")
    assert [api.get("/api/v1/counts")[state] for state in ("pending", "dead")] == [0, 1]


def test_what_was_posted_is_seen_in_a_large_directory_at_once(deaf: None, api: Caller) -> None:
    api.post("/api/v1/jobs", {"command": "true"})
    assert api.get("/api/v1/counts")["pending"] == 2
