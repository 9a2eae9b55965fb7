"""Where the spool is: named by `--spool` or `QUEUECTL_SPOOL`, else the nearest `spool/` upwards, else `./spool`.

Only the last is ever made, and only by the verbs that may: a spool that somebody named must exist, since an
unmounted disk must not look like an empty queue.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from queuectl.cli.output import note, quoted
from queuectl.cli.place import SPOOL, nearest_spool
from queuectl.errors import NotFound, UsageError
from queuectl.variables import variable

if TYPE_CHECKING:
    from queuectl.queue import Queue


def named_spool() -> str | None:
    """Return the spool that the command line or the environment names, as an absolute path."""
    ctx = click.get_current_context(silent=True)
    given = ctx.meta.get("queuectl.spool") if ctx else None
    if given == "":
        raise UsageError("--spool names no directory")
    named = given or variable("QUEUECTL_SPOOL")
    return os.path.abspath(named) if named else None


def here() -> str:
    """Return the caller's directory; raises `NotFound` when it has been deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise NotFound("the current directory no longer exists") from None


def open_queue(*, create: bool = False) -> Queue:
    """Open the queue that this command line means; with `create`, make `./spool` when there is none at all."""
    from queuectl.queue import Queue

    named = named_spool()
    if named is not None:
        return _open_named(named)
    start = here()
    found = nearest_spool(start)
    if found is not None:
        return Queue(found)
    if not create:
        raise _no_spool(start)
    queue = Queue(os.path.join(start, SPOOL), create=True)
    note(f"made the spool {queue.path}")
    return queue


def spool_path() -> str:
    """Return the path of the spool that this command line means, without opening it."""
    found = named_spool() or nearest_spool(here())
    if found is None:
        raise _no_spool(here())
    return found


def _no_spool(start: str) -> NotFound:
    return NotFound(
        f"no spool: neither {start} nor a directory above it has one",
        hint="the first queuectl enqueue makes ./spool; --spool DIR names another",
    )


def _open_named(path: str) -> Queue:
    from queuectl.queue import Queue

    try:
        return Queue(path)
    except NotFound as error:
        raise NotFound(str(error), hint=f"queuectl init {quoted(path)}") from None
