"""A progress bar on stderr, drawn only for a terminal and at most ten times a second.

It is redrawn at each tick even when it has not moved, because a worker's line may have wiped it away; when the
work ends it leaves nothing behind.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from queuectl import clock

_CELLS = 30
_EVERY_S = 0.1
_WIPE = "\r\x1b[2K"


class Progress:
    """Call it with what is done and what there is in all; use it as a context manager."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._due = 0.0
        self._drawn = False
        self.enabled = sys.stderr.isatty()

    def __call__(self, done: int, total: int) -> None:
        """Draw the bar, unless it was drawn a moment ago and is not full yet."""
        now = clock.monotonic()
        if not self.enabled or (now < self._due and done < total):
            return
        self._due = now + _EVERY_S
        self._drawn = True
        share = min(done / total, 1.0) if total else 1.0
        bar = ("#" * int(share * _CELLS)).ljust(_CELLS, "-")
        sys.stderr.write(f"{_WIPE}{self._label} [{bar}] {done}/{total} {int(share * 100):3d}%")
        sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn:
            sys.stderr.write(_WIPE)
            sys.stderr.flush()
