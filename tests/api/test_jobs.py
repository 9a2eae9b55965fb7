"""Jobs over HTTP."""

from __future__ import annotations

import errno
import json
import os
import threading
from typing import Any

import pytest
from api.caller import Answer, Caller
from hand import Hand
from helpers import wait_until

from queuectl import clock, registry
from queuectl.job import State
from queuectl.queue import Queue


def ids(page: Any) -> list[str]:
    return [job["id"] for job in page["jobs"]]


def end(queue: Queue, hand: Hand, *ends: str) -> None:
    """Let jobs end, in this order: `ok-…` completed, `bad-…` dead."""
    for id in ends:
        queue.enqueue("true" if id.startswith("ok") else f"echo {id}; exit 3", id=id, max_retries=0)
        hand.run(id)


# Putting in.


def test_a_job_that_is_posted_is_in_the_queue(api: Caller, queue: Queue) -> None:
    answer = api.ask("POST", "/api/v1/jobs", {"command": "echo hi", "priority": "high", "meta": {"a": 1}})
    assert answer.status == 201
    made = queue.get(answer.json()["id"])
    assert (made.command, made.priority, made.meta, made.state) == ("echo hi", 9, {"a": 1}, State.PENDING)


def test_a_job_may_say_what_it_needs_where_it_runs(api: Caller, queue: Queue) -> None:
    wanted = {"cpus": 2, "share": 0.5, "mem": "4G"}
    made = api.post("/api/v1/jobs", {"command": "true", "resources": wanted})
    assert queue.get(made["id"]).resources == wanted
    assert api.get(f"/api/v1/jobs/{made['id']}")["resources"] == wanted


def test_each_run_says_on_which_host_it_was(api: Caller, queue: Queue, hand: Hand) -> None:
    end(queue, hand, "bad-1")
    assert [run["host"] for run in api.get("/api/v1/jobs/bad-1")["history"]] == ["host"]


def test_the_answer_says_where_the_new_job_is(api: Caller) -> None:
    answer = api.ask("POST", "/api/v1/jobs", {"command": "true", "id": "one"})
    assert answer.headers["location"] == "/api/v1/jobs/one"


def test_what_was_posted_is_in_the_next_list(api: Caller) -> None:
    api.get("/api/v1/jobs")
    made = api.post("/api/v1/jobs", {"command": "true"})
    assert ids(api.get("/api/v1/jobs")) == [made["id"]]


def test_many_jobs_are_put_in_at_once(api: Caller, queue: Queue) -> None:
    made = api.post("/api/v1/jobs", [{"command": "true"}, {"command": ["echo", "a b"]}])
    assert [queue.get(job["id"]).command for job in made] == ["true", ["echo", "a b"]]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("jobs", [{"command": "true"}] * 10_001),
        ("retry", {"ids": ["one"] * 1001}),
        ("cancel", {"ids": ["one"] * 1001}),
        ("delete", {"ids": []}),
    ],
)
def test_only_so_many_are_taken_at_once(api: Caller, queue: Queue, path: str, body: object) -> None:
    queue.enqueue("true", id="one")
    assert api.status("POST", f"/api/v1/{path}", body) == 422
    assert queue.counts()[State.PENDING] == 1


def test_of_many_jobs_none_is_put_in_when_one_is_bad(api: Caller, queue: Queue) -> None:
    assert api.status("POST", "/api/v1/jobs", [{"command": "true"}, {"command": " "}]) == 422
    assert queue.counts()[State.PENDING] == 0


def test_an_id_that_is_taken_is_a_conflict(api: Caller) -> None:
    api.post("/api/v1/jobs", {"command": "true", "id": "one"})
    assert api.status("POST", "/api/v1/jobs", {"command": "true", "id": "one"}) == 409


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"command": ""},
        {"command": "true", "comand": "x"},
        {"command": "true", "priority": 11},
        {"command": "true", "id": "../x"},
        {"command": "true", "run_at": "soon"},
        {"command": "a\0b"},
        {"command": "true", "state": "completed"},
        {"command": "true", "resources": {"cpus": -1}},
        {"command": "true", "resources": {"cpus": 1e19}},
        {"command": "true", "resources": {"9x": 1}},
        {"command": "true", "resources": {"mem": "4 G"}},
        {"command": "true", "resources": {"mem": None}},
        [],
        7,
    ],
)
def test_what_is_no_job_is_refused(api: Caller, queue: Queue, body: Any) -> None:
    assert api.status("POST", "/api/v1/jobs", body) == 422
    assert queue.counts()[State.PENDING] == 0


