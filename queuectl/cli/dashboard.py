"""`dashboard`: the web page, the REST API and the metrics of a spool."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from queuectl.cli import output
from queuectl.cli.context import open_queue
from queuectl.cli.options import Verb
from queuectl.errors import Refused

if TYPE_CHECKING:
    from queuectl.api.server import Opened


@click.command("dashboard", cls=Verb)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, metavar="N", help="0: any.")
@click.option("--read-only", is_flag=True, help="Let nobody change anything.")
@click.option("--token", is_flag=True, help="Ask for the token on this machine too.")
@click.option("--allow-host", multiple=True, metavar="NAME", help="A further name that clients may call us.")
def dashboard(host: str, port: int, read_only: bool, token: bool, allow_host: tuple[str, ...]) -> None:
    r"""Serve a live page, a REST API and metrics until Ctrl-C.

    Whoever may use it can run commands as you. So it listens on this machine only; on any other address it asks
    for a token, which is shown when it is made and kept in the spool.

    \b
      queuectl dashboard
      queuectl dashboard --port 8080 --read-only
    """
    queue = open_queue()
    try:
        from queuectl.api import server
    except ImportError as error:
        needed = "pip install 'queuectl[dashboard]'"
        raise Refused(f"the dashboard needs more than is installed ({error.name})", hint=needed) from None
    server.serve(queue, server.Options(host, port, read_only, token, allow_host), _say)


def _say(opened: Opened) -> None:
    output.line(f"Dashboard: {opened.url}")
    if opened.new_token:
        output.line(f"Token: {opened.new_token}")
        output.note("the token is kept in dashboard.token in the spool, and is not shown again")
    elif opened.needs_token:
        output.note("the token is the one in dashboard.token in the spool")
    sys.stdout.flush()
    if output.is_terminal():
        output.note("Ctrl-C ends")
