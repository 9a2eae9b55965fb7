"""Cursors: where a page of jobs ends, as a word that clients hand back without looking into it."""

from __future__ import annotations

import base64
import binascii

import msgspec

from queuectl.api.problems import Trouble
from queuectl.api.shapes import JobQuery
from queuectl.errors import UsageError
from queuectl.job import State
from queuectl.overview import SHOWN_ORDER, Filter, Place, is_place


def wanted(query: JobQuery) -> Filter:
    """Return the filter that a query means; raises `UsageError` for a state that is none."""
    words = query.state.split(",") if query.state else list(State)
    unknown = [word for word in words if word not in set(State)]
    if unknown:
        raise UsageError(f"{unknown[0]!r} is not a state", hint="one of: " + " ".join(State))
    return Filter(tuple(state for state in SHOWN_ORDER if state in words), query.q, query.worker, query.error)


def write(place: Place | None) -> str | None:
    """Spell where to go on."""
    if place is None:
        return None
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def read(text: str | None) -> Place | None:
    """Read what `write` spelt; raises `Trouble` for anything else."""
    if text is None:
        return None
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        state, name = msgspec.json.decode(data, type=tuple[State, str])
    except (binascii.Error, ValueError):
        state, name = State.PENDING, ""
    if not is_place(state, name):
        raise Trouble(422, "after: not a cursor of ours", hint="pass on what `next` says, or leave it out")
    return state, name
