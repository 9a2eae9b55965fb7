"""queuectl: a background job queue that you can see with `ls` and feed with `mv`.

Programs need three names, `Queue`, `Job` and `State`; they are imported when first used, so that a command that
needs none of them starts fast.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from queuectl.job import Job, State
    from queuectl.queue import Queue

__version__ = "0.1.0"
__all__ = ["Job", "Queue", "State", "__version__"]

_HOMES = {"Job": "queuectl.job", "State": "queuectl.job", "Queue": "queuectl.queue"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'queuectl' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
