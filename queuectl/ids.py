"""New ids: random, so that eight characters tell jobs apart; increasing within one instant, so that names keep FIFO.

80 random bits: with a hundred million jobs the chance that any two share an id is below one in a hundred million.
"""

from __future__ import annotations

import os

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"  # base32 (RFC 4648) in lower case; digits sort first
_SYMBOLS = "".join(sorted(_ALPHABET))
_PAIRS = [first + second for first in _SYMBOLS for second in _SYMBOLS]  # ten bits each
_SYMBOL_OF = _SYMBOLS.encode() * 8  # for each of the 256 bytes, as likely as any other
_BITS = 80
_LENGTH = 16
_STEPS = 1 << 16


def spell(number: int) -> str:
    """Spell an 80-bit number in 16 characters whose order is the order of the numbers."""
    pairs = _PAIRS
    return (
        f"{pairs[number >> 70]}{pairs[number >> 60 & 1023]}{pairs[number >> 50 & 1023]}{pairs[number >> 40 & 1023]}"
        f"{pairs[number >> 30 & 1023]}{pairs[number >> 20 & 1023]}{pairs[number >> 10 & 1023]}{pairs[number & 1023]}"
    )


def batch(count: int) -> list[str]:
    """Return `count` new ids in increasing order."""
    text = os.urandom(count * _LENGTH).translate(_SYMBOL_OF).decode("ascii")
    return sorted(text[at : at + _LENGTH] for at in range(0, len(text), _LENGTH))


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
