"""A job, as its file spells it, and what makes bytes a job (docs/spool.md, "The job file").

`parse` is the one reader of job files: whatever a worker acts on has passed its checks, so nothing among the
bytes can break a worker later. It touches no file; the caller brings the bytes.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import cache
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from queuectl import clock, names
from queuectl.errors import BadJobFile, UsageError

MAX_ARGUMENT_BYTES = 131_072  # MAX_ARG_STRLEN, execve(2): one argument or variable with its NUL
MAX_DEPTH = 200  # levels of meta; Python's own limit is near 1000, less the depth of whoever calls
PRIORITIES = {"high": 9, "medium": 5, "low": 1}
DEFAULT_PRIORITY = 5
PRODUCER_KEYS = (
    *("command", "id", "priority", "run_at", "timeout"),
    *("max_retries", "backoff_base", "cwd", "env", "resources", "meta"),
)

MAX_COUNT = 999_999_999  # the nine digits of a revision in a name
Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Offset = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class State(StrEnum):
    """Where a job is: the directory that holds its file, the word in its JSON and on the command line."""

    PENDING = "pending"
    FAILED = "failed"
    PROCESSING = "processing"
    COMPLETED = "completed"
    DEAD = "dead"


class Attempt(Struct, kw_only=True, forbid_unknown_fields=True):
    """One run of a job, as its history keeps it; offsets are bytes in the job's log."""

    attempt: Count
    worker: str
    started_at: str
    finished_at: str
    host: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    error: str | None = None
    log_start: Offset = 0
    log_end: Offset = 0


class Job(Struct, kw_only=True, forbid_unknown_fields=True):
    """A job file. Only `command` is required of a producer; the keys after `meta` are queuectl's own.

    `command` is a string for `/bin/sh -c` or a list of strings run without a shell; `timeout` is in seconds (0: none);
    `backoff_base` is the base of the wait before the k-th retry; `*_at` are ISO 8601 instants in UTC; `resources` are
    what an executor may be asked for by name, `cpus`, `mem`, `gpus` or a label.
    None means: whatever the configuration says.
    """

    command: str | list[str]
    id: Annotated[str, Meta(min_length=1)] = ""
    priority: int | str = DEFAULT_PRIORITY
    run_at: str | None = None
    timeout: float | str | None = None
    max_retries: Count | None = None
    backoff_base: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    cwd: str | None = None
    env: dict[str, str] | None = None
    resources: dict[str, int | float | str] | None = None
    meta: dict[str, Any] | None = None
    state: State = State.PENDING
    attempts: Count = 0
    rev: Count = 0
    created_at: str | None = None
    updated_at: str | None = None
    due_at: str | None = None
    last_error: str | None = None
    exit_code: int | None = None
    exit: str | None = None
    history: list[Attempt] = []

    @property
    def shell(self) -> bool:
        """Whether the command is a line for the shell rather than a program with its arguments."""
        return isinstance(self.command, str)

    @property
    def level(self) -> int:
        """The priority as a number 0..9; `parse` and `check` have replaced its words."""
        return int(self.priority)

    @property
    def timeout_s(self) -> float | None:
        """The job's own timeout in seconds, None when the configuration decides."""
        return None if self.timeout is None else float(self.timeout)


# Half of a pair at the end of a string; the decoder then misses the bytes of the other half.
_LONE = re.compile(rb'\\u[dD][89abAB][0-9a-fA-F]{2}"')
_decode = msgspec.json.Decoder(Job).decode
_encode = msgspec.json.Encoder().encode


def encode(job: Job) -> bytes:
    """Return the bytes of a job file, one line of JSON; raises `UsageError` for what JSON cannot hold."""
    try:
        return _encode(job) + b"\n"
    except (TypeError, ValueError, RecursionError) as error:  # only `meta` is not checked by its type
        raise UsageError(f"meta cannot be written as JSON: {error}") from None


