"""`logs`: what a job printed, as it printed it."""

from __future__ import annotations

import click

from queuectl.cli import output
from queuectl.cli.context import open_queue
from queuectl.cli.options import Family, json_option, one_id, resolve_one


@click.group("logs", cls=Family, default="show", takes_words=True)
def logs() -> None:
    r"""Show what a job printed.

    \b
      queuectl logs 3f9a
      queuectl logs -f 3f9a
      queuectl logs 3f9a --attempt 2
    """


@logs.command("show")
@one_id
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended, also from before it starts.")
@click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="Only what this run printed.")
@json_option
def show(id: str, follow: bool, attempt: int | None, as_json: bool) -> None:
    r"""Show a job's output, bytes unchanged.

    \b
      queuectl logs show 3f9a
      queuectl logs show 3f9a --follow
    """
    if follow and (attempt is not None or as_json):
        raise click.UsageError("--follow goes with neither --attempt nor --json")
    queue = open_queue()
    found = resolve_one(queue, id)
    if follow:
        from queuectl.cli.wait import warn_without_workers

        warn_without_workers(queue, [found])
        for piece in queue.follow(found):
            output.raw(piece)
        return
    data = queue.logs(found, attempt=attempt)
    if as_json:
        output.document({"id": found, "attempt": attempt, "output": data.decode("utf-8", "replace")})
    else:
        output.raw(data)
