"""What can go wrong, by the exit code that a person's script sees.

Every error that reaches a door is a `QueuectlError`: one line that names the job or the path, and where it
helps a hint that says what to type. Losing a race and a failed command are not errors and have no class here.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:  # an enqueue imports this module, and should import little else
    from collections.abc import Sequence


def quoted(path: str | os.PathLike[str]) -> str:
    """Quote a path for a hint that a person types into a shell."""
    import shlex  # here, since hints are rare

    return shlex.quote(os.fspath(path))


class QueuectlError(Exception):
    """Base of all errors meant for people; `exit_code` is what the command line ends with."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(QueuectlError):
    """A value that cannot be used: a bad field, an unknown key, a malformed time."""

    exit_code = 2


class NotFound(QueuectlError):
    """No such job, or no spool where one was looked for."""

    exit_code = 3


class AmbiguousId(QueuectlError):
    """An id prefix that several jobs share; `candidates` holds some of them."""

    exit_code = 4

    def __init__(self, prefix: str, candidates: Sequence[str]) -> None:
        shown = " ".join(candidates[:10])
        more = " …" if len(candidates) > 10 else ""
        super().__init__(f"{prefix}: several jobs begin with this", hint=f"one of: {shown}{more}")
        self.candidates = tuple(candidates)


class Conflict(QueuectlError):
    """The job's state does not allow it: a duplicate id, a retry of a running job."""

    exit_code = 5


class Refused(QueuectlError):
    """The spool cannot be used safely: open to others, a newer format, read-only, a full disk."""

    exit_code = 6


class TimedOut(QueuectlError):
    """A wait ended before its jobs did."""

    exit_code = 124


class BadJobFile(QueuectlError):
    """Bytes that are not a job; `whole` is false while they may still be a job half written."""

    exit_code = 2

    def __init__(self, reason: str, *, whole: bool = True) -> None:
        super().__init__(reason)
        self.whole = whole
