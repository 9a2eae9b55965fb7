"""What a check of a spool finds: the path, what it means, what to do, and how it may be mended.

The checks beside this file only look; nothing is changed before somebody calls a case's `mend`. Each of them may run
beside working workers: what they report is looked at twice (`doctor.examine`), and mended under the file's lock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found; `kind` is one of the words of docs/spool.md, "What doctor finds"."""

    kind: str
    path: str
    meaning: str
    remedy: str
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """A finding, and what mends it: returns whether it did; None where only a person can."""

    finding: Finding
    mend: Callable[[], bool] | None = None
