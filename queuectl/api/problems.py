"""What a client sees when something goes wrong: RFC 9457, `application/problem+json`, with the status that fits.

The sentences are those of the command line. Nothing but a bug is a 500.
"""

from __future__ import annotations

import errno
from http import HTTPStatus

import msgspec
from msgspec import Struct
from starlette.responses import Response

from queuectl.errors import AmbiguousId, BadJobFile, Conflict, NotFound, QueuectlError, Refused, UsageError

MEDIA_TYPE = "application/problem+json"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Problem(Struct, kw_only=True, omit_defaults=True):
    """A problem document; `hint` says, where it helps, what to do."""

    title: str
    status: int
    detail: str
    hint: str | None = None
    type: str = "about:blank"


class Trouble(Exception):
    """Ends the handling of a request with a problem."""

    def __init__(self, status: int, detail: str, *, hint: str | None = None, allow: str | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.hint = status, detail, hint
        self.headers = {"Allow": allow} if allow else {}


def status_of(error: QueuectlError) -> int:
    """Return the HTTP status of one of our errors."""
    match error:
        case UsageError() | BadJobFile():
            return 422
        case NotFound():
            return 404
        case AmbiguousId() | Conflict():
            return 409
        case Refused():
            return 503
        case _:
            return 500


def problem(error: Trouble | QueuectlError | OSError) -> Problem:
    """Describe an error."""
    match error:
        case Trouble():
            status, detail, hint = error.status, error.detail, error.hint
        case QueuectlError():
            status, detail, hint = status_of(error), str(error), error.hint
        case _:
            status, hint = (507 if error.errno in _FULL else 503), None
            detail = f"{error.filename or 'spool'}: {(error.strerror or str(error)).lower()}"
    return Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, hint=hint)


def respond(error: Trouble | QueuectlError | OSError) -> Response:
    """Return the response that tells of an error."""
    found = problem(error)
    headers = dict(error.headers) if isinstance(error, Trouble) else {}
    if found.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="queuectl"'
    # Text that came from outside may hold half a surrogate pair, which is no UTF-8.
    found.detail = found.detail.encode(errors="replace").decode()
    return Response(msgspec.json.encode(found), found.status, headers, MEDIA_TYPE)