def test_a_key_that_stands_twice_is_refused(api: Caller) -> None:
    body, headers = b'{"command": "true", "command": "false"}', {"content-type": "application/json"}
    assert api.status("POST", "/api/v1/jobs", content=body, headers=headers) == 422


@pytest.mark.parametrize("body", [b"", b'{"command": ', b'{"command": "\xff"}', b'{"meta": {"a": ' + b"[" * 100_000])
def test_bytes_that_are_no_json_are_a_bad_request(api: Caller, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    assert api.status("POST", "/api/v1/jobs", content=body, headers=headers) == 400


def test_a_body_of_another_type_is_not_read(api: Caller, queue: Queue) -> None:
    body = json.dumps({"command": "true"}).encode()
    assert api.status("POST", "/api/v1/jobs", content=body, headers={"content-type": "text/plain"}) == 415
    assert queue.counts()[State.PENDING] == 0


def test_a_job_larger_than_the_setting_is_too_large(api: Caller, queue: Queue) -> None:
    queue.set_config("max_job_bytes", "1000")
    assert api.status("POST", "/api/v1/jobs", {"command": "true", "meta": {"x": "y" * 2000}}) == 413


def test_a_body_without_a_length_is_not_read_for_ever(api: Caller) -> None:
    pieces = (b" " * 1_000_000 for _ in range(18))
    headers = {"content-type": "application/json"}
    assert api.status("POST", "/api/v1/jobs", content=pieces, headers=headers) == 413


# Looking.


def test_a_job_is_shown_as_its_file_has_it(api: Caller, queue: Queue, hand: Hand) -> None:
    end(queue, hand, "bad-1")
    (path,) = (queue.path / "dead").iterdir()
    assert api.get("/api/v1/jobs/bad-1") == json.loads(path.read_bytes())


@pytest.mark.parametrize("id", ["nothing", "on", "..", "%00", "a%2Fb", "\N{SNOWMAN}"])
def test_what_is_no_id_of_a_job_is_not_found(api: Caller, id: str) -> None:
    api.post("/api/v1/jobs", {"command": "true", "id": "one"})
    assert api.status("GET", f"/api/v1/jobs/{id}") == 404


def test_a_list_says_what_each_job_is_about(api: Caller, queue: Queue, hand: Hand) -> None:
    end(queue, hand, "bad-1")
    (row,) = api.get("/api/v1/jobs")["jobs"]
    told = ("state", "command", "attempts", "max_retries", "exit", "last_error", "worker")
    assert [row[key] for key in told] == ["dead", "echo bad-1; exit 3", 1, 0, "3", "exit 3", "host.1"]
    assert 0 <= row["took_sec"] < 30


def test_the_newest_jobs_come_first(api: Caller, queue: Queue, hand: Hand) -> None:
    end(queue, hand, "ok-1", "bad-2", "ok-3")
    assert ids(api.get("/api/v1/jobs")) == ["ok-3", "bad-2", "ok-1"]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("when", ["ok-1", "bad-2", "ok-3", "bad-4"]),
        ("id", ["bad-2", "bad-4", "ok-1", "ok-3"]),
        ("-id", ["ok-3", "ok-1", "bad-4", "bad-2"]),
        ("state", ["bad-4", "bad-2", "ok-3", "ok-1"]),
        ("-when", ["bad-4", "ok-3", "bad-2", "ok-1"]),
    ],
)
def test_pages_of_any_size_make_up_the_whole_order(
    api: Caller, queue: Queue, hand: Hand, sort: str, order: list[str]
) -> None:
    end(queue, hand, "ok-1", "bad-2", "ok-3", "bad-4")
    for limit in (1, 2, 3, 50):
        found, page = [], api.get(f"/api/v1/jobs?sort={sort}&limit={limit}")
        found += ids(page)
        while page["next"]:
            assert len(page["jobs"]) == limit
            assert len(found) < len(order)  # or a cursor that repeats itself would go on for ever
            page = api.get(f"/api/v1/jobs?sort={sort}&limit={limit}&after={page['next']}")
            found += ids(page)
        assert found == order


