"""The door as it stands open: which spool, for whom, and the view that all requests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from queuectl.queue import Queue

if TYPE_CHECKING:
    from queuectl.overview import Overview as View

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass
class Door:
    """What requests need to know. `hosts` are the names that clients may use for us, without port.

    With a `token`, nothing is answered without it. `closing` says that the server is about to end.
    """

    path: str | os.PathLike[str]
    hosts: frozenset[str] = LOOPBACK
    token: str | None = None
    read_only: bool = False
    closing: Callable[[], bool] = field(default=lambda: False)

    def queue(self) -> Queue:
        """Open the queue; one a request, since a queue is not for several threads."""
        return Queue(self.path, prefixes=False)

    @cached_property
    def view(self) -> View:
        """The one view that all requests look at."""
        return self.queue().overview()

    def close(self) -> None:
        """Give back what the view holds."""
        view = self.__dict__.get("view")
        if view is not None:
            view.close()
