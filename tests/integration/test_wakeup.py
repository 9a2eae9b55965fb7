from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import wait_until

from queuectl import channel, wakeup
from queuectl.wakeup import Watch, WatchUnavailable


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    return tmp_path / "here"


@pytest.fixture
def watch(here: Path) -> Iterator[Watch]:
    made = Watch()
    try:
        made.arm({"here": str(here)})
    except WatchUnavailable as error:
        pytest.skip(f"no file notification here: {error}")
    yield made
    made.close()


def arrive(place: Path, name: str) -> None:
    """Let a complete file arrive by rename."""
    draft = place.parent / f".{name}"
    draft.write_bytes(b"x")
    os.rename(draft, place / name)


def until(watch: Watch, place: Path, tag: str = "here") -> list[tuple[str, str]]:
    """Return all events up to the one of a file that arrives now."""
    arrive(place, "last")
    found: list[tuple[str, str]] = []
    while (tag, "last") not in found:
        more = watch.wait(30)
        assert more, "no event in time"
        found += more
    return found[: found.index((tag, "last"))]


def test_a_file_that_is_renamed_into_the_directory_is_reported(watch: Watch, here: Path) -> None:
    arrive(here, "a.json")
    assert until(watch, here) == [("here", "a.json")]


def test_a_file_that_is_written_there_is_reported_when_it_is_created_and_when_it_is_complete(
    watch: Watch, here: Path
) -> None:
    with open(here / "a.json", "wb") as file:
        assert until(watch, here) == [("here", "a.json")]
        file.write(b"half")
        file.flush()
        assert until(watch, here) == []
    assert until(watch, here) == [("here", "a.json")]


def test_a_link_to_a_file_elsewhere_is_reported(watch: Watch, here: Path) -> None:
    outside = here.parent / "outside"
    outside.write_bytes(b"x")
    os.link(outside, here / "a.json")
    assert until(watch, here) == [("here", "a.json")]


def test_a_file_that_is_deleted_is_reported(watch: Watch, here: Path) -> None:
    arrive(here, "paused")
    until(watch, here)
    os.unlink(here / "paused")
    assert until(watch, here) == [("here", "paused")]


def test_a_file_that_is_renamed_out_of_the_directory_is_not_reported(watch: Watch, here: Path) -> None:
    arrive(here, "a.json")
    until(watch, here)
    os.rename(here / "a.json", here.parent / "there" / "a.json")
    assert until(watch, here) == []


def test_a_file_that_is_renamed_within_the_directory_is_reported_by_its_new_name(watch: Watch, here: Path) -> None:
    arrive(here, "a.json")
    until(watch, here)
    os.rename(here / "a.json", here / "b.json")
    assert until(watch, here) == [("here", "b.json")]


def test_a_directory_that_arrives_is_not_reported(watch: Watch, here: Path) -> None:
    (here.parent / "folder").mkdir()
    os.rename(here.parent / "folder", here / "folder")
    assert until(watch, here) == []


@pytest.mark.parametrize("name", ["a b.json", "new\nline", "ä🌱", "\udcff\udcfe", "x" * 255, "-", "%s"])
def test_any_name_that_the_file_system_allows_is_reported_as_it_is(watch: Watch, here: Path, name: str) -> None:
    (here / name).write_bytes(b"x")
    assert until(watch, here) == [("here", name), ("here", name)]


def test_waiting_ends_without_events_after_its_time(watch: Watch) -> None:
    assert watch.wait(0.01) == []


def test_an_event_is_reported_once(watch: Watch, here: Path) -> None:
    until(watch, here)
    assert watch.read() == []


def test_two_directories_are_told_apart_by_their_tags(watch: Watch, here: Path) -> None:
    there = here.parent / "there"
    watch.arm({"there": str(there)})
    arrive(here, "a")
    until(watch, here)
    arrive(there, "b")
    assert until(watch, there, "there") == [("there", "b")]


def test_a_directory_that_is_disarmed_is_silent(watch: Watch, here: Path) -> None:
    there = here.parent / "there"
    watch.arm({"there": str(there)})
    until(watch, there, "there")
    watch.disarm("there", "never armed")
    arrive(there, "a")
    assert until(watch, here) == []