def test_a_page_goes_on_where_it_ended_whatever_came_meanwhile(api: Caller, queue: Queue, hand: Hand) -> None:
    end(queue, hand, "ok-1", "ok-2", "ok-3")
    first = api.get("/api/v1/jobs?limit=1")
    end(queue, hand, "ok-4")
    assert ids(api.get(f"/api/v1/jobs?limit=5&after={first['next']}")) == ["ok-2", "ok-1"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=dead", ["bad-4", "bad-2"]),
        ("state=dead,completed", ["bad-4", "ok-3", "bad-2", "ok-1"]),
        ("state=pending", []),
        ("q=BAD-4", ["bad-4"]),
        ("q=exit", ["bad-4", "bad-2"]),
        ("q=true", ["ok-3", "ok-1"]),
        ("q=bad&state=completed", []),
        ("worker=host.1&q=ok-3", ["ok-3"]),
        ("worker=host.2", []),
        ("error=exit 3", ["bad-4", "bad-2"]),
        ("error=exit", []),
    ],
)
def test_filters_may_be_combined(api: Caller, queue: Queue, hand: Hand, query: str, found: list[str]) -> None:
    end(queue, hand, "ok-1", "bad-2", "ok-3", "bad-4")
    assert ids(api.get(f"/api/v1/jobs?{query}")) == found


@pytest.mark.parametrize(
    "query", ["state=done", "limit=0", "limit=9999", "limit=x", "sort=size", "after=xx", "colour=red", "q=a&q=b"]
)
def test_a_query_that_means_nothing_is_refused(api: Caller, query: str) -> None:
    assert api.status("GET", f"/api/v1/jobs?{query}") == 422


def test_a_parameter_is_refused_where_none_is_known(api: Caller) -> None:
    assert api.status("GET", "/api/v1/counts?state=dead") == 422


def test_an_address_that_is_none_is_told_where_they_stand(api: Caller) -> None:
    found = api.ask("GET", "/api/v2/jobs").json()
    assert (found["status"], found["detail"]) == (404, "/api/v2/jobs: nothing here")
    assert "/docs" in found["hint"]


