"""What a person and a script see when something goes wrong: `error: …`, where it helps `hint: …`, an exit code.

One line each on stderr, control characters made visible, never a traceback. A reader that closed the pipe is no
error to speak of: we end as a program does that SIGPIPE ended.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress

import click

from queuectl.cli.output import visible
from queuectl.errors import QueuectlError

KNOWN = (click.exceptions.Exit, click.Abort, click.ClickException, QueuectlError, OSError, KeyboardInterrupt)

INTERRUPTED = 130
PIPE_CLOSED = 128 + 13
_REFUSED = {errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM}


def report(error: BaseException) -> int:
    """Tell the person about an error of `KNOWN`; return the exit code."""
    match error:
        case click.exceptions.Exit():
            return error.exit_code
        case click.ClickException():
            _say(_plain(error.format_message()), _usage_hint(error))
            return error.exit_code
        case QueuectlError():
            _say(str(error), error.hint)
            return error.exit_code
        case BrokenPipeError():
            return _pipe_closed()
        case OSError():
            return _report_os(error)
        case _:
            if sys.stderr.isatty():
                _print("")  # the terminal has echoed ^C into the line
            return INTERRUPTED


def flush(code: int) -> int:
    """Write out what stdout still holds; return `code`, or the code of what went wrong while writing."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _pipe_closed()
    except OSError as error:
        _discard_stdout()
        return code or _report_os(error, "stdout")
    return code


def _say(message: str, hint: str | None = None) -> None:
    _print(f"error: {visible(message)}")
    if hint:
        _print(f"hint: {visible(hint)}")


def _print(text: str) -> None:
    # A stderr that takes nothing must not change the exit code.
    with suppress(OSError):
        print(text, file=sys.stderr)


def _plain(message: str) -> str:
    """Put click's sentence into the form of our own: lower case, no full stop."""
    text = " ".join(message.split()).removesuffix(".")
    return text[:1].lower() + text[1:]


def _usage_hint(error: click.ClickException) -> str | None:
    own: str | None = getattr(error, "hint", None)
    if own is not None or not isinstance(error, click.UsageError):
        return own
    path = error.ctx.command_path if error.ctx else "queuectl"
    return f"{path} --help"


def _report_os(error: OSError, place: str | None = None) -> int:
    """Name the path and the system's reason; a place that cannot be written to is a refusal."""
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else place
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    _say(f"{path}: {reason}" if path else reason)
    if error.errno in _REFUSED:
        return 6
    return 3 if error.errno in (errno.ENOENT, errno.ENOTDIR) else 1


def _pipe_closed() -> int:
    _discard_stdout()
    return PIPE_CLOSED


def _discard_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's own flush at exit does not complain again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
