from __future__ import annotations

from pathlib import Path

import pytest

from queuectl import errors
from queuectl.errors import AmbiguousId, BadJobFile, QueuectlError


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("UsageError", 2),
        ("NotFound", 3),
        ("AmbiguousId", 4),
        ("Conflict", 5),
        ("Refused", 6),
        ("TimedOut", 124),
    ],
)
def test_every_error_ends_the_command_line_with_the_code_of_the_manual(name: str, code: int) -> None:
    assert getattr(errors, name).exit_code == code
    assert issubclass(getattr(errors, name), QueuectlError)


def test_an_error_carries_what_to_type() -> None:
    assert QueuectlError("no spool here", hint="queuectl init").hint == "queuectl init"
    assert QueuectlError("no spool here").hint is None


def test_an_ambiguous_id_shows_ten_candidates_and_that_there_are_more() -> None:
    error = AmbiguousId("a", [f"a{number}" for number in range(11)])
    assert error.hint == "one of: a0 a1 a2 a3 a4 a5 a6 a7 a8 a9 …"
    assert len(error.candidates) == 11
    assert AmbiguousId("a", ["a1", "a2"]).hint == "one of: a1 a2"


def test_a_bad_job_file_is_whole_unless_somebody_says_otherwise() -> None:
    assert (BadJobFile("x").whole, BadJobFile("x", whole=False).whole) == (True, False)
    assert str(BadJobFile("empty", whole=False)) == "empty"


def test_a_path_in_a_hint_can_be_typed_as_it_stands() -> None:
    assert errors.quoted(Path("/a b/c'd")) == "'/a b/c'\"'\"'d'"
    assert errors.quoted("/plain") == "/plain"