def test_a_bug_is_a_problem_too(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr(api.door.view, "snapshot", lambda **_: fail())
    seen: list[Answer] = []
    with pytest.raises(ExceptionGroup):  # the server prints it
        api.ask("GET", "/api/v1/counts", until=lambda answer: bool(seen.append(answer)))
    assert (seen[-1].status, seen[-1].headers["content-type"]) == (500, "application/problem+json")
    assert "of ours" not in seen[-1].text


def test_a_drop_is_shown_before_a_worker_has_admitted_it(api: Caller, queue: Queue) -> None:
    (queue.path / "pending" / "x.json").write_text('{"command": "true"}')
    (row,) = api.get("/api/v1/jobs")["jobs"]
    assert (row["id"], row["state"], row["drop"]) == ("x.json", "pending", True)
    assert api.get("/api/v1/counts")["pending"] == 1


def test_a_filter_that_must_read_says_how_far_it_came_and_goes_on_there(
    api: Caller, queue: Queue, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queuectl.listing.MOST_READ", 2)
    end(queue, hand, "ok-1", "bad-2", "bad-3", "bad-4")
    first = api.get("/api/v1/jobs?q=ok-1")
    assert (first["jobs"], first["examined"], first["total"]) == ([], 2, None)
    assert ids(api.get(f"/api/v1/jobs?q=ok-1&after={first['next']}")) == ["ok-1"]


def test_ids_are_listed_without_their_files(api: Caller, queue: Queue, hand: Hand) -> None:
    end(queue, hand, "ok-1", "bad-2", "bad-3")
    for path in (queue.path / "dead").iterdir():
        path.chmod(0)
    assert api.get("/api/v1/ids?state=dead")["ids"] == ["bad-3", "bad-2"]


def test_ids_and_errors_go_on_where_they_ended(
    api: Caller, queue: Queue, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queuectl.api.jobs.MOST_IDS", 2)
    end(queue, hand, "bad-1", "bad-2", "bad-3")
    for query in ("", "&q=bad"):
        first = api.get(f"/api/v1/ids?state=dead{query}")
        rest = api.get(f"/api/v1/ids?state=dead{query}&after={first['next']}")
        assert [first["ids"], rest["ids"], rest["next"]] == [["bad-3", "bad-2"], ["bad-1"], None]
    counted = api.get("/api/v1/errors?state=dead")
    rest = api.get(f"/api/v1/errors?state=dead&after={counted['next']}")
    assert [page["groups"][0]["jobs"] for page in (counted, rest)] == [2, 1]


@pytest.mark.parametrize("sort", ["when", "-when", "state"])
def test_jobs_of_one_name_are_listed_once_each(api: Caller, queue: Queue, sort: str) -> None:
    states = ["completed", "dead", "failed", "pending", "processing"]
    for state in states:
        job = {"command": state, "state": state, "attempts": 1, "rev": 1, "exit": "0"}
        (queue.path / state / "20260101T000000000Z.5.one.json").write_text(json.dumps(job))
    found, after = [], ""
    for _ in states:
        page = api.get(f"/api/v1/jobs?sort={sort}&limit=1{after}")
        found += [job["state"] for job in page["jobs"]]
        after = f"&after={page['next']}"
    assert sorted(found) == states


def test_the_total_is_that_of_the_filter(api: Caller, queue: Queue, hand: Hand) -> None:
    end(queue, hand, "ok-1", "bad-2", "bad-3")
    totals = [api.get(f"/api/v1/jobs?limit=1{query}")["total"] for query in ("", "&state=dead", "&q=bad")]
    assert totals == [3, 2, None]


def test_errors_are_counted(api: Caller, queue: Queue, hand: Hand) -> None:
    end(queue, hand, "bad-1", "bad-2")
    queue.cancel(queue.enqueue("true").id)
    found = api.get("/api/v1/errors?state=dead")["groups"]
    assert [(group["error"], group["jobs"]) for group in found] == [("exit 3", 2), ("cancelled", 1)]
    assert found[0]["example"] == "bad-2"


# Changing.


def test_a_dead_job_is_retried(api: Caller, queue: Queue, hand: Hand) -> None:
    end(queue, hand, "bad-1")
    assert api.post("/api/v1/jobs/bad-1/retry")["state"] == "pending"
    assert queue.get("bad-1").attempts == 0


def test_a_job_that_waits_cannot_be_retried(api: Caller, queue: Queue) -> None:
    queue.enqueue("true", id="one")
    assert api.status("POST", "/api/v1/jobs/one/retry") == 409


def test_a_job_that_waits_is_withdrawn(api: Caller, queue: Queue) -> None:
    queue.enqueue("true", id="one")
    assert api.post("/api/v1/jobs/one/cancel")["last_error"] == "cancelled"
    assert queue.get("one").state is State.DEAD


def test_a_cancel_that_takes_its_time_is_answered_before_its_end(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queuectl.api.jobs.SETTLES_S", 0.05)
    gate = threading.Event()
    monkeypatch.setattr(Queue, "cancel", lambda _queue, _id: gate.wait(30))
    assert api.status("POST", "/api/v1/jobs/one/cancel") == 202
    gate.set()


def test_a_job_is_deleted_with_its_log(api: Caller, queue: Queue, hand: Hand) -> None:
    end(queue, hand, "bad-1")
    assert api.status("DELETE", "/api/v1/jobs/bad-1") == 204
    assert [*(queue.path / "dead").iterdir(), *(queue.path / "logs").iterdir()] == []


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", ""), ("POST", "/retry"), ("POST", "/cancel"), ("GET", ""), ("GET", "/log")]
)
def test_the_beginning_of_an_id_does_not_mean_the_job(api: Caller, queue: Queue, method: str, path: str) -> None:
    queue.enqueue("true", id="one")
    assert api.status(method, f"/api/v1/jobs/on{path}") == 404
    assert queue.get("one").state is State.PENDING


def test_a_running_job_is_not_deleted(api: Caller, queue: Queue, hand: Hand) -> None:
    queue.enqueue("true", id="one")
    claim = hand.claim("one")
    assert api.status("DELETE", "/api/v1/jobs/one") == 409
    claim.close()


def test_many_jobs_are_retried_and_each_that_is_not_says_why(api: Caller, queue: Queue, hand: Hand) -> None:
    end(queue, hand, "bad-1", "bad-2")
    queue.enqueue("true", id="new")
    done = api.post("/api/v1/retry", {"ids": ["bad-1", "gone", "bad-2", "new"]})
    assert done["changed"] == ["bad-1", "bad-2"]
    assert [found["id"] for found in done["not_changed"]] == ["gone", "new"]
    assert "no such job" in done["not_changed"][0]["detail"]


def test_many_jobs_are_deleted(api: Caller, queue: Queue, hand: Hand) -> None:
    end(queue, hand, "bad-1", "ok-2")
    assert api.post("/api/v1/delete", {"ids": ["bad-1", "ok-2"]})["changed"] == ["bad-1", "ok-2"]
    assert sum(queue.counts().values()) == 0


def test_many_jobs_are_withdrawn_but_those_that_run(api: Caller, queue: Queue, hand: Hand) -> None:
    for id in ("one", "two"):
        queue.enqueue("true", id=id)
    claim = hand.claim("one")
    done = api.post("/api/v1/cancel", {"ids": ["one", "two"]})
    assert done == {"changed": ["two"], "not_changed": [{"id": "one", "detail": "one: runs; cancel it by itself"}]}
    claim.close()


def test_a_list_names_the_worker_that_runs_a_job(api: Caller, queue: Queue, hand: Hand) -> None:
    fd = registry.register(hand.spool, registry.WORKER, os.getpid(), clock.now())
    queue.enqueue("true", id="one")
    claim = hand.claim("one")
    (row,) = wait_until(lambda: api.get("/api/v1/jobs?state=processing")["jobs"])
    (worker,) = api.get("/api/v1/workers")["workers"]
    assert row["worker"] == worker["worker"] == registry.worker_name()
    assert worker["job"] == "one"
    claim.close()
    os.close(fd)


def test_a_method_that_is_not_possible_is_told_those_that_are(api: Caller) -> None:
    answer = api.ask("PUT", "/api/v1/jobs", {})
    assert answer.status == 405
    assert set(answer.headers["allow"].split(", ")) >= {"GET", "POST"}


def test_head_is_answered_wherever_get_is(api: Caller) -> None:
    assert api.status("HEAD", "/api/v1/jobs") == 200


def test_a_job_that_is_named_twice_is_changed_once(api: Caller, queue: Queue, hand: Hand) -> None:
    end(queue, hand, "bad-1")
    assert api.post("/api/v1/retry", {"ids": ["bad-1", "bad-1"]}) == {"changed": ["bad-1"], "not_changed": []}


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 507), (errno.EDQUOT, 507), (errno.EIO, 503)])
def test_a_disk_that_does_not_take_a_job_is_told(
    api: Caller, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    def fail(_queue: Queue, _jobs: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Queue, "enqueue_many", fail)
    assert api.status("POST", "/api/v1/jobs", {"command": "true"}) == status


def test_a_body_that_says_it_is_too_long_is_not_read(api: Caller) -> None:
    headers = {"content-type": "application/json", "content-length": str(17 * 2**20)}
    assert api.status("POST", "/api/v1/jobs", {"command": "true"}, headers=headers) == 413
