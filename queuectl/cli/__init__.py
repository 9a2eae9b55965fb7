"""The command line: the door for people and shell scripts; with the HTTP door the only place that prints and exits.

It never touches a spool but through `Queue`, and starts workers through `supervisor`. `main` is the entry point;
the one form that scripts use most, a plain enqueue, is tried before the parser is loaded.
"""

from __future__ import annotations

import os
import sys

from queuectl.cli import quick

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (None: this process's) and return the exit code; see docs for their meaning."""
    try:
        words = sys.argv[1:] if arguments is None else arguments
        code = quick.try_enqueue(words)
        if code is None:
            from queuectl.cli.app import run

            code = run(words)
        if arguments is None:
            os._exit(code)  # all is written, and the kernel tears down faster than the interpreter
        return code
    except KeyboardInterrupt:  # while modules were still being imported
        return 130