def test_a_directory_can_be_armed_again(watch: Watch, here: Path) -> None:
    watch.disarm("here")
    watch.arm({"here": str(here)})
    arrive(here, "a")
    assert until(watch, here) == [("here", "a")]


def test_arming_twice_reports_once(watch: Watch, here: Path) -> None:
    watch.arm({"here": str(here)})
    arrive(here, "a")
    assert until(watch, here) == [("here", "a")]


def test_a_directory_behind_a_symbolic_link_is_watched(watch: Watch, here: Path) -> None:
    link = here.parent / "link"
    link.symlink_to(here.parent / "there")
    watch.arm({"link": str(link)})
    arrive(here.parent / "there", "a")
    assert until(watch, here.parent / "there", "link") == [("link", "a")]


def test_a_directory_that_is_not_there_cannot_be_watched(tmp_path: Path) -> None:
    watch = Watch()
    with pytest.raises(WatchUnavailable):
        watch.arm({"x": str(tmp_path / "no-such")})
    watch.close()


def test_a_watch_that_was_never_armed_can_be_closed() -> None:
    watch = Watch()
    fd = watch.fd
    watch.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_closing_a_watch_ends_its_threads(here: Path) -> None:
    before = threading.active_count()
    watch = Watch()
    watch.arm({"here": str(here)})
    assert threading.active_count() > before
    watch.close()
    wait_until(lambda: threading.active_count() <= before, what="the threads to end")


def test_more_events_than_the_pipe_holds_stop_nothing(watch: Watch, here: Path) -> None:
    for number in range(400):
        arrive(here, f"{number:03}{'x' * 240}")
    wait_until(lambda: len(watch.read()) > 0)
    found: set[str] = set()

    def heard() -> bool:
        arrive(here, "again")
        found.update(name for _, name in watch.read())
        return "again" in found

    wait_until(heard, what="an event after the pipe was full")


# The listener's side.


class Listener:
    """`wakeup.serve` in a thread, with both its pipes."""

    def __init__(self, directories: dict[str, str]) -> None:
        orders, self.orders = os.pipe()
        events, out = os.pipe()
        self.events = channel.Reader(events)
        self._thread = threading.Thread(target=self._serve, args=(orders, out, directories))
        self._thread.start()

    def _serve(self, orders: int, out: int, directories: dict[str, str]) -> None:
        wakeup.serve(orders, out, directories)  # its watch still has `out`, which ends with the process

    def order(self, line: str) -> None:
        os.write(self.orders, line.encode() + b"\n")

    def hear(self) -> list[tuple[str, str]]:
        return wait_until(lambda: [wakeup.split(piece) for piece in self.events.pieces()])

    def end(self) -> None:
        os.close(self.orders)
        self._thread.join(30)
        os.close(self.events.fd)
        assert not self._thread.is_alive()


@pytest.fixture
def listener(here: Path) -> Iterator[Listener]:
    made = Listener({"here": str(here), "there": str(here.parent / "there"), "gone": str(here / "no-such")})
    yield made
    made.end()


def test_a_listener_says_when_it_has_armed_and_then_what_arrives(listener: Listener, here: Path) -> None:
    listener.order("arm here there")
    assert listener.hear() == [("armed", "here there")]
    arrive(here, "a")
    assert listener.hear() == [("here", "a")]


def test_a_listener_says_why_there_is_nothing_to_hear(listener: Listener) -> None:
    listener.order("arm gone")
    ((tag, why),) = listener.hear()
    assert (tag, bool(why)) == ("unavailable", True)


def test_a_listener_goes_on_after_a_disarming(listener: Listener) -> None:
    for line in ("arm here", "disarm here", "arm there", "arm here"):
        listener.order(line)
    said: list[tuple[str, str]] = []
    wait_until(lambda: said.extend(listener.hear()) or len(said) == 3)  # type: ignore[func-returns-value]
    assert said == [("armed", "here"), ("armed", "there"), ("armed", "here")]
