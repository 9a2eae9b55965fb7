"""`status`: the queue at a glance, once or every second."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from queuectl.cli import output
from queuectl.cli.context import open_queue
from queuectl.cli.options import Verb, json_option

if TYPE_CHECKING:
    from queuectl.queue import Queue, Status

ORDER = ("pending", "processing", "completed", "failed", "dead")
_EVERY_S = 1.0


@click.command("status", cls=Verb)
@click.option("--watch", is_flag=True, help="Show it again every second, until Ctrl-C.")
@json_option
def status(watch: bool, as_json: bool) -> None:
    r"""Show the workers and the number of jobs in each state.

    \b
      queuectl status
      queuectl status --watch
      queuectl status --json | jq .counts.pending
    """
    queue = open_queue()
    if watch:
        _watch(queue, as_json=as_json)
    elif as_json:
        output.document(as_document(queue))
    else:
        for text in _lines(queue.status()):
            output.line(text)


def _watch(queue: Queue, *, as_json: bool) -> None:
    """Redraw in place on a terminal, else write one block after another; ends with Ctrl-C."""
    import sys

    from queuectl import clock

    redraw = output.is_terminal() and not as_json
    output.put("\x1b[2J" if redraw else "")
    while True:
        if as_json:
            output.document(as_document(queue))
        elif redraw:
            # Each line wipes its own rest: clearing the whole screen each time would flicker.
            text = "".join(f"{line}\x1b[K\n" for line in [*_lines(queue.status()), "", "Ctrl-C ends"])
            output.put(f"\x1b[H{text}\x1b[J")
        else:
            output.line("\n".join(_lines(queue.status())) + "\n")
        sys.stdout.flush()
        clock.sleep(_EVERY_S)


def _lines(now: Status) -> Iterator[str]:
    colour = output.use_colour()
    yield f"Workers active: {active(now)}"
    yield "Job counts by state:"
    counts = {str(state): count for state, count in now.counts.items()}
    for state in ORDER:
        count = counts.get(state, 0)
        yield f"  {output.paint(state.ljust(10), state, colour=colour and count > 0)}: {count}"
    yield f"DLQ size: {counts.get('dead', 0)}"
    yield f"Rejected: {now.rejected}"
    yield f"Oldest pending: {_age(now.oldest_pending_at)}"
    yield f"Next retry: {_moment(now.next_retry_at)}"
    yield f"Next scheduled: {_moment(now.next_run_at)}"
    if now.running_on:
        yield "Running on: " + ", ".join(f"{host} ({count})" for host, count in sorted(now.running_on.items()))
    if now.paused:
        yield "Paused: yes"
    if now.short_of_room:
        yield f"No new jobs: {now.short_of_room}"


def active(now: Status) -> int:
    """Count the live worker processes, without their supervisors."""
    return sum(info.role == "worker" for info in now.workers)


def _age(instant: int | None) -> str:
    from queuectl import clock

    if instant is None:
        return "none"
    if not output.is_terminal():
        return clock.iso(instant)
    return f"{clock.brief(max(round((clock.now() - instant) / 1000), 0))} (since {clock.local(instant)})"


def _moment(instant: int | None) -> str:
    from queuectl import clock
    from queuectl.cli import phrases

    if instant is None:
        return "none"
    return phrases.moment(instant) if output.is_terminal() else clock.iso(instant)


def as_document(queue: Queue) -> dict[str, Any]:
    """Return the status as one JSON object; instants in ISO 8601, null where there is none."""
    from queuectl import clock

    now = queue.status()
    counts = {str(state): count for state, count in now.counts.items()}

    def iso(instant: int | None) -> str | None:
        return None if instant is None else clock.iso(instant)

    return {
        "spool": str(queue.path),
        "workers_active": active(now),
        "counts": {state: counts.get(state, 0) for state in ORDER},
        "dlq_size": counts.get("dead", 0),
        "rejected": now.rejected,
        "running_on": now.running_on,
        "paused": now.paused,
        "free_bytes": now.free_bytes,
        "short_of_room": now.short_of_room,
        "oldest_pending_at": iso(now.oldest_pending_at),
        "next_retry_at": iso(now.next_retry_at),
        "next_run_at": iso(now.next_run_at),
        "workers": now.workers,
    }
