"""The verbs that look after a spool: make one, delete old jobs, check it."""

from __future__ import annotations

import os

import click

from queuectl import clock
from queuectl.cli import output
from queuectl.cli.context import here, named_spool, open_queue, spool_path
from queuectl.cli.options import DURATION, Verb, json_option
from queuectl.cli.place import SPOOL
from queuectl.errors import NotFound


@click.command("init", cls=Verb)
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path())
def init(directory: str | None) -> None:
    r"""Make a spool, or complete one that lacks a directory.

    It is made in DIR, else where --spool or QUEUECTL_SPOOL says, else in ./spool.

    \b
      queuectl init /var/spool/reports
    """
    from queuectl.queue import Queue

    path = os.path.abspath(directory) if directory else named_spool() or os.path.join(here(), SPOOL)
    try:
        Queue(path)
        done = "Already a spool:"
    except NotFound:
        done = "Made the spool"
    made = Queue(path, create=True).path  # a spool that lacks a directory is completed
    output.line(f"{done} {output.shown(str(made))}")


@click.command("purge", cls=Verb)
@click.option("--completed", is_flag=True, help="Completed jobs.")
@click.option("--dead", is_flag=True, help="Dead jobs.")
@click.option("--rejected", is_flag=True, help="Files that were no jobs.")
@click.option("--older-than", type=DURATION, metavar="DUR", help="Only what ended longer ago than this.")
@click.option("--dry-run", is_flag=True, help="Delete nothing, only say how many.")
@json_option
def purge(completed: bool, dead: bool, rejected: bool, older_than: float | None, dry_run: bool, as_json: bool) -> None:
    r"""Delete old jobs with their logs, and say how many.

    \b
      queuectl purge --completed --older-than 7d
      queuectl purge --completed --dead --dry-run
    """
    from queuectl.cli.phrases import counted

    if not (completed or dead or rejected):
        raise click.UsageError("say what to delete: --completed, --dead, --rejected")
    queue = open_queue()
    if older_than is not None:
        output.note(f"older than {clock.brief(older_than)}")
    gone = queue.purge(completed=completed, dead=dead, rejected=rejected, older_than=older_than or 0.0, dry_run=dry_run)
    if as_json:
        counts = {"completed": gone.completed, "dead": gone.dead, "rejected": gone.rejected}
        output.document({**counts, "dry_run": dry_run})
        return
    asked = [(completed, gone.completed, "completed job"), (dead, gone.dead, "dead job")]
    asked.append((rejected, gone.rejected, "rejected file"))
    parts = [counted(number, noun) for wanted, number, noun in asked if wanted]
    output.line(("Would delete " if dry_run else "Deleted ") + ", ".join(parts))


@click.command("doctor", cls=Verb)
@click.option("--repair", is_flag=True, help="Repair what is safe to repair.")
@json_option
def doctor(repair: bool, as_json: bool) -> None:
    r"""Check the whole spool and explain each finding.

    It may run beside working workers. --repair does what a worker would do by itself and moves the rest to rejected/.
    Exits 1 when something is found and not repaired.

    \b
      queuectl doctor
      queuectl doctor --repair
      queuectl doctor --json | jq -r '.[].path'
    """
    from queuectl.queue import diagnose

    path = spool_path()
    findings = diagnose(path, repair=repair)
    if as_json:
        output.document(findings)
    elif not output.is_terminal():
        states = {True: "repaired", False: "open"}
        output.table((), ([f.path, states[f.repaired], f.meaning, f.remedy] for f in findings))
    else:
        for finding in findings:
            output.line(f"{output.shown(finding.path)}\n  {output.shown(finding.meaning)}")
            output.line("  Repaired." if finding.repaired else f"  {output.shown(finding.remedy)}")
    if not findings and not as_json:
        output.note(f"{path}: nothing to report")
    if any(not finding.repaired for finding in findings):
        raise click.exceptions.Exit(1)
