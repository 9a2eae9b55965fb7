"""What jobs print, over HTTP."""

from __future__ import annotations

import threading

import pytest
from api.caller import Answer, Caller
from hand import Hand
from helpers import wait_until

from queuectl.queue import Queue

LOG = "/api/v1/jobs/one/log"


@pytest.fixture
def printed(queue: Queue, hand: Hand) -> bytes:
    """A job `one` that has ended, and what it printed."""
    queue.enqueue("printf 0123456789", id="one")
    hand.run("one")
    return b"0123456789"


def test_a_log_is_text_and_never_markup(api: Caller, printed: bytes) -> None:
    answer = api.ask("GET", LOG)
    assert (answer.status, answer.content) == (200, printed)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize(
    ("wanted", "part", "told"),
    [
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=-300", b"0123456789", "bytes 0-9/10"),
        ("bytes=8-100", b"89", "bytes 8-9/10"),
    ],
)
def test_a_part_of_a_log_can_be_asked_for(api: Caller, printed: bytes, wanted: str, part: bytes, told: str) -> None:
    answer = api.ask("GET", LOG, headers={"range": wanted})
    assert (answer.status, answer.content, answer.headers["content-range"]) == (206, part, told)
    assert answer.headers["content-length"] == str(len(part))


@pytest.mark.parametrize("wanted", ["bytes=5-2", "bytes=-", "bytes=1-2,4-5", "lines=1-2", "bytes=x-"])
def test_a_range_that_is_none_is_passed_over(api: Caller, printed: bytes, wanted: str) -> None:
    answer = api.ask("GET", LOG, headers={"range": wanted})
    assert (answer.status, answer.content) == (200, printed)


def test_a_range_behind_the_end_is_told_how_long_the_log_is(api: Caller, printed: bytes) -> None:
    assert api.status("GET", LOG, headers={"range": "bytes=10-"}) == 416
    assert api.ask("GET", LOG, headers={"range": "bytes=10-"}).headers["content-range"] == "bytes */10"


def test_a_log_that_is_cut_while_it_is_sent_is_as_long_as_was_told(
    api: Caller, printed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Queue, "read_log", lambda _queue, _id, start, _end: iter([printed[start : start + 3]]))
    answer = api.ask("GET", LOG)
    assert (answer.content, answer.headers["content-length"]) == (printed[:3] + bytes(7), "10")


def test_following_ends_when_the_server_is_about_to(api: Caller, queue: Queue) -> None:
    queue.enqueue("true", id="one")
    looks = iter([False, False, True])
    api.door.closing = lambda: next(looks)
    assert api.ask("GET", f"{LOG}/follow").events() == []


def test_one_attempt_has_a_log_of_its_own(api: Caller, queue: Queue, hand: Hand, printed: bytes) -> None:
    queue.enqueue("echo $QUEUECTL_ATTEMPT; exit 1", id="two", backoff_base=0)
    hand.run("two")
    wait_until(lambda: queue.status().next_retry_at)
    hand.run("two")
    assert api.ask("GET", "/api/v1/jobs/two/log?attempt=2").text == "2\n"
    assert api.status("GET", "/api/v1/jobs/two/log?attempt=3") == 404


def test_a_job_that_has_not_run_has_an_empty_log(api: Caller, queue: Queue) -> None:
    queue.enqueue("true", id="one")
    answer = api.ask("GET", LOG)
    assert (answer.status, answer.content) == (200, b"")


def test_the_end_of_an_empty_log_is_no_error(api: Caller, queue: Queue) -> None:
    queue.enqueue("true", id="one")
    answer = api.ask("GET", LOG, headers={"range": "bytes=-100"})
    assert (answer.status, answer.headers["content-length"]) == (200, "0")


@pytest.mark.parametrize("id", ["nothing", "..%2Fcompleted"])
def test_there_is_no_log_without_a_job(api: Caller, id: str) -> None:
    assert api.status("GET", f"/api/v1/jobs/{id}/log") == 404
    assert api.status("GET", f"/api/v1/jobs/{id}/log/follow") == 404


def test_following_a_job_that_has_ended_tells_all_and_the_end(api: Caller, printed: bytes) -> None:
    assert api.ask("GET", f"{LOG}/follow").events() == [("log", "0123456789"), ("end", "completed")]


def test_following_goes_on_where_the_client_was(api: Caller, printed: bytes) -> None:
    assert api.ask("GET", f"{LOG}/follow", headers={"last-event-id": "8"}).events()[0] == ("log", "89")
    assert api.ask("GET", f"{LOG}/follow?from=6").events()[0] == ("log", "6789")


def test_following_hears_what_is_printed_meanwhile(api: Caller, queue: Queue, hand: Hand) -> None:
    queue.enqueue(f"echo first; while ! [ -e {queue.path}/go ]; do sleep 0.02; done; echo last", id="one")
    worker = threading.Thread(target=hand.run, args=("one",))
    worker.start()

    def heard(answer: Answer) -> bool:
        if b"first" in answer.content:
            (queue.path / "go").touch()
        return False

    events = api.ask("GET", f"{LOG}/follow", until=heard).events()
    worker.join()
    assert "".join(text for name, text in events if name == "log") == "first\nlast\n"
    assert events[-1] == ("end", "completed")


def test_a_character_is_never_cut_in_two(
    api: Caller, queue: Queue, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.enqueue(["printf", "%s", "aé\N{SNOWMAN}\N{GRINNING FACE}" * 3 + "z"], id="one")
    hand.run("one")
    for piece in range(1, 9):
        monkeypatch.setattr("queuectl.api.logs.PIECE", piece)
        texts = [text for name, text in api.ask("GET", f"{LOG}/follow").events() if name == "log"]
        assert "".join(texts) == "aé\N{SNOWMAN}\N{GRINNING FACE}" * 3 + "z"


def test_bytes_that_are_no_text_are_shown_as_such_and_end_nothing(api: Caller, queue: Queue, hand: Hand) -> None:
    queue.enqueue(r"printf 'a\377b\303'", id="one")
    hand.run("one")
    texts = [text for name, text in api.ask("GET", f"{LOG}/follow").events() if name == "log"]
    assert "".join(texts) == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"


def test_whoever_goes_on_from_an_event_gets_the_rest_whole(
    api: Caller, queue: Queue, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "aé\N{SNOWMAN}z"
    queue.enqueue(["printf", "%s", text], id="one")
    hand.run("one")
    monkeypatch.setattr("queuectl.api.logs.PIECE", 2)
    blocks = api.ask("GET", f"{LOG}/follow").text.split("\n\n")
    ids = [block.split()[1] for block in blocks if block.startswith("id: ")]
    heard = ""
    for number, id in enumerate(ids[:-1]):
        heard += api.ask("GET", f"{LOG}/follow").events()[number][1]
        rest = api.ask("GET", f"{LOG}/follow", headers={"last-event-id": id}).events()
        assert heard + "".join(part for name, part in rest if name == "log") == text
    assert len(ids) > 3


@pytest.mark.parametrize("start", ["x", "-1", "1.5", "9" * 19, "²"])
def test_an_offset_that_is_none_is_refused(api: Caller, printed: bytes, start: str) -> None:
    assert api.status("GET", f"{LOG}/follow?from={start}") == 422
