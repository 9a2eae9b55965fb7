"""What a program may ask of a queue."""

from __future__ import annotations

import errno
import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hand import Hand

import queuectl
from queuectl import awaiting, clock, disk, intake, names
from queuectl.disk import Directory
from queuectl.errors import AmbiguousId, Conflict, NotFound, Refused, TimedOut, UsageError
from queuectl.job import Job, State
from queuectl.queue import Queue
from queuectl.spool import Claim

NOW = 1_800_000_000_000


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> int:
    """The clock stands still, so that all jobs come in the same millisecond."""
    monkeypatch.setattr(clock, "now", lambda: NOW)
    return NOW


def order(queue: Queue) -> list[str]:
    """Return the ids of the pending jobs in the order of their names."""
    return [names.id_part(path.name) for path in sorted((queue.path / "pending").iterdir())]


def files(queue: Queue, *places: str) -> list[str]:
    every = places or ("pending", "processing", "completed", "failed", "dead", "tmp", "logs", "cancel", "rejected")
    return sorted(f"{place}/{path.name}" for place in every for path in (queue.path / place).iterdir())


# Opening.


def test_three_names_are_all_that_a_program_needs() -> None:
    assert (queuectl.Queue, queuectl.Job, queuectl.State) == (Queue, Job, State)
    with pytest.raises(AttributeError, match="no attribute 'Quue'"):
        _ = queuectl.Quue


