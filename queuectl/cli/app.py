"""The tree of verbs, and the run of one command line from its words to its exit code.

A verb's module is imported when the verb is used, so that `enqueue` does not pay for `doctor`. Every error ends
here: `failures` makes one line of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from queuectl import __version__
from queuectl.cli import failures
from queuectl.cli.options import Tree, common_options
from queuectl.variables import variable

SECTIONS: dict[str, dict[str, str]] = {
    "Jobs": {
        "enqueue": "enqueue:enqueue",
        "list": "jobs:list_jobs",
        "show": "jobs:show",
        "logs": "logs:logs",
        "wait": "wait:wait",
        "retry": "change:retry",
        "cancel": "change:cancel",
        "rm": "change:remove",
        "dlq": "dlq:dlq",
    },
    "Workers": {
        "worker": "worker:worker",
        "start": "worker:start_alias",
        "status": "status:status",
        "dashboard": "dashboard:dashboard",
        "pause": "change:pause",
        "resume": "change:resume",
    },
    "Spool": {
        "init": "upkeep:init",
        "config": "settings:settings",
        "purge": "upkeep:purge",
        "doctor": "upkeep:doctor",
        "completion": "completion:completion",
    },
}
_PLACES = {verb: place for section in SECTIONS.values() for verb, place in section.items()}
_COMPLETE = "_QUEUECTL_COMPLETE"


class Root(Tree):
    """The top of the tree, which finds verbs by name and imports them on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Name the verbs in the order of the help."""
        return list(_PLACES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Import the verb called `cmd_name`; None when there is none."""
        place = _PLACES.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command: click.Command = getattr(import_module(f"queuectl.cli.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs by section, each with its summary."""
        for title, verbs in SECTIONS.items():
            found = [(verb, self.get_command(ctx, verb)) for verb in verbs]
            rows = [(verb, command.get_short_help_str(90)) for verb, command in found if command and not command.hidden]
            with formatter.section(title):
                formatter.write_dl(rows)


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"queuectl {__version__}")
        ctx.exit()


_HELP = """A job queue that is a directory of files.

Jobs are shell commands or programs; workers run them, retry those that fail with a growing wait, and lay those
that keep failing into the dead letter queue. `queuectl VERB --help` explains a verb.

\b
  queuectl enqueue 'make report' --delay 10m
  queuectl worker start --count 4
  queuectl status

The spool is --spool, or QUEUECTL_SPOOL, or the nearest spool/ upwards, or ./spool.

\b
Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 ambiguous id, 5 state
conflict, 6 refused, 124 timed out, 130 and 143 ended by a signal.
"""

root = Root(
    "queuectl",
    help=_HELP,
    params=[
        click.Option(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version."
        ),
        *common_options(),
    ],
)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (None: `sys.argv`) and return its exit code; nothing but a bug gets past it."""
    _open_streams()
    try:
        if variable(_COMPLETE):
            root.main(prog_name="queuectl", complete_var=_COMPLETE)
        words = list(sys.argv[1:] if arguments is None else arguments)
        with root.make_context("queuectl", words) as ctx:
            root.invoke(ctx)
        code = 0
    except failures.KNOWN as error:
        code = failures.report(error)
    return failures.flush(code)


def _open_streams() -> None:
    """Make the standard streams usable with any text, also when the caller closed them."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # or a file of the spool would get the number of a stream
        pass
    os.close(fd)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - open until the end
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
