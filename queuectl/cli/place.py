"""Where a spool may lie when nobody names one. Knows nothing of the parser, so that it costs nothing to import."""

from __future__ import annotations

import os

SPOOL = "spool"
MARKER = "queuectl.json"


def nearest_spool(start: str) -> str | None:
    """Return the nearest `spool/` with a marker in `start` or above it."""
    place = start
    while True:
        candidate = os.path.join(place, SPOOL)
        if os.path.lexists(os.path.join(candidate, MARKER)):
            return candidate
        above = os.path.dirname(place)
        if above == place:
            return None
        place = above