def test_the_example_in_the_manual_works(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(queue.path.parent)
    (example,) = re.findall(r'`(Queue\("spool"\)\.enqueue\(.*?\))`', inspect.getdoc(Queue) or "")
    made = eval(example, {"Queue": Queue})
    assert (made.command, made.cwd) == ("make", "/src")
    assert order(queue) == [made.id]


def test_where_there_is_no_spool_there_is_no_queue(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no spool here"):
        Queue(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_spool_is_made_when_that_is_asked_for(tmp_path: Path) -> None:
    assert Queue(tmp_path / "a" / "b", create=True).counts() == dict.fromkeys(State, 0)


def test_a_queue_knows_its_absolute_path(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(queue.path.parent)
    assert Queue("spool").path == queue.path


def test_two_queues_on_one_spool_are_the_same_queue(queue: Queue) -> None:
    made = queue.enqueue("true")
    assert Queue(queue.path).get(made.id) == queue.get(made.id)


def test_a_queue_that_is_forgotten_gives_its_descriptors_back(queue: Queue) -> None:
    queue.counts()
    before = len(os.listdir("/dev/fd"))
    for _ in range(5):
        Queue(queue.path).counts()
    assert len(os.listdir("/dev/fd")) <= before  # fewer, when others' are given back meanwhile


# Putting jobs in.


def test_a_job_comes_back_with_its_id_and_its_times(queue: Queue, still: int) -> None:
    made = queue.enqueue("true")
    at = clock.iso(still)
    assert (made.state, made.attempts, made.priority) == (State.PENDING, 0, 5)
    assert (made.created_at, made.updated_at, made.due_at) == (at, at, at)
    assert names.is_id(made.id)


def test_a_job_runs_in_the_callers_directory_unless_it_says_otherwise(queue: Queue) -> None:
    assert queue.enqueue("true").cwd == os.getcwd()
    assert queue.enqueue("true", cwd="/").cwd == "/"


def test_every_field_can_be_given(queue: Queue) -> None:
    fields: dict[str, Any] = {
        "id": "chosen",
        "priority": 9,
        "run_at": "2026-11-22T10:15:00.000Z",
        "timeout": 5400.0,
        "max_retries": 0,
        "backoff_base": 1.5,
        "cwd": "/tmp",
        "env": {"A": "ä b"},
        "meta": {"x": [1, {"y": None}]},
    }
    queue.enqueue(["printf", "%s", "a b"], **fields)
    found = queue.get("chosen")
    assert {key: getattr(found, key) for key in fields} == fields
    assert found.command == ["printf", "%s", "a b"]
    assert files(queue, "pending") == ["pending/20261122T101500000Z.9.chosen.json"]


@pytest.mark.parametrize(
    ("fields", "field", "value"),
    [
        ({"priority": "high"}, "priority", 9),
        ({"timeout": "1.5h"}, "timeout", 5400.0),
        ({"timeout": 90}, "timeout", 90.0),
        ({"backoff_base": 2}, "backoff_base", 2.0),
        ({"run_at": "+2h"}, "run_at", clock.iso(NOW + 7_200_000)),
        ({"run_at": "2026-11-22T10:15:00+02:00"}, "run_at", "2026-11-22T08:15:00.000Z"),
        ({"meta": None, "timeout": None, "id": None}, "timeout", None),
    ],
)
def test_words_are_understood_as_on_the_command_line(
    queue: Queue, still: int, fields: dict[str, Any], field: str, value: Any
) -> None:
    made = queue.enqueue("true", **fields)
    assert getattr(made, field) == getattr(queue.get(made.id), field) == value


def test_a_job_with_a_time_to_run_at_is_due_then(queue: Queue, still: int) -> None:
    made = queue.enqueue("true", run_at="+2h")
    assert files(queue, "pending") == [f"pending/{clock.stamp(still + 7_200_000)}.5.{made.id}.json"]


@pytest.mark.parametrize(
    ("command", "fields", "why"),
    [
        ("", {}, "command is empty"),
        ([], {}, "command is empty"),
        (None, {}, "required field command"),
        (5, {}, "in command"),
        (b"true", {}, "in command"),
        (["a", 1], {}, "in command"),
        ("a\0b", {}, "NUL"),
        ("x" * 131_072, {}, "128 KiB"),
        ("\ud800", {}, "surrogate"),
        ("true", {"id": ""}, "id"),
        ("true", {"id": "a/b"}, "id 'a/b' must be"),
        ("true", {"priority": 10}, "priority 10 must be 0 to 9"),
        ("true", {"timeout": -1}, "timeout"),
        ("true", {"timeout": float("nan")}, "timeout"),
        ("true", {"max_retries": -1}, "max_retries"),
        ("true", {"max_retries": True}, "max_retries"),
        ("true", {"backoff_base": float("nan")}, "backoff_base"),
        ("true", {"run_at": "tomorrow"}, "run_at: 'tomorrow' is not a time"),
        ("true", {"run_at": "2026-02-31T10:15:00.000Z"}, "run_at: "),
        ("true", {"run_at": 5}, "run_at"),
        ("true", {"cwd": "here"}, "cwd 'here' must be an absolute path"),
        ("true", {"env": {"A": 1}}, "env"),
        ("true", {"env": {"A=B": "1"}}, "env"),
        ("true", {"meta": []}, "meta"),
        ("true", {"meta": {"a": object()}}, "meta"),
        ("true", {"meta": {"a": "\ud800"}}, "meta"),
        ("true", {"meta": {1: 2}}, "meta"),
        ("true", {"max_retry": 1}, "unknown field 'max_retry', did you mean 'max_retries'?"),
        ("true", {"state": "dead"}, "unknown field 'state'"),
        ("true", {"attempts": 3}, "unknown field 'attempts'"),
    ],
)
def test_a_bad_field_is_refused_and_nothing_is_queued(
    queue: Queue, command: Any, fields: dict[str, Any], why: str
) -> None:
    with pytest.raises(UsageError) as caught:
        queue.enqueue(command, **fields)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files(queue) == []


def test_a_job_is_durable_when_the_call_returns(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    fsync = os.fsync

    def note(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", note)
    queue.enqueue("true")
    (path,) = (queue.path / "pending").iterdir()
    assert synced == [path.stat().st_ino, path.parent.stat().st_ino]


# Putting many in.


def test_many_jobs_are_given_in_every_form(queue: Queue) -> None:
    specs = ["true", ["echo", "a"], ("echo", "b"), {"command": "c", "priority": 1}, Job(command="d", id="given")]
    made = queue.enqueue_many(specs)
    assert [one.command for one in made] == ["true", ["echo", "a"], ["echo", "b"], "c", "d"]
    assert made[-1].id == "given"
    assert [queue.get(one.id) for one in made] == made


def test_many_jobs_may_come_from_a_generator_and_may_be_none(queue: Queue) -> None:
    assert len(queue.enqueue_many(f"echo {number}" for number in range(3))) == 3
    assert queue.enqueue_many([]) == []


def test_jobs_of_one_call_keep_their_order_though_they_come_in_one_millisecond(queue: Queue, still: int) -> None:
    made = queue.enqueue_many([f"echo {number}" for number in range(500)])
    assert order(queue) == [one.id for one in made]


@pytest.mark.parametrize(
    "ids",
    [
        ["b", "a"],
        ["z", "y", "x", "w"],
        ["a", "B", "1", "0"],
        ["a10", "a9", "a8"],
        ["x", "", "a", "", "b"],
        ["", "0", "", "z", "", "A"],
    ],
)
def test_jobs_with_chosen_ids_keep_their_order_too(queue: Queue, still: int, ids: list[str]) -> None:
    made = queue.enqueue_many([{"command": "true", **({"id": id} if id else {})} for id in ids])
    assert order(queue) == [one.id for one in made]
    assert [one.id for one, id in zip(made, ids, strict=True) if id] == [id for id in ids if id]


def test_jobs_with_a_time_of_their_own_do_not_disturb_the_order_of_the_others(queue: Queue, still: int) -> None:
    late = {"command": "true", "id": "late", "run_at": "+1h"}
    queue.enqueue_many([{"command": "true", "id": "b"}, late, {"command": "true", "id": "a"}])
    assert order(queue) == ["b", "a", "late"]


def test_no_job_of_a_call_is_due_after_now(queue: Queue, still: int) -> None:
    queue.enqueue_many([{"command": "true", "id": f"a{number}"} for number in range(9, -1, -1)])
    last = sorted((queue.path / "pending").iterdir())[-1]
    assert last.name.startswith(clock.stamp(still))


def test_one_call_after_the_other_keeps_the_order_in_one_millisecond(queue: Queue, still: int) -> None:
    made = [queue.enqueue("true").id for _ in range(50)]
    assert order(queue) == made


@pytest.mark.parametrize("bad", [{"command": ""}, {"comand": "x"}, {"command": "x", "id": "a/b"}, 5, None])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_bad_job_and_none_is_queued(queue: Queue, bad: Any, place: int) -> None:
    specs: list[Any] = ["true", "true"]
    specs.insert(place, bad)
    with pytest.raises(UsageError):
        queue.enqueue_many(specs)
    assert files(queue) == []


def test_the_error_says_which_job_is_bad(queue: Queue) -> None:
    with pytest.raises(UsageError, match=r"^job 3: command is empty"):
        queue.enqueue_many(["true", "true", ""])


def test_progress_is_told_how_many_have_been_checked(queue: Queue) -> None:
    told: list[int] = []
    queue.enqueue_many(("true" for _ in range(2500)), progress=told.append)
    assert told == [1000, 2000, 2500]


# Chosen ids.


def test_a_chosen_id_that_exists_is_refused(queue: Queue) -> None:
    queue.enqueue("true", id="a")
    with pytest.raises(Conflict, match=r"^a: a job with this id exists already \(pending\)"):
        queue.enqueue("false", id="a")
    assert queue.get("a").command == "true"


@pytest.mark.parametrize("state", ["processing", "completed", "failed", "dead"])
def test_a_chosen_id_is_taken_in_every_state(queue: Queue, hand: Hand, state: str) -> None:
    queue.enqueue("true" if state == "completed" else "false", id="a", max_retries=0 if state == "dead" else 3)
    claim = hand.claim() if state == "processing" else hand.run()
    with pytest.raises(Conflict, match=rf"exists already \({state}\)"):
        queue.enqueue("true", id="a")
    if not isinstance(claim, Job):
        claim.close()


def test_one_taken_id_among_many_and_none_is_queued(queue: Queue) -> None:
    queue.enqueue("true", id="b")
    with pytest.raises(Conflict, match=r"^b: "):
        queue.enqueue_many([{"command": "true", "id": id} for id in ("a", "b", "c")])
    assert order(queue) == ["b"]
    assert files(queue, "tmp") == []


def test_an_id_that_is_asked_for_twice_in_one_call_is_refused(queue: Queue) -> None:
    with pytest.raises(Conflict, match=r"^a: this id is asked for twice$"):
        queue.enqueue_many([{"command": "true", "id": id} for id in ("b", "a", "c", "a")])
    assert files(queue) == []


def test_an_id_that_only_begins_like_another_is_free(queue: Queue) -> None:
    queue.enqueue("true", id="abc")
    assert queue.enqueue("true", id="ab").id == "ab"


def test_a_job_with_a_history_begins_anew_when_it_is_put_in(queue: Queue, hand: Hand) -> None:
    queue.enqueue("false", id="a", max_retries=0)
    ended = hand.run()
    again = queue.enqueue_many([msgspec.structs.replace(ended, id="b")])[0]
    assert (again.state, again.attempts, again.rev, again.history) == (State.PENDING, 0, 0, [])
    assert (again.exit, again.exit_code, again.last_error) == (None, None, None)
    assert len(ended.history) == 1


# Looking.


def test_a_job_is_found_by_a_unique_beginning_of_its_id(queue: Queue) -> None:
    queue.enqueue("true", id="abc1")
    queue.enqueue("true", id="abd2")
    assert (queue.get("abc").id, queue.get("abd2").id) == ("abc1", "abd2")


def test_a_beginning_that_several_ids_share_is_ambiguous_and_names_them(queue: Queue) -> None:
    for id in ("abc1", "abd2", "x"):
        queue.enqueue("true", id=id)
    with pytest.raises(AmbiguousId) as caught:
        queue.get("ab")
    assert caught.value.candidates == ("abc1", "abd2")
    assert "abc1 abd2" in str(caught.value.hint)


def test_a_whole_id_is_not_ambiguous_though_others_begin_with_it(queue: Queue) -> None:
    for id in ("ab", "abc"):
        queue.enqueue("true", id=id)
    assert queue.get("ab").id == "ab"


@pytest.mark.parametrize("id", ["zz", "ab.json", "../pending/ab", "AB"])
def test_a_job_that_is_not_there_is_not_found(queue: Queue, id: str) -> None:
    queue.enqueue("true", id="ab")
    with pytest.raises(NotFound, match="no such job"):
        queue.get(id)


def test_a_job_whose_file_is_broken_is_not_taken_for_missing(queue: Queue) -> None:
    queue.enqueue("true", id="a")
    next((queue.path / "pending").iterdir()).write_bytes(b"broken")
    with pytest.raises(Refused, match="not readable as a job"):
        queue.get("a")


def test_many_beginnings_are_resolved_in_one_look(queue: Queue) -> None:
    for id in ("abc", "def"):
        queue.enqueue("true", id=id)
    assert queue.resolve(["d", "abc", "a"]) == ["def", "abc", "abc"]


@pytest.fixture
def five(queue: Queue, hand: Hand) -> Iterator[None]:
    """One job in each state, and a second one that is pending."""
    queue.enqueue("true", id="completed")
    hand.run()
    queue.enqueue("exit 7", id="failed")
    hand.run()
    queue.enqueue("exit 7", id="dead", max_retries=0)
    hand.run()
    queue.enqueue("true", id="processing")
    claim = hand.claim()
    queue.enqueue("true", id="pending")
    queue.enqueue("true", id="later", run_at="+1h")
    yield
    claim.close()


def test_jobs_are_counted_by_their_state(queue: Queue, five: None) -> None:
    assert queue.counts() == {"pending": 2, "processing": 1, "completed": 1, "failed": 1, "dead": 1}


def test_the_jobs_of_all_states_are_listed(queue: Queue, five: None) -> None:
    assert {one.id: one.state for one in queue.jobs()} == {
        **{state.value: state for state in State},
        "later": State.PENDING,
    }


@pytest.mark.parametrize("state", [*State, "dead"])
def test_the_jobs_of_one_state_are_listed(queue: Queue, five: None, state: State | str) -> None:
    assert next(one.id for one in queue.jobs(state)) == str(state)
    assert {one.state for one in queue.jobs(state)} == {state}


def test_jobs_are_listed_by_the_time_that_matters(queue: Queue, still: int) -> None:
    queue.enqueue_many([{"command": "true", "id": id} for id in ("c", "a", "b")])
    assert [one.id for one in queue.jobs()] == ["c", "a", "b"]


def test_no_more_jobs_are_listed_than_asked_for(queue: Queue, five: None) -> None:
    assert [len(list(queue.jobs(limit=limit))) for limit in (0, 1, 4, 99)] == [0, 1, 4, 6]


def test_an_unknown_state_is_refused_with_the_known_ones(queue: Queue) -> None:
    with pytest.raises(UsageError, match="'running' is not a state") as caught:
        list(queue.jobs("running"))
    assert caught.value.hint == "one of: pending failed processing completed dead"


def test_the_status_tells_what_is_due_next(queue: Queue, five: None) -> None:
    status = queue.status()
    assert status.counts == queue.counts()
    assert (status.rejected, status.workers, status.paused) == (0, [], False)
    later, failed, pending = queue.get("later"), queue.get("failed"), queue.get("pending")
    assert status.next_run_at == clock.uniso(later.due_at or "")
    assert status.next_retry_at == clock.uniso(failed.due_at or "")
    assert status.oldest_pending_at == clock.uniso(pending.due_at or "")


def test_the_status_of_an_empty_queue_has_no_times(queue: Queue) -> None:
    status = queue.status()
    assert (status.oldest_pending_at, status.next_run_at, status.next_retry_at) == (None, None, None)


def test_rejected_files_are_counted_without_their_reasons(queue: Queue) -> None:
    for name in ("a.json", "a.json.why", "b.json", "b.json.why"):
        (queue.path / "rejected" / name).touch()
    assert queue.status().rejected == 2


def test_a_queue_is_paused_and_resumed(queue: Queue) -> None:
    queue.pause()
    assert queue.status().paused
    queue.resume()
    assert not queue.status().paused


# Logs.


def test_the_output_of_all_attempts_is_one_log(queue: Queue, hand: Hand) -> None:
    queue.enqueue("echo run $QUEUECTL_ATTEMPT; exit 1", id="a", backoff_base=0, max_retries=1)
    hand.run()
    hand.run()
    assert queue.logs("a") == b"run 1\nrun 2\n"


def test_the_output_of_one_attempt_is_a_part_of_the_log(queue: Queue, hand: Hand) -> None:
    queue.enqueue("echo run $QUEUECTL_ATTEMPT; exit 1", id="a", backoff_base=0, max_retries=2)
    for _ in range(3):
        hand.run()
    assert [queue.logs("a", attempt=attempt) for attempt in (1, 2, 3)] == [b"run 1\n", b"run 2\n", b"run 3\n"]


def test_an_attempt_that_printed_nothing_has_an_empty_log(queue: Queue, hand: Hand) -> None:
    queue.enqueue("true", id="a")
    hand.run()
    assert (queue.logs("a"), queue.logs("a", attempt=1)) == (b"", b"")


def test_the_output_of_a_job_that_has_not_run_is_empty(queue: Queue) -> None:
    queue.enqueue("echo x", id="a")
    assert queue.logs("a") == b""


@pytest.mark.parametrize("attempt", [0, 2, -1])
def test_an_attempt_that_a_job_has_not_had_is_not_found(queue: Queue, hand: Hand, attempt: int) -> None:
    queue.enqueue("true", id="a")
    hand.run()
    with pytest.raises(NotFound, match=f"a: has no attempt {attempt}; it has had 1"):
        queue.logs("a", attempt=attempt)


def test_the_running_attempt_has_what_it_has_printed_so_far(queue: Queue, hand: Hand) -> None:
    queue.enqueue("echo first; exit 1", id="a", backoff_base=0)
    hand.run()
    claim = hand.claim("a")
    with open(queue.path / "logs" / "a.log", "ab") as log:
        log.write(b"second\n")
    assert queue.logs("a", attempt=2) == b"second\n"
    claim.close()


def test_after_a_retry_by_hand_an_attempts_number_means_the_newest_run(queue: Queue, hand: Hand) -> None:
    queue.enqueue("echo $(wc -l < $QUEUECTL_SPOOL/logs/a.log)", id="a")
    hand.run()
    queue.retry("a")
    hand.run()
    assert (queue.logs("a"), queue.logs("a", attempt=1)) == (b"0\n1\n", b"1\n")


def test_a_log_that_was_deleted_is_empty(queue: Queue, hand: Hand) -> None:
    queue.enqueue("echo x", id="a")
    hand.run()
    (queue.path / "logs" / "a.log").unlink()
    assert (queue.logs("a"), queue.logs("a", attempt=1)) == (b"", b"")


def test_following_a_job_that_has_ended_gives_its_whole_log(queue: Queue, hand: Hand) -> None:
    queue.enqueue("echo x", id="abc")
    hand.run()
    assert b"".join(queue.follow("a")) == b"x\n"


def test_following_a_job_goes_on_until_it_has_ended(queue: Queue, hand: Hand) -> None:
    queue.enqueue("echo two", id="a")
    (queue.path / "logs" / "a.log").write_bytes(b"one\n")
    pieces = queue.follow("a")
    assert next(pieces) == b"one\n"
    hand.run()
    assert list(pieces) == [b"two\n"]


# Retry.


@pytest.mark.parametrize("id", ["completed", "failed", "dead"])
def test_a_job_that_has_ended_or_failed_can_be_run_again(queue: Queue, five: None, id: str) -> None:
    before = queue.get(id)
    again = queue.retry(id)
    assert (again.state, again.attempts, again.rev) == (State.PENDING, 0, before.rev + 1)
    assert queue.get(id) == again
    assert again.history == before.history


def test_a_retried_job_is_due_now(queue: Queue, five: None) -> None:
    assert queue.get("failed").due_at > clock.iso(clock.now())  # type: ignore[operator]
    assert queue.retry("failed").due_at <= clock.iso(clock.now())  # type: ignore[operator]


@pytest.mark.parametrize("id", ["pending", "processing"])
def test_a_job_that_waits_or_runs_cannot_be_retried(queue: Queue, five: None, id: str) -> None:
    with pytest.raises(Conflict, match=f"^{id}: is {id}, so it cannot be retried"):
        queue.retry(id)
    assert queue.get(id).state is State(id)


def test_a_job_that_has_ended_since_it_was_waited_for_can_be_retried(queue: Queue, hand: Hand) -> None:
    queue.enqueue("true", id="a")
    assert queue.resolve(["a"]) == ["a"]
    hand.run()
    assert queue.retry("a").state is State.PENDING


def test_a_job_that_was_seen_elsewhere_can_be_removed(queue: Queue, hand: Hand) -> None:
    queue.enqueue("true", id="a")
    queue.resolve(["a"])
    hand.run()
    assert queue.remove("a").state is State.COMPLETED


def test_all_dead_jobs_are_retried_at_once(queue: Queue, hand: Hand) -> None:
    queue.enqueue_many([{"command": "exit 7", "id": id, "max_retries": 0} for id in ("a", "b")])
    for _ in range(2):
        hand.run()
    assert sorted(one.id for one in queue.retry_dead()) == ["a", "b"]
    assert queue.counts()[State.PENDING] == 2


def test_only_dead_jobs_are_retried_from_the_dead(queue: Queue, five: None) -> None:
    with pytest.raises(Conflict, match="failed: is failed"):
        queue.retry_dead(["failed"])
    assert [one.id for one in queue.retry_dead(["dea"])] == ["dead"]


# Cancel.


@pytest.mark.parametrize("id", ["pending", "failed", "later"])
def test_a_job_that_waits_is_withdrawn(queue: Queue, five: None, id: str) -> None:
    gone = queue.cancel(id)
    assert (gone.state, gone.exit, gone.last_error) == (State.DEAD, "cancelled", "cancelled")
    assert queue.get(id) == gone
    assert any(name.endswith(f".cancelled.{id}.json") for name in files(queue, "dead"))


@pytest.mark.parametrize("id", ["completed", "dead"])
def test_a_job_that_has_ended_cannot_be_cancelled(queue: Queue, five: None, id: str) -> None:
    with pytest.raises(Conflict, match=f"^{id}: is {id}, so it cannot be cancelled"):
        queue.cancel(id)
    assert queue.get(id).exit != "cancelled"


def test_a_cancelled_job_is_not_run(queue: Queue, hand: Hand) -> None:
    queue.enqueue("true", id="a")
    queue.cancel("a")
    with pytest.raises(AssertionError, match="no job"):
        hand.claim()


def test_a_running_job_without_a_worker_cannot_be_cancelled(queue: Queue, five: None) -> None:
    with pytest.raises(Conflict, match="processing: its worker is gone"):
        queue.cancel("processing")
    assert files(queue, "cancel") == []


# Remove and purge.


@pytest.mark.parametrize("id", ["pending", "completed", "failed", "dead", "later"])
def test_a_removed_job_is_gone_with_its_log(queue: Queue, five: None, id: str) -> None:
    assert queue.remove(id).id == id
    assert not [name for name in files(queue) if f"{id}.json" in name or f"{id}.log" in name]


def test_a_running_job_cannot_be_removed(queue: Queue, five: None) -> None:
    with pytest.raises(Conflict, match="processing: is processing, so it cannot be removed"):
        queue.remove("processing")
    assert queue.counts()[State.PROCESSING] == 1


def test_a_purge_deletes_only_what_was_named(queue: Queue, five: None) -> None:
    purged = queue.purge(completed=True)
    assert (purged.completed, purged.dead, purged.rejected) == (1, 0, 0)
    assert queue.counts() == {"pending": 2, "processing": 1, "completed": 0, "failed": 1, "dead": 1}


def test_a_purge_takes_the_logs_along(queue: Queue, five: None) -> None:
    queue.purge(completed=True, dead=True)
    assert files(queue, "logs") == ["logs/failed.log"]


def test_a_purge_spares_what_has_ended_lately(queue: Queue, five: None) -> None:
    assert queue.purge(completed=True, dead=True, older_than=3600).completed == 0
    assert queue.counts()[State.COMPLETED] == 1


def test_a_purge_deletes_what_has_ended_long_ago(queue: Queue, five: None, monkeypatch: pytest.MonkeyPatch) -> None:
    later = clock.now() + 3_601_000
    monkeypatch.setattr(clock, "now", lambda: later)
    assert queue.purge(completed=True, older_than=3600).completed == 1


def test_a_dry_run_counts_and_deletes_nothing(queue: Queue, five: None) -> None:
    (queue.path / "rejected" / f"{clock.stamp(NOW - 10**11)}.1.a.json").touch()
    before = files(queue)
    purged = queue.purge(completed=True, dead=True, rejected=True, dry_run=True)
    assert (purged.completed, purged.dead, purged.rejected) == (1, 1, 1)
    assert files(queue) == before


def test_rejected_files_are_purged_with_their_reasons(queue: Queue) -> None:
    old, new = clock.stamp(0), clock.stamp(clock.now() + 10**6)
    for name in (f"{old}.1.a.json", f"{old}.1.a.json.why", f"{old}.1.b.json", f"{new}.1.c.json", f"{new}.1.c.json.why"):
        (queue.path / "rejected" / name).touch()
    assert queue.purge(rejected=True).rejected == 2
    assert files(queue, "rejected") == [f"rejected/{new}.1.c.json", f"rejected/{new}.1.c.json.why"]


def test_a_purge_leaves_what_is_not_a_job_of_ours(queue: Queue) -> None:
    (queue.path / "completed" / "README").touch()
    assert queue.purge(completed=True).completed == 0
    assert files(queue, "completed") == ["completed/README"]


# Waiting.


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting looks again at once, and so does whoever is told of the progress."""
    monkeypatch.setattr(awaiting, "RESCAN_S", 0.01)
    monkeypatch.setattr(awaiting, "LOOK_COSTS", 0)


def test_waiting_for_what_has_ended_returns_at_once(queue: Queue, five: None) -> None:
    assert [one.id for one in queue.wait(["dead", "comp"])] == ["dead", "completed"]


def test_waiting_ends_when_the_jobs_have_ended_well_or_not(queue: Queue, hand: Hand) -> None:
    queue.enqueue_many([{"command": line, "id": id, "max_retries": 0} for id, line in (("a", "true"), ("b", "false"))])
    told: list[tuple[int, int]] = []

    def progress(ended: int, of: int) -> None:
        told.append((ended, of))
        if queue.counts()[State.PENDING]:
            hand.run()

    found = queue.wait(["b", "a"], progress=progress, timeout=30)
    assert [(one.id, one.state) for one in found] == [("b", State.DEAD), ("a", State.COMPLETED)]
    assert (told[0], told[-1]) == ((0, 2), (2, 2))


def test_a_failure_that_will_be_retried_is_no_end(queue: Queue, hand: Hand, quick: None) -> None:
    queue.enqueue("exit $((QUEUECTL_ATTEMPT < 3))", id="a", backoff_base=0)

    def progress(_ended: int, _of: int) -> None:
        if queue.counts()[State.COMPLETED] == 0:
            hand.run()

    (found,) = queue.wait(["a"], progress=progress, timeout=30)
    assert (found.state, found.attempts) == (State.COMPLETED, 3)


def test_waiting_for_all_is_for_those_that_are_there_now(queue: Queue, hand: Hand) -> None:
    queue.enqueue("true", id="old")
    hand.run()
    queue.enqueue_many([{"command": "true", "id": id} for id in ("a", "b")])

    def progress(_ended: int, _of: int) -> None:
        if queue.counts()[State.PENDING]:
            hand.run()

    assert sorted(one.id for one in queue.wait(progress=progress, timeout=30)) == ["a", "b"]


def test_waiting_for_nothing_returns_at_once(queue: Queue) -> None:
    assert queue.wait() == []
    assert queue.wait([]) == []


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_waiting_gives_up_after_its_time(queue: Queue, timeout: float) -> None:
    queue.enqueue("true", id="a")
    with pytest.raises(TimedOut, match=r"^still waiting for 1 of 1 after"):
        queue.wait(["a"], timeout=timeout)


def test_waiting_for_a_job_that_is_removed_meanwhile_fails(queue: Queue, quick: None) -> None:
    queue.enqueue("true", id="a")
    with pytest.raises(NotFound, match="a: removed while it was waited for"):
        queue.wait(["a"], progress=lambda *_: queue.remove("a") if queue.counts()[State.PENDING] else None, timeout=30)


def test_waiting_for_a_job_that_is_not_there_fails(queue: Queue) -> None:
    with pytest.raises(NotFound, match="zz: no such job"):
        queue.wait(["zz"])


def test_waiting_works_without_notifications_too(queue: Queue, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awaiting, "_arm", lambda *_: False)
    monkeypatch.setattr(awaiting, "BLIND_S", 0.01)
    queue.enqueue("true", id="a")

    def progress(_ended: int, _of: int) -> None:
        if queue.counts()[State.PENDING]:
            hand.run()

    assert queue.wait(["a"], progress=progress, timeout=30)[0].state is State.COMPLETED


# Settings.


def test_settings_are_those_of_the_file_and_the_environment(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    assert queue.set_config("max-retries", "7") == 7
    monkeypatch.setenv("QUEUECTL_WORKER_COUNT", "4")
    found = queue.config()
    assert (found.max_retries, found.worker_count, found.backoff_base) == (7, 4, 2.0)
    assert queue.configured() == {"max_retries": 7}


def test_a_setting_is_taken_out_again(queue: Queue) -> None:
    queue.set_config("base_backoff", "3")
    queue.set_config("max_retries", "7")
    assert queue.set_config("backoff-base", None) is None
    assert queue.configured() == {"max_retries": 7}


@pytest.mark.parametrize(
    ("key", "value"), [("max_retries", "-1"), ("max_retry", "3"), ("backoff_base", "x"), ("max_retries", "")]
)
def test_a_bad_setting_is_refused_and_changes_nothing(queue: Queue, key: str, value: str) -> None:
    queue.set_config("max_retries", "7")
    with pytest.raises(UsageError):
        queue.set_config(key, value)
    assert queue.configured() == {"max_retries": 7}


@pytest.mark.parametrize(("key", "value"), [("job_timeout_sec", "0.05ms"), ("backoff_max", "0.00001")])
def test_a_very_short_duration_that_was_accepted_can_be_read_again(queue: Queue, key: str, value: str) -> None:
    typed = queue.set_config(key, value)
    assert 0 < typed < 0.0001
    assert queue.configured() == {key: typed}


def test_the_file_of_the_settings_is_its_owners_alone(queue: Queue) -> None:
    queue.set_config("max_retries", "7")
    assert (queue.path / "config.toml").stat().st_mode & 0o777 == 0o600


# Sizes.


def test_a_job_whose_history_has_outgrown_the_limit_for_drops_goes_on(queue: Queue, hand: Hand) -> None:
    queue.set_config("max_job_bytes", "600")
    hand.config = queue.config()
    queue.enqueue("false", id="a", backoff_base=0, max_retries=8)
    for _ in range(9):
        hand.run()
    assert (queue.get("a").state, queue.get("a").attempts) == (State.DEAD, 9)
    assert next((queue.path / "dead").iterdir()).stat().st_size > 600


# max_pending.


def test_one_program_never_puts_more_into_the_queue_than_may_wait(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it counts but now and then."""
    monkeypatch.setattr(intake, "FRESH_S", 3600.0)
    queue.set_config("max_pending", "5")
    for _ in range(5):
        queue.enqueue("true")
    with pytest.raises(Refused, match=r"more than max_pending \(5\)"):
        queue.enqueue("true")
    assert queue.counts()[State.PENDING] == 5


def test_a_queue_is_counted_anew_before_anything_is_refused(
    queue: Queue, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "FRESH_S", 3600.0)
    queue.set_config("max_pending", "2")
    for _ in range(2):
        queue.enqueue("true")
    hand.run()
    queue.enqueue("true")
    assert queue.counts()[State.PENDING] == 2


def test_a_program_that_runs_long_takes_up_a_changed_limit(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.enqueue("true")
    queue.set_config("max_pending", "1")
    monkeypatch.setattr(intake, "READ_AGAIN_S", 0.0)
    with pytest.raises(Refused):
        queue.enqueue("true")


def test_without_a_limit_nobody_counts(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Directory, "chunks", lambda *_: pytest.fail("counted"))
    queue.enqueue("true")
    assert queue.counts()[State.PENDING] == 1


def test_counting_ends_when_enough_has_been_seen(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.set_config("max_pending", "10")
    monkeypatch.setattr(intake, "CHUNK", 5)
    for number in range(100):
        (queue.path / "pending" / f"{number}.json").write_text('{"command": "true"}')
    seen = []
    real = Directory.chunks

    def chunks(self: Directory, size: int) -> Iterator[list[str]]:
        for chunk in real(self, size):
            seen.append(len(chunk))
            yield chunk

    monkeypatch.setattr(Directory, "chunks", chunks)
    with pytest.raises(Refused):
        queue.enqueue("true")
    assert sum(seen) == 10


def test_a_retry_is_not_held_up_by_a_full_queue(queue: Queue, hand: Hand) -> None:
    queue.enqueue("false", id="a", max_retries=0)
    hand.run()
    queue.set_config("max_pending", "1")
    queue.enqueue("true")
    assert queue.retry("a").state is State.PENDING


def test_a_retry_that_the_disk_refuses_does_not_keep_the_job_locked(
    queue: Queue, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = queue.enqueue("false", max_retries=0).id
    hand.fail()
    with monkeypatch.context() as patch:
        patch.setattr(disk, "write", raises(OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            queue.retry(id)
    (name,) = (path.name for path in (queue.path / "dead").iterdir())
    again = hand.spool.claim("dead", name, now=clock.now(), limit=1000, durable=False)
    assert isinstance(again, Claim)
    again.close()


def raises(error: Exception) -> Any:
    """Return a function that raises this."""

    def call(*_: Any, **__: Any) -> None:
        raise error

    return call
