"""`dlq`: the dead letter queue, where the jobs lie that failed for good."""

from __future__ import annotations

import click

from queuectl.cli import output
from queuectl.cli.change import change_each
from queuectl.cli.context import open_queue
from queuectl.cli.options import Family, any_ids, json_option, wide_option


@click.group("dlq", cls=Family, default="list")
def dlq() -> None:
    r"""List the dead jobs, or bring them back.

    \b
      queuectl dlq
      queuectl dlq retry 3f9a
      queuectl dlq retry --all
    """


@dlq.command("list")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most this many jobs.")
@wide_option
@json_option
def list_dead(limit: int | None, wide: bool, as_json: bool) -> None:
    r"""List the dead jobs: id, command, attempts, last error.

    \b
      queuectl dlq list | wc -l
    """
    from queuectl.cli import phrases

    jobs = open_queue().jobs("dead", limit=limit)
    if as_json:
        output.array(jobs)
        return
    rows = ([job.id, phrases.command(job), str(job.attempts), job.last_error or ""] for job in jobs)
    if not output.is_terminal():
        output.table((), rows)
    elif held := list(rows):
        output.table(("ID", "COMMAND", "ATTEMPTS", "LAST_ERROR"), held, wide=wide)
    else:
        output.note("The dead letter queue is empty")


@dlq.command("retry")
@any_ids
@click.option("--all", "everything", is_flag=True, help="Every dead job.")
@json_option
def retry_dead(ids: tuple[str, ...], everything: bool, as_json: bool) -> None:
    r"""Bring dead jobs back to pending, attempts at 0.

    \b
      queuectl dlq retry 3f9a 77b2
      queuectl dlq retry --all
    """
    if bool(ids) == everything:
        raise click.UsageError("give ids, or --all" if not ids else "give ids or --all, not both")
    queue = open_queue()
    if not everything:
        change_each(queue, ids, lambda found: queue.retry_dead([found])[0], "Retrying", as_json=as_json)
        return
    jobs = queue.retry_dead(None)
    if as_json:
        output.array(jobs)
        return
    for job in jobs:
        output.line(f"Retrying {output.shown(job.id)}")
    if not jobs:
        output.note("The dead letter queue is empty")