def parse(data: bytes) -> Job:
    """Read and check the bytes of a job file.

    Raises `BadJobFile` with the reason in one line; its `whole` is false when more bytes could make a job of them.
    """
    try:
        job = _decode(data)
    except RecursionError:
        raise BadJobFile("nested too deeply") from None
    except UnicodeDecodeError:
        raise BadJobFile("not UTF-8", whole=False) from None
    except msgspec.ValidationError as error:
        raise BadJobFile(explain(str(error)), whole=_is_whole(data)) from None
    except msgspec.DecodeError as error:
        raise BadJobFile(_not_json(data, str(error)), whole=False) from None
    try:
        check(job)
    except UsageError as error:
        raise BadJobFile(str(error)) from None
    return job


def parse_new(data: bytes) -> Job:
    """Read a job that a producer wrote: as `parse`, and no key may stand twice."""
    job = parse(data)
    check_room(job)
    twice = repeated_key(data)
    if twice is not None:
        raise BadJobFile(f"key {twice!r} stands twice")
    return job


def check_room(job: Job) -> None:
    """Check that one more attempt can be counted; raises `BadJobFile`, for its record would be readable to nobody."""
    if job.rev >= MAX_COUNT or job.attempts >= MAX_COUNT:
        field, value = ("rev", job.rev) if job.rev >= MAX_COUNT else ("attempts", job.attempts)
        raise BadJobFile(f"{field} {value} leaves no room to count on")


def repeated_key(data: bytes) -> str | None:
    """Return a key that one object among the bytes holds twice, or None; for bytes that `parse` accepted."""
    try:
        colons = data.count(b":")
        if colons == 1 or colons == len(msgspec.json.decode(data)):
            return None  # each key has a colon, so these are all the keys, and no two are the same
        _pairs_reader()(data.decode())
    except _Twice as found:
        return str(found.args[0])
    except RecursionError:
        raise BadJobFile("nested too deeply") from None
    return None


class _Twice(Exception):
    """Carries a key that stands twice out of the decoder."""


def _no_key_twice(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Twice(next(key for place, key in enumerate(keys) if key in keys[:place]))


@cache
def _pairs_reader() -> Callable[[str], object]:
    import json

    return json.JSONDecoder(object_pairs_hook=_no_key_twice).decode


def check(job: Job) -> None:
    """Check what types cannot say, and put words into numbers; raises `UsageError` naming the field."""
    if job.id and not names.is_id(job.id):
        raise UsageError(f"id {job.id[:110]!r} must be 1 to 100 of A-Z a-z 0-9 . _ - and begin with a letter or digit")
    _check_command(job.command)
    if job.priority != DEFAULT_PRIORITY:
        job.priority = parse_priority(job.priority)
    if job.timeout is not None:
        job.timeout = _seconds("timeout", job.timeout)
    if job.cwd is not None:
        _check_text("cwd", job.cwd)
        if not job.cwd.startswith("/"):
            raise UsageError(f"cwd {job.cwd!r} must be an absolute path")
    if job.env:
        _check_variables(job.env)
    if job.resources:
        check_resources(job.resources)
    if job.meta:
        _check_depth(job.meta)
    _check_instants(job)


def _check_instants(job: Job) -> None:
    if job.run_at is not None:
        _check_instant("run_at", job.run_at)
    if job.due_at == job.created_at == job.updated_at and (job.due_at is None or clock.is_iso(job.due_at)):
        return  # not there yet, or as they are at first
    for field, instant in (("due_at", job.due_at), ("created_at", job.created_at), ("updated_at", job.updated_at)):
        if instant is not None and not clock.is_iso(instant):  # another spelling than our own may be one too
            _check_instant(field, instant)


def parse_priority(value: int | str) -> int:
    """Read a priority, 0 to 9 (9 first) or high, medium, low; raises `UsageError`."""
    if isinstance(value, str):
        digit = value.isascii() and value.isdigit() and len(value) < 3
        level = int(value) if digit else PRIORITIES.get(value.lower(), -1)
    else:
        level = value
    if not 0 <= level <= 9:
        raise UsageError(f"priority {value!r} must be 0 to 9, or high, medium, low")
    return level


def check_resources(resources: Mapping[str, float | str]) -> None:
    """Check the names and the values of resources; raises `UsageError`."""
    for name, value in resources.items():
        if not _is_label(name):
            raise UsageError(f"resources: {name[:80]!r} must be 1 to 64 of A-Z a-z 0-9 . _ - and begin with a letter")
        if isinstance(value, str):
            if not _is_amount(value):
                raise UsageError(f"resources {name} {value[:80]!r} must be 1 to 200 visible characters")
        elif not 0 <= value <= _MOST_OF_ANYTHING:
            raise UsageError(f"resources {name} {value} must be 0 to {_MOST_OF_ANYTHING:.0e}")


_MOST_OF_ANYTHING = 1e18
_is_label = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}").fullmatch
_is_amount = re.compile(r"[!-~]{1,200}").fullmatch


