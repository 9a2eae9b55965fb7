from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from queuectl.channel import Reader, Writer

Pipe = tuple[Reader, Writer]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    read, write = os.pipe()
    yield Reader(read), Writer(write, blocking=False)
    for fd in (read, write):
        with contextlib.suppress(OSError):
            os.close(fd)


def test_words_come_out_in_the_order_in_which_they_went_in(pipe: Pipe) -> None:
    reader, writer = pipe
    assert writer.say("idle")
    assert writer.say("try", "pending/a.json")
    assert reader.words() == [("idle", ""), ("try", "pending/a.json")]


def test_a_word_is_read_once(pipe: Pipe) -> None:
    reader, writer = pipe
    writer.say("scan")
    assert (reader.words(), reader.words()) == ([("scan", "")], [])


def test_reading_does_not_wait_for_a_word(pipe: Pipe) -> None:
    reader, _ = pipe
    assert reader.words() == []
    assert not reader.ended


@pytest.mark.parametrize("argument", ["a b c", " ", "pending/with\nnewline.json", "pending/\udcff\udcfe.json", "ä🌱"])
def test_an_argument_may_hold_whatever_a_file_name_may(pipe: Pipe, argument: str) -> None:
    reader, writer = pipe
    writer.say("try", argument)
    assert reader.words() == [("try", argument)]


def test_half_a_word_is_kept_until_the_rest_comes(pipe: Pipe) -> None:
    reader, writer = pipe
    os.write(writer.fd, b"idle\0try pend")
    assert reader.words() == [("idle", "")]
    os.write(writer.fd, b"ing/a\0")
    assert reader.words() == [("try", "pending/a")]


def test_pieces_are_the_words_as_they_were_written(pipe: Pipe) -> None:
    reader, writer = pipe
    os.write(writer.fd, b"pending/a b\0\xff\0")
    assert reader.pieces() == [b"pending/a b", b"\xff"]


def test_more_than_one_read_takes_is_read_at_once(pipe: Pipe) -> None:
    reader, writer = pipe
    count = 0
    while writer.say("try", "x" * 1000):
        count += 1
    assert count > 60
    assert reader.words() == [("try", "x" * 1000)] * count


def test_a_full_pipe_does_not_block_who_writes(pipe: Pipe) -> None:
    _, writer = pipe
    while writer.say("cancel", "x" * 100):
        pass
    assert not writer.say("stop", "x" * 100)


def test_the_reader_notices_that_the_writer_has_gone(pipe: Pipe) -> None:
    reader, writer = pipe
    writer.say("count", "1 2 3")
    os.close(writer.fd)
    assert reader.words() == [("count", "1 2 3")]
    assert reader.ended


def test_half_a_word_of_a_writer_that_has_gone_is_no_word(pipe: Pipe) -> None:
    reader, writer = pipe
    os.write(writer.fd, b"scan\0sto")
    os.close(writer.fd)
    assert reader.words() == [("scan", "")]


def test_the_writer_is_told_that_the_reader_has_gone(pipe: Pipe) -> None:
    reader, writer = pipe
    os.close(reader.fd)
    assert not writer.say("idle")


def test_a_blocking_writer_writes_too(pipe: Pipe) -> None:
    reader, writer = pipe
    assert Writer(writer.fd, blocking=True).say("idle", "-")
    assert os.get_blocking(writer.fd)
    assert reader.words() == [("idle", "-")]
