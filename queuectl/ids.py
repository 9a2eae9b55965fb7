"""New ids: random, so that eight characters tell jobs apart; increasing within one instant, so that names keep FIFO.

80 random bits: with a hundred million jobs the chance that any two share an id is below one in a hundred million.
"""

from __future__ import annotations

import os

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"  # base32 (RFC 4648) in lower case; digits sort first
_SYMBOLS = "".join(sorted(_ALPHABET))
_BITS = 80
_STEPS = 1 << 16


def spell(number: int) -> str:
    """Spell an 80-bit number in 16 characters whose order is the order of the numbers."""
    return "".join(_SYMBOLS[number >> shift & 31] for shift in range(_BITS - 5, -1, -5))


def batch(count: int) -> list[str]:
    """Return `count` new ids in increasing order."""
    return sorted(spell(_random()) for _ in range(count))


class IdSource:
    """Ids one at a time, increasing while the instant stays the same, however many there are."""

    def __init__(self) -> None:
        self._instant = self._last = -1

    def new(self, instant: int) -> str:
        """Return a new id for a job that is due at `instant`."""
        fresh = _random()
        room = (1 << _BITS) - 1 - self._last
        if instant == self._instant and room > _STEPS:
            # The step shows in the first 8 characters, and leaves room for millions in one instant.
            fresh = self._last + 1 + fresh % (room // _STEPS)
        self._instant, self._last = instant, fresh
        return spell(fresh)


def _random() -> int:
    return int.from_bytes(os.urandom(_BITS // 8))
