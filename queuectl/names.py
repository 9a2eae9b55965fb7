"""The grammar of file names in a spool (docs/spool.md, "Names"). Pure: touches no file and no clock.

A name is all that a scan needs to see: when a job is due, how urgent it is, which job it is, how it ended.
The identity of a job is the id in its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

SUFFIX = ".json"
STAMP_LENGTH = 19

_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_STAMP = r"[0-9]{4}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3])[0-5][0-9][0-5][0-9][0-9]{3}Z"
_is_id = re.compile(_ID).fullmatch
_waiting = re.compile(rf"({_STAMP})\.([0-9])\.({_ID})\.json").fullmatch
# The same without parts, fast: an id of 1 to 100 characters and its suffix.
is_waiting = re.compile(rf"{_STAMP}\.[0-9]\.[A-Za-z0-9][A-Za-z0-9._-]{{5,104}}(?<=\.json)").fullmatch
_running = re.compile(rf"({_STAMP})\.([0-9]{{1,9}})\.({_ID})\.json").fullmatch
_EXIT = r"[0-9]{1,3}|sig[0-9]{1,2}|timeout|lost|cancelled|nostart"
is_ended = re.compile(rf"({_STAMP})\.({_EXIT})\.({_ID})\.json").fullmatch


class WaitingName(NamedTuple):
    """A name in `pending/` or `failed/`: when it is due, its priority (9 first), its id."""

    due: str
    priority: int
    id: str

    def __str__(self) -> str:
        return f"{self.due}.{self.priority}.{self.id}.json"


class RunningName(NamedTuple):
    """A name in `processing/`: when it was claimed, the revision that its settling will have, its id."""

    started: str
    rev: int
    id: str

    def __str__(self) -> str:
        return f"{self.started}.{self.rev}.{self.id}.json"


class EndedName(NamedTuple):
    """A name in `completed/` or `dead/`: when it ended, how (`0`, `7`, `sig9`, `timeout`, …), its id."""

    ended: str
    exit: str
    id: str

    def __str__(self) -> str:
        return f"{self.ended}.{self.exit}.{self.id}.json"


Name = WaitingName | RunningName | EndedName


def waiting(name: str) -> WaitingName | None:
    """Read a name of `pending/` or `failed/`; None when it is not canonical."""
    found = _waiting(name)
    return WaitingName(found[1], int(found[2]), found[3]) if found else None


def running(name: str) -> RunningName | None:
    """Read a name of `processing/`; None when it is not canonical."""
    found = _running(name)
    return RunningName(found[1], int(found[2]), found[3]) if found else None


def ended(name: str) -> EndedName | None:
    """Read a name of `completed/` or `dead/`; None when it is not canonical."""
    found = is_ended(name)
    return EndedName(found[1], found[2], found[3]) if found else None


def is_id(text: str) -> bool:
    """Say whether `text` may be a job's id."""
    return _is_id(text) is not None


def are_alike(some: list[str]) -> bool:
    """Say of thousands of names at once whether all look like waiting jobs' with ids of our own making."""
    return bool(_joined(some))


def common_priority(some: list[str]) -> str:
    """Return the priority, as a digit, that thousands of names have in common if they are alike, else nothing."""
    text = _joined(some)
    return text[_PRIORITY_AT] if text and text[_PRIORITY_AT::_LINE] == text[_PRIORITY_AT] * len(some) else ""


def _joined(some: list[str]) -> str:
    """Return names as lines if each has the length of such a name, and its points where it has them; else nothing."""
    text = "\n".join(some) + "\n"
    count = len(some)
    if count == 0 or text.count("\n") != count:
        return ""
    # As many line breaks as names, each at the end of 44 characters: so each name has 43, those of the marks too.
    return text if all(text[at::_LINE] == mark * count for at, mark in _MARKS) else ""


def are_ours(some: list[str]) -> bool:
    """Say whether thousands of names are all canonical waiting jobs' with ids of 16 letters and digits, exactly.

    What it denies may still be canonical. Works on columns: the n-th characters of all names at once.
    """
    text = ("\n".join(some) + "\n").encode("utf-8", "surrogateescape")
    count = len(some)
    if not some or text.translate(_SHAPE) != _SHAPED * count:
        return False
    columns = [text[at::_LINE] for at in range(_LINE)]
    fixed = all(columns[at] == mark * count for at, mark in _FIXED)
    if not fixed or not all(columns[at].isdigit() for at in _DIGITS):
        return False
    return max(columns[11]) <= _FIVE and max(columns[13]) <= _FIVE and all(map(_is_hour, _hours(some, columns)))


def _hours(some: list[str], columns: list[bytes]) -> Iterable[str]:
    """Return the beginnings of names up to the hour, each at least once."""
    if all(columns[at].count(columns[at][:1]) == len(some) for at in range(11)):
        return [some[0][:11]]
    return {name[:11] for name in some}


_SHAPE = bytes(120 if chr(code).isalnum() and code < 128 else code for code in range(256))  # to an x
_SHAPED = b"x" * STAMP_LENGTH + b".x." + b"x" * 16 + b".xxxx\n"
_DIGITS = (*range(8), *range(9, 18), STAMP_LENGTH + 1)
_FIVE = ord("5")
_FIXED = ((8, b"T"), (18, b"Z"), (-5, b"j"), (-4, b"s"), (-3, b"o"), (-2, b"n"))
_is_hour = re.compile(r"[0-9]{4}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3])").fullmatch
_PRIORITY_AT = STAMP_LENGTH + 1
_LINE = STAMP_LENGTH + len(".5.") + 16 + len(SUFFIX) + 1
_MARKS = ((_LINE - 1, "\n"), (STAMP_LENGTH - 1, "Z"), (STAMP_LENGTH, "."), (_PRIORITY_AT + 1, "."))


def id_part(name: str) -> str:
    """Return the id in a canonical name of any kind, fast; nonsense for other names, so check what it finds."""
    return name.split(".", 2)[-1][: -len(SUFFIX)]


def is_drop(name: str) -> bool:
    """Say whether a name that is not canonical asks to be admitted: `*.json`, not hidden."""
    return name.endswith(SUFFIX) and not name.startswith(".")


def rejected(stamp: str, pid: int, original: str) -> str:
    """Return the name in `rejected/` for a file called `original`, cut so that `.why` still fits in 255 bytes."""
    raw = original.encode("utf-8", "surrogateescape")[:180]
    return f"{stamp}.{pid}." + raw.decode("utf-8", "surrogateescape")
