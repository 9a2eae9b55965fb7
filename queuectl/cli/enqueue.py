"""`enqueue`: put one job, or a file of jobs, into the queue.

One word is a shell command, or a job when it is a JSON object; several words are a program and its arguments. All
checks come before the spool is opened, so that a bad job never makes a spool.
"""

from __future__ import annotations

import gc
import os
from typing import Any

import click

from queuectl import clock
from queuectl.cli.context import here, open_queue
from queuectl.cli.options import DURATION, INSTANT, PRIORITY, Verb, setting
from queuectl.cli.overlay import copy_variable, lay_over, lay_under, pairs
from queuectl.errors import BadJobFile, UsageError
from queuectl.job import Job, check, parse_new

_WORDS = "queuectl.words"


class Enqueue(Verb):
    """The verb `enqueue`, which remembers its words as they were typed."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words; an unknown option may have been meant for the command."""
        ctx.meta[_WORDS] = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            hint = "an option of the command itself: quote the whole command, or put it after --"
            raise _hinted(click.UsageError(error.format_message(), ctx), hint) from None


def _hinted(error: click.UsageError, hint: str) -> click.UsageError:
    error.hint = hint  # type: ignore[attr-defined]
    return error


_EXAMPLES = """Put a job into the queue.

One word is a shell command, run by /bin/sh -c in this directory, or a JSON object with any of a job's fields. Several
words are a program and its arguments, run without a shell. Either all jobs of a file are queued or none.

\b
  queuectl enqueue 'make report > report.txt'
  queuectl enqueue --priority high --delay 10m -- rsync -a src/ dst/
  queuectl enqueue '{"command": "echo hi", "id": "demo1", "max_retries": 5}'
  queuectl enqueue -f jobs.jsonl
  ls *.png | sed 's/.*/optipng &/' | queuectl enqueue --lines -f -
"""


@click.command("enqueue", cls=Enqueue, help=_EXAMPLES)
@click.argument("words", metavar="['CMD' | JSON | -- PROG ARG...]", nargs=-1)
@click.option("--command", metavar="CMD", help="The shell command.")
@click.option("-f", "--file", metavar="FILE", help="Read jobs from FILE (.json or .jsonl), or from stdin with -.")
@click.option("--lines", is_flag=True, help="With -f: each line is a shell command.")
@click.option("--id", metavar="ID", help="The job's id: A-Z a-z 0-9 . _ -, at most 100 characters.")
@click.option("--priority", type=PRIORITY, metavar="N", help="0 to 9, or high, medium, low; 9 runs first. [5]")
@click.option("--run-at", type=INSTANT, metavar="TIME", help="Not before: 2026-11-22T10:15, with a zone or local.")
@click.option("--delay", type=DURATION, metavar="DUR", help="Not before this time has passed: 90, 90s, 1.5h, 7d.")
@click.option("--max-retries", type=setting("max_retries"), metavar="N", help="Runs after the first that failed.")
@click.option("--backoff-base", type=setting("backoff_base"), metavar="N", help="The k-th retry waits N to the k s.")
@click.option("--timeout", type=DURATION, metavar="DUR", help="End a run that takes longer; 0: never.")
@click.option("--cwd", metavar="DIR", help="The directory to run in. [this one]")
@click.option("-e", "--env", multiple=True, metavar="K=V", help="Set a variable; -e NAME copies one from here.")
@click.option("--resource", multiple=True, metavar="K=V", help="What it needs where it runs: cpus=2, mem=4G, a label.")
@click.option("--meta", multiple=True, metavar="K=V", help="Carry a note along with the job.")
@click.option("--wait", is_flag=True, help="Block, show the output, exit with the job's result.")
@click.option("-q", "--quiet", is_flag=True, help="Show ids only.")
@click.option("--json", "as_json", is_flag=True, help="Show the jobs as JSON, a line each.")
@click.pass_context
def enqueue(ctx: click.Context, /, words: tuple[str, ...], command: str | None, file: str | None, **given: Any) -> None:
    """Read the job or jobs, queue them, report them."""
    fields = _fields(given)
    if file is not None:
        jobs = _from_file(file, bool(words) or command is not None, fields, lines=given["lines"])
    else:
        jobs = [_single(ctx, words, command, fields, lines=given["lines"])]
    from queuectl.cli.submit import submit

    submit(open_queue(create=True), jobs, wait=given["wait"], quiet=given["quiet"], as_json=given["as_json"])


