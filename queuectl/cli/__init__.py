"""The command line: the door for people and shell scripts; with the HTTP door the only place that prints and exits.

It never touches a spool but through `Queue`, and starts workers through `supervisor`. `main` is the entry point;
nothing is imported here, so that a door which needs no click can be tried before the parser is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (None: this process's) and return the exit code; see docs for their meaning."""
    try:
        from queuectl.cli.app import run

        return run(arguments)
    except KeyboardInterrupt:  # while modules were still being imported
        return 130
