"""Options and a job's own fields, one laid over the other: over a single job, under each job of a file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from queuectl.errors import UsageError
from queuectl.job import Job, check
from queuectl.variables import variable

_MERGED = ("env", "resources", "meta")


def lay_over(job: Job, fields: dict[str, Any]) -> Job:
    """Let `fields` win over the job's own; variables and notes are merged by name."""
    for name, value in fields.items():
        setattr(job, name, {**(getattr(job, name) or {}), **value} if name in _MERGED else value)
    return job


def lay_under(job: Job, data: bytes, fields: dict[str, Any]) -> Job:
    """Let the job's own fields win over `fields`; `data` is its JSON, or empty when it has no fields of its own."""
    for name, value in fields.items():
        own = getattr(job, name)
        if name in _MERGED:
            setattr(job, name, {**value, **(own or {})})
        elif own is None or (name == "priority" and not _has(data, name)):
            setattr(job, name, value)
    if len(fields) > ("cwd" in fields):  # what the job's own bytes say has been checked, and our directory is one
        check(job)
    return job


def _has(data: bytes, key: str) -> bool:
    """Say whether a JSON object holds a key: a priority that is the default may have been chosen."""
    return bool(data) and key in msgspec.json.decode(data)


def pairs(option: str, words: Iterable[str]) -> dict[str, str]:
    """Read `K=V` words."""
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"{option} {word!r} is not K=V")
        found[key] = value
    return found


def copy_variable(word: str) -> tuple[str, str]:
    """Read `NAME=VALUE`, or `NAME` for the value that this process has."""
    name, equals, value = word.partition("=")
    if not name:
        raise UsageError(f"-e {word!r} is not NAME=VALUE or NAME")
    if equals:
        return name, value
    copied = variable(name)
    if copied is None:
        raise UsageError(f"-e {name}: not set in this environment", hint=f"-e {name}=VALUE sets it")
    return name, copied
