"""The verbs that change jobs one by one, and those that pause the queue.

Several ids are taken one after another: each gets its line, an error of one does not keep the others from their
turn, and the exit code is that of the first error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

from queuectl.cli import failures, output
from queuectl.cli.context import open_queue
from queuectl.cli.options import Verb, json_option, some_ids, words_of
from queuectl.errors import QueuectlError

if TYPE_CHECKING:
    from queuectl.job import Job
    from queuectl.queue import Queue


def change_each(queue: Queue, ids: Iterable[str], act: Callable[[str], Job], done: str, *, as_json: bool) -> None:
    """Apply `act` to every id, report each, and end with the first error's exit code."""
    words = words_of(ids)
    found = _found(queue, words)
    code = 0
    changed: list[Job] = []
    for word in words:
        try:
            job = act(found.get(word) or queue.resolve([word])[0])
        except QueuectlError as error:
            reported = failures.report(error)
            code = code or reported
            continue
        changed.append(job)
        if not as_json:
            output.line(f"{done} {output.shown(job.id)}")
    if as_json:
        output.array(changed)
    if code:
        raise click.exceptions.Exit(code)


def _found(queue: Queue, words: list[str]) -> dict[str, str]:
    """Resolve all prefixes in one scan; when one of them is bad, leave each to its own turn."""
    try:
        found = queue.resolve(words) if words else []
    except QueuectlError:
        return {}
    return dict(zip(words, found, strict=True)) if len(found) == len(words) else {}


@click.command("retry", cls=Verb)
@some_ids
@json_option
def retry(ids: tuple[str, ...], as_json: bool) -> None:
    r"""Run ended jobs again, as if for the first time.

    \b
      queuectl retry 3f9a
      queuectl list --state dead | grep backup | queuectl retry -
    """
    queue = open_queue()
    change_each(queue, ids, queue.retry, "Retrying", as_json=as_json)


@click.command("cancel", cls=Verb)
@some_ids
@json_option
def cancel(ids: tuple[str, ...], as_json: bool) -> None:
    r"""Withdraw waiting jobs, end running ones.

    They go to the dead letter queue, marked as cancelled.

    \b
      queuectl cancel 3f9a 77b2
    """
    queue = open_queue()
    change_each(queue, ids, queue.cancel, "Cancelled", as_json=as_json)


@click.command("rm", cls=Verb)
@some_ids
@json_option
def remove(ids: tuple[str, ...], as_json: bool) -> None:
    r"""Delete jobs that are not running, with their logs.

    \b
      queuectl rm 3f9a
      queuectl list --state completed | queuectl rm -
    """
    queue = open_queue()
    change_each(queue, ids, queue.remove, "Removed", as_json=as_json)


@click.command("pause", cls=Verb)
def pause() -> None:
    r"""Let workers take no new jobs; running ones go on.

    \b
      queuectl pause
    """
    queue = open_queue()
    queue.pause()
    output.line("Paused: running jobs go on, no new ones start")


@click.command("resume", cls=Verb)
def resume() -> None:
    r"""Let workers take new jobs again.

    \b
      queuectl resume
    """
    queue = open_queue()
    queue.resume()
    output.line("Resumed")