def _fields(given: dict[str, Any]) -> dict[str, Any]:
    """Return the job's fields that the options set, and no others."""
    if given["id"] == "":
        raise click.UsageError("--id is empty")
    if given["run_at"] is not None and given["delay"] is not None:
        raise click.UsageError("--delay and --run-at exclude each other")
    run_at = given["run_at"]
    if given["delay"] is not None:
        run_at = clock.now() + round(given["delay"] * 1000)
    env = dict(copy_variable(word) for word in given["env"])
    fields = {name: given[name] for name in ("id", "priority", "max_retries", "backoff_base", "timeout")}
    fields["run_at"] = None if run_at is None else clock.iso(run_at)
    fields["cwd"] = None if given["cwd"] is None else os.path.abspath(given["cwd"])
    fields["env"] = env or None
    fields["resources"] = _resources(given["resource"])
    fields["meta"] = pairs("--meta", given["meta"]) or None
    return {name: value for name, value in fields.items() if value is not None}


def _resources(words: tuple[str, ...]) -> dict[str, Any] | None:
    if not words:
        return None
    from queuectl import config  # here, since few jobs have any

    return config.resources(" ".join(words))


def _from_file(name: str, other: bool, fields: dict[str, Any], *, lines: bool) -> list[Job]:
    from queuectl.cli.jobfile import read_jobs

    if other:
        raise click.UsageError("give a command or -f, not both")
    if "id" in fields:
        raise click.UsageError("--id names one job; in a file each job has its own")
    under = {"cwd": here(), **fields}
    gc.disable()  # a file of many jobs makes many objects and hardly any garbage
    return read_jobs(name, lines=lines, finish=lambda job, data: lay_under(job, data, under))


def _single(
    ctx: click.Context, words: tuple[str, ...], command: str | None, fields: dict[str, Any], *, lines: bool
) -> Job:
    """Build the one job that the words or `--command` describe."""
    if lines:
        raise click.UsageError("--lines needs -f FILE")
    if bool(words) == (command is not None):
        raise click.UsageError("give one command" if words else "nothing to enqueue: give a command, or -f FILE")
    if command is not None:
        job = Job(command=command)
    elif len(words) > 1:
        job = Job(command=_program(ctx.meta[_WORDS], list(words)))
    elif words[0].lstrip().startswith("{"):
        job = _object(words[0])
    else:
        job = Job(command=words[0])
    job = lay_over(job, fields)
    if job.cwd is None:
        job.cwd = here()
    check(job)
    return job


def _program(typed: list[str], words: list[str]) -> list[str]:
    """Return several words as a program with its arguments, unless the shell or an option may have split them."""
    at = len(typed) - len(words)
    if typed[at:] != words:
        hint = "queuectl enqueue [OPTIONS] -- PROG ARG..., or quote a shell command"
        raise _hinted(click.UsageError("options stand among the words of the command"), hint)
    if " " in words[0].strip() and typed[at - 1 : at] != ["--"]:
        hint = "queuectl enqueue takes one shell command; --lines -f FILE takes many"
        raise _hinted(click.UsageError(f"several words, and {words[0]!r} is not a program"), hint)
    return words


def _object(text: str) -> Job:
    try:
        return parse_new(text.encode("utf-8", "surrogateescape"))
    except BadJobFile as error:
        hint = "a word that begins with { is read as a JSON job; --command takes a shell group"
        raise UsageError(f"the job: {error}", hint=hint) from None