def _check_command(command: str | list[str]) -> None:
    parts = [command] if isinstance(command, str) else command
    if not parts or not parts[0].strip():
        raise UsageError("command is empty")
    for part in parts:
        _check_text("command", part)


def _check_variables(env: Mapping[str, str]) -> None:
    for name, value in env.items():
        if not name or "=" in name:
            raise UsageError(f"env: {name!r} is not a variable's name")
        _check_text(f"env {name}", f"{name}={value}")


def _check_text(field: str, text: str) -> None:
    if "\0" in text:
        raise UsageError(f"{field} holds a NUL character")
    try:
        size = len(text.encode()) + 1
    except UnicodeEncodeError:
        raise UsageError(f"{field} holds a lone surrogate, which no program can be given") from None
    if size > MAX_ARGUMENT_BYTES:
        raise UsageError(f"{field} is longer than the {MAX_ARGUMENT_BYTES // 1024} KiB that a program can be given")


def _check_depth(meta: Any) -> None:
    """Refuse what one reader could take and another, called from deeper in its program, could not."""
    level = [meta]
    for _ in range(MAX_DEPTH + 1):
        inner = [part for part in level if isinstance(part, (dict, list))]
        if not inner:
            return
        level = [value for part in inner for value in (part.values() if isinstance(part, dict) else part)]
    raise UsageError(f"meta is nested too deeply, more than {MAX_DEPTH} levels")


def _seconds(field: str, value: float | str) -> float:
    try:
        return clock.parse_duration(value)
    except UsageError as error:
        raise UsageError(f"{field}: {error}") from None


def _check_instant(field: str, value: str) -> None:
    try:
        clock.parse_time(value, clock.now() if field == "run_at" else 0)
    except UsageError as error:
        raise UsageError(f"{field}: {error}") from None


def _not_json(data: bytes, reason: str) -> str:
    """Name what the decoder's words would hide: no bytes, another encoding, half a surrogate pair."""
    if not data.strip():
        return "empty"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "not JSON: UTF-16, but it must be UTF-8"
    if data.startswith(codecs.BOM_UTF8):
        return "not JSON: it begins with a byte order mark"
    if "surrogate" in reason or ("truncated" in reason and _LONE.search(data)):
        return "not JSON: a lone surrogate, which no program can be given"
    return f"not JSON: {reason}"


def _is_whole(data: bytes) -> bool:
    try:
        msgspec.json.decode(data)
    except msgspec.ValidationError:
        return True
    except (ValueError, RecursionError):
        return False
    return True


def explain(reason: str) -> str:
    """Turn msgspec's words into ours; an unknown key gets the nearest known one."""
    marker = "unknown field `"
    if marker not in reason:
        return reason[0].lower() + reason[1:].replace("`", "").replace(" - at $.", " in ").replace(" - at $", "")
    key = reason.split(marker, 1)[1].split("`", 1)[0]
    return f"unknown key {key!r}{nearest(key, list(Job.__struct_fields__))}"


def nearest(word: str, known: Sequence[str]) -> str:
    """Return `, did you mean 'x'?` for the known word nearest to `word`, or nothing."""
    import difflib

    close = difflib.get_close_matches(word, known, 1, 0.6)
    return f", did you mean {close[0]!r}?" if close else ""
