"""`worker`: start worker processes, stop them from another terminal, list them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from queuectl.cli import output
from queuectl.cli.context import open_queue
from queuectl.cli.options import DURATION, Family, Verb, json_option
from queuectl.cli.progress import Progress
from queuectl.config import EXECUTORS

if TYPE_CHECKING:
    from queuectl.supervisor import Result


@click.group("worker", cls=Family, default="start")
def worker() -> None:
    r"""Start, stop and list workers; `worker` alone starts them.

    \b
      queuectl worker start --count 4
      queuectl worker --count 4
      queuectl worker stop
    """


def _start_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        [
            click.option("--count", type=click.IntRange(1, 1024), metavar="N", help="Worker processes to run."),
            click.option("--detach", is_flag=True, help="Run them in the background and return."),
            click.option("--drain", is_flag=True, help="End when no job is ready, running or waiting for a retry."),
            click.option("--for", "for_s", type=DURATION, metavar="DUR", help="Stop gracefully after this time."),
            click.option("--timeout", type=DURATION, metavar="SECONDS", hidden=True, help="The same as --for."),
            click.option("--executor", type=click.Choice(EXECUTORS), help="What runs the commands. [as configured]"),
            click.option("--force", is_flag=True, help="Run on a network file system at your own risk."),
        ]
    ):
        function = option(function)
    return function


_START_HELP = """Run workers under a supervisor, in the foreground.

Ctrl-C or SIGTERM: finish the running jobs, then stop. A second Ctrl-C ends them and puts their jobs back,
without using up an attempt.

\b
  queuectl worker start --count 4
  queuectl worker start --drain
  queuectl worker start --detach --for 8h
"""


def _start(
    count: int | None,
    detach: bool,
    drain: bool,
    for_s: float | None,
    timeout: float | None,
    executor: str | None,
    force: bool,
) -> None:
    """Run workers, and end with the supervisor's exit code."""
    if for_s is not None and timeout is not None:
        raise click.UsageError("--timeout is another name of --for; give one of them")
    from queuectl import clock, supervisor

    seconds = timeout if for_s is None else for_s
    queue = open_queue(create=True)
    if seconds is not None:
        output.note(f"stops after {clock.brief(seconds)}")
    with Progress("Draining") as bar:
        result = supervisor.run(
            queue.path,
            count=count,
            drain=drain,
            for_s=seconds,
            force=force,
            detach=detach,
            settings={"executor": executor},
            progress=bar if drain and bar.enabled and not detach else None,
        )
    if detach:
        output.line(f"Started supervisor {result.pid}, which logs to {output.shown(str(result.log))}")
    elif drain:
        output.note(drained(result))
    if result.exit_code:
        raise click.exceptions.Exit(result.exit_code)


def drained(result: Result) -> str:
    """Say what a drain has done and what it left for later."""
    from queuectl.cli.phrases import counted

    done = f"{result.completed} completed, {result.dead} dead, {counted(result.failed, 'failed attempt')}"
    return f"Drained: {done}; {result.remaining} scheduled for later"


# `start --count 2` is `worker start --count 2`.
worker.command("start", help=_START_HELP)(_start_options(_start))
start_alias = click.command("start", cls=Verb, hidden=True, help=_START_HELP)(_start_options(_start))


@worker.command("stop")
@click.option("--now", is_flag=True, help="End the running jobs and put them back.")
@json_option
def stop(now: bool, as_json: bool) -> None:
    r"""Stop all workers of this spool and return when they are gone.

    \b
      queuectl worker stop
      queuectl worker stop --now
    """
    from queuectl.cli.phrases import counted

    queue = open_queue()
    waiting = _Waiting()
    found = queue.stop_workers(now=now, progress=waiting)
    stopped = [info for info in found if info.role == "worker"]
    if as_json:
        output.document(stopped)
    elif stopped:
        output.line(f"Stopped {counted(len(stopped), 'worker')}")
    elif found:
        output.line("Stopped a supervisor that had no workers yet")
    else:
        output.note("No workers are running")


class _Waiting:
    """Says on a terminal how many processes are still to end, each time that the number changes."""

    def __init__(self) -> None:
        self._left = 0

    def __call__(self, left: int) -> None:
        if left and left != self._left:
            output.note(f"waiting for {left} to finish")
        self._left = left


@worker.command("list")
@json_option
def list_workers(as_json: bool) -> None:
    r"""List the live workers of this spool.

    \b
      queuectl worker list
    """
    from queuectl.cli import phrases

    workers = [info for info in open_queue().workers() if info.role == "worker"]
    human = output.is_terminal()
    if as_json:
        output.document(workers)
    elif workers:
        rows = [
            [info.worker, str(info.pid), str(info.supervisor), phrases.instant(info.started_at, human=human)]
            for info in workers
        ]
        output.table(("WORKER", "PID", "SUPERVISOR", "STARTED"), rows)
    elif human:
        output.note("No workers are running")
