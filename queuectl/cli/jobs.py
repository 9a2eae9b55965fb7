"""`list` and `show`: what jobs there are, and one of them whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from queuectl.cli import output
from queuectl.cli.context import open_queue
from queuectl.cli.options import Verb, json_option, one_id, resolve_one, wide_option

if TYPE_CHECKING:
    from queuectl.config import Config
    from queuectl.job import Job

STATES = ("pending", "processing", "completed", "failed", "dead")
COLUMNS = ("ID", "STATE", "PRI", "ATTEMPTS", "MAX", "WHEN", "COMMAND", "LAST_ERROR")


@click.command("list", cls=Verb)
@click.option("--state", type=click.Choice(STATES), help="Only the jobs in this state.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most this many jobs.")
@wide_option
@json_option
def list_jobs(state: str | None, limit: int | None, wide: bool, as_json: bool) -> None:
    r"""List all jobs, or those in one state.

    MAX is the most runs that a job may have. WHEN is the time that matters in its state: when it is due, since when
    it runs, when it ended. In a pipe the columns are separated by tabs.

    \b
      queuectl list
      queuectl list --state failed --limit 20
      queuectl list --json | jq -r '.[].id'
    """
    queue = open_queue()
    jobs = queue.jobs(state, limit=limit)
    if as_json:
        output.array(jobs)
        return
    rows = _rows(jobs, queue.config())
    if not output.is_terminal():
        output.table(COLUMNS, rows)
    elif held := list(rows):
        output.table(COLUMNS, held, wide=wide)
    else:
        output.note(f"No {state} jobs" if state else "No jobs")


def _rows(jobs: Iterable[Job], config: Config) -> Iterator[list[str]]:
    from queuectl.cli import phrases

    human = output.is_terminal()
    for job in jobs:
        retries = config.max_retries if job.max_retries is None else job.max_retries
        yield [
            job.id,
            str(job.state),
            str(job.priority),
            str(job.attempts),
            str(retries + 1),
            phrases.when(job, human=human),
            phrases.command(job),
            job.last_error or "",
        ]


@click.command("show", cls=Verb)
@one_id
@json_option
def show(id: str, as_json: bool) -> None:
    r"""Show one job whole, with every attempt.

    \b
      queuectl show 3f9a
      queuectl show 3f9a --json
    """
    queue = open_queue()
    job = queue.get(resolve_one(queue, id))
    if as_json:
        output.document(job)
        return
    facts = list(_facts(job, queue.config()))
    if job.state == "processing" and (host := queue.hosts().get(job.id)):
        facts.append(("running_on", host))
    _block(facts)
    _attempts(job)


def _block(facts: list[tuple[str, str]]) -> None:
    """Write names and values: a readable block on a terminal, `name<TAB>value` in a pipe."""
    human = output.is_terminal()
    colour = output.use_colour()
    for name, value in facts:
        text = output.shown(value)
        if name == "state":
            text = output.paint(text, value, colour=colour)
        label = f"{name.replace('_', ' ').capitalize()}:".ljust(14) if human else f"{name}\t"
        output.line(label + text)


def _facts(job: Job, config: Config) -> Iterator[tuple[str, str]]:
    from queuectl.cli import phrases

    human = output.is_terminal()
    yield "id", job.id
    yield "state", str(job.state)
    yield "command", phrases.command(job)
    yield "run_by", "/bin/sh -c" if job.shell else "itself, without a shell"
    yield "directory", job.cwd or "the worker's"
    yield "priority", str(job.priority)
    retries = config.max_retries if job.max_retries is None else job.max_retries
    yield "attempts", f"{job.attempts} of {retries + 1}" if human else str(job.attempts)
    yield "max_retries", str(retries)
    yield "backoff_base", f"{config.backoff_base if job.backoff_base is None else job.backoff_base:g}"
    yield "timeout", _timeout(job, config)
    for name in ("created_at", "run_at", "due_at", "updated_at"):
        if value := getattr(job, name):
            yield name, phrases.instant(value, human=human)
    if job.exit_code is not None:
        yield "exit_code", str(job.exit_code)
    if job.last_error:
        yield "last_error", job.last_error
    for variable, value in (job.env or {}).items():
        yield "env", f"{variable}={value}"
    for label, amount in (job.resources or {}).items():
        yield "resource", f"{label}={amount}"
    for key, value in (job.meta or {}).items():
        yield "meta", f"{key}={_plain(value)}"


def _timeout(job: Job, config: Config) -> str:
    from queuectl import clock

    seconds = config.job_timeout_sec if job.timeout_s is None else job.timeout_s
    return clock.brief(seconds) if seconds else "none"


def _plain(value: object) -> str:
    import msgspec

    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _attempts(job: Job) -> None:
    from queuectl.cli import phrases

    human = output.is_terminal()
    if human and job.history:
        output.line("")
    rows = [
        [
            *([] if human else ["attempt"]),
            str(attempt.attempt),
            phrases.instant(attempt.started_at, human=human),
            phrases.took(attempt) if human else attempt.finished_at,
            phrases.ended(attempt),
            attempt.worker,
            attempt.host or "",
        ]
        for attempt in job.history
    ]
    if rows:
        output.table(("ATTEMPT", "STARTED", "TOOK", "ENDED", "WORKER", "HOST"), rows)
