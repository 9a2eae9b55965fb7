"""`wait`: block until jobs have ended, and say by the exit code whether all of them completed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from queuectl import clock
from queuectl.cli import output
from queuectl.cli.context import open_queue
from queuectl.cli.options import DURATION, Verb, any_ids, json_option, words_of
from queuectl.cli.progress import Progress

if TYPE_CHECKING:
    from queuectl.job import Job
    from queuectl.queue import Queue

NOT_COMPLETED = 1
ENDED = ("completed", "dead")


@click.command("wait", cls=Verb)
@any_ids
@click.option("--timeout", type=DURATION, metavar="DUR", help="Give up after this time, and exit 124.")
@json_option
def wait(ids: tuple[str, ...], timeout: float | None, as_json: bool) -> None:
    r"""Wait until these jobs, or all jobs, have ended.

    Exits 0 when they all completed and 1 when one did not. In a pipe: a line a job with its id, state, exit code and
    last error.

    \b
      queuectl wait
      queuectl wait 3f9a 77b2 --timeout 1.5h
      queuectl enqueue -q -f jobs.jsonl | queuectl wait -
    """
    queue = open_queue()
    words = words_of(ids)
    if ids and not words:
        return
    if timeout is not None:
        output.note(f"gives up after {clock.brief(timeout)}")
    jobs = await_end(queue, queue.resolve(words) if words else None, timeout)
    if as_json:
        output.array(jobs)
    else:
        _report(jobs)
    if any(job.state != "completed" for job in jobs):
        raise click.exceptions.Exit(NOT_COMPLETED)


def await_end(queue: Queue, ids: list[str] | None, timeout: float | None = None) -> list[Job]:
    """Block until the jobs have ended, with a progress bar for whoever watches; raises `TimedOut`."""
    warn_without_workers(queue, ids)
    with Progress("Waiting") as bar:
        return queue.wait(ids, timeout=timeout, progress=bar if bar.enabled else None)


def warn_without_workers(queue: Queue, ids: list[str] | None) -> None:
    """Say so when nobody is there to run what is being waited for."""
    if queue.workers():
        return
    if ids is None:
        counts = queue.counts()
        open_ones = any(count for state, count in counts.items() if state not in ENDED)
    else:
        open_ones = any(queue.get(id).state not in ENDED for id in ids)
    if open_ones:
        output.note("no worker is running; queuectl worker start runs one")


def _report(jobs: list[Job]) -> None:
    from queuectl.cli import phrases

    human = output.is_terminal()
    rows = [
        [job.id, str(job.state), "" if job.exit_code is None else str(job.exit_code), job.last_error or ""]
        for job in jobs
        if not human or job.state != "completed"
    ]
    if rows:
        output.table(("ID", "STATE", "EXIT", "LAST_ERROR"), rows)
    if human:
        completed = sum(job.state == "completed" for job in jobs)
        output.note(f"{phrases.counted(len(jobs), 'job')} ended: {completed} completed, {len(jobs) - completed} dead")
