"""The plain enqueue without the parser: `queuectl [--spool DIR] enqueue [-q] CMD` or `… -- PROG ARG…`, into a pipe.

Scripts run it thousands of times, and loading the parser takes longer than queueing the job. Whatever is not exactly
this form, prints for a person, or has to make a spool, goes the long way, which does the same.
"""

from __future__ import annotations

import os
import sys

from queuectl import plain
from queuectl.cli.place import nearest_spool
from queuectl.variables import variable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_QUIET = ("-q", "--quiet")


def try_enqueue(arguments: Sequence[str]) -> int | None:
    """Queue the job of a plain command line and return the exit code; None when it is not one."""
    words = list(arguments)
    spool = _take_spool(words)
    if not words or words.pop(0) != "enqueue":
        return None
    spool = _take_spool(words) or spool
    quiet = bool(words) and words[0] in _QUIET
    if quiet:
        words.pop(0)
    command = _command(words)
    if command is None or None in (sys.stdin, sys.stdout, sys.stderr) or not (quiet or not sys.stdout.isatty()):
        return None
    found = None if spool == "" else _existing(spool)
    return None if found is None else _enqueue(found, command, quiet=quiet)


def _take_spool(words: list[str]) -> str | None:
    if words and words[0].startswith("--spool="):
        return words.pop(0).removeprefix("--spool=")
    if len(words) > 1 and words[0] == "--spool":
        del words[0]
        return words.pop(0)
    return None


def _command(words: list[str]) -> str | list[str] | None:
    if len(words) > 2 and words[0] == "--":
        return words[1:]
    if len(words) == 1 and not words[0].startswith("-") and not words[0].lstrip().startswith("{"):
        return words[0]
    return None


def _existing(spool: str | None) -> str | None:
    """Return the path of the spool that is meant, if it is there."""
    named = spool if spool is not None else variable("QUEUECTL_SPOOL")
    try:
        here = os.getcwd()
    except FileNotFoundError:
        return None
    found = os.path.abspath(named) if named else nearest_spool(here)
    return found if found and plain.is_spool(found) else None


def _enqueue(path: str, command: str | list[str], *, quiet: bool) -> int | None:
    from queuectl.errors import QueuectlError

    try:
        queued = plain.enqueue(path, command)
        if queued is None:
            return None
        id, line = queued
        _show(id + "\n" if quiet else line)
    except (QueuectlError, OSError) as error:
        from queuectl.cli import failures

        return failures.report(error)
    return 0


def _show(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        error.filename = "stdout"
        raise
