"""Queue what `enqueue` has read, report it in the form asked for, and with `--wait` stay until it has ended."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from queuectl import clock
from queuectl.cli import output, phrases

if TYPE_CHECKING:
    from queuectl.job import Job
    from queuectl.queue import Queue

_BAR_FROM = 200  # jobs; fewer are queued before a bar could be read


def submit(queue: Queue, jobs: list[Job], *, wait: bool, quiet: bool, as_json: bool) -> None:
    """Queue all jobs or none; show them; with `wait` end with their result."""
    if not jobs:
        output.note("no jobs in the file")
        return
    _echo(jobs, terminal=output.is_terminal() and not (quiet or as_json))
    done = _queue(queue, jobs)
    if wait:
        _stay(queue, done, quiet=quiet, as_json=as_json)
    else:
        _show(done, quiet=quiet, as_json=as_json)


def _echo(jobs: list[Job], *, terminal: bool) -> None:
    """Say what was understood of a time or a duration; on a terminal the job's own line says the time."""
    if len(jobs) > 1:
        return
    job = jobs[0]
    if job.run_at and not terminal:
        output.note(f"run at {phrases.moment(clock.uniso(job.run_at))}")
    if job.timeout_s:
        output.note(f"timeout {clock.brief(job.timeout_s)}")


def _queue(queue: Queue, jobs: list[Job]) -> list[Job]:
    if len(jobs) < _BAR_FROM or not sys.stderr.isatty():
        return queue.enqueue_many(jobs, checked=True)
    from queuectl.cli.progress import Progress

    with Progress("Enqueueing") as bar:
        return queue.enqueue_many(jobs, progress=lambda done: bar(done, len(jobs)), checked=True)


def _show(jobs: list[Job], *, quiet: bool, as_json: bool) -> None:
    if quiet:
        output.line("\n".join(job.id for job in jobs))
    elif as_json or not output.is_terminal():
        for job in jobs:
            output.record(job)
    else:
        columns = output.terminal_width()
        for job in jobs:
            output.line(phrases.enqueued(job, columns))


def _stay(queue: Queue, jobs: list[Job], *, quiet: bool, as_json: bool) -> None:
    """Wait for the jobs; stdout is the job's own output, or its id or final JSON when that was asked for."""
    from queuectl.cli.wait import await_end, warn_without_workers

    ids = [job.id for job in jobs]
    if quiet:
        _show(jobs, quiet=True, as_json=False)
    elif not as_json:
        for job in jobs:
            output.note(phrases.enqueued(job, 10_000))
    sys.stdout.flush()
    if len(ids) == 1 and not (quiet or as_json):
        warn_without_workers(queue, ids)
        for piece in queue.follow(ids[0]):
            output.raw(piece)
        ended = queue.wait(ids)
    else:
        ended = await_end(queue, ids)
        if as_json:
            _show(ended, quiet=False, as_json=True)
        elif not quiet:
            for job in ended:
                output.raw(queue.logs(job.id))
    _finish(ended)


def _finish(jobs: list[Job]) -> None:
    """Name the jobs that did not complete, and end with the result: the command's exit code, if one job has one."""
    bad = [job for job in jobs if job.state != "completed"]
    for job in bad:
        output.note(f"job {job.id} is {job.state}: {job.last_error or 'no reason recorded'}")
    if bad:
        code = jobs[0].exit_code if len(jobs) == 1 else None
        raise click.exceptions.Exit(code if code is not None and 1 <= code <= 255 else 1)
