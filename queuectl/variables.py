"""The environment: the only module that reads it. Apart from config, so that an enqueue need not load the settings."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def environment() -> dict[str, str]:
    """Return a copy of this process's environment, for the commands that a worker runs."""
    return dict(os.environ)


def variable(name: str) -> str | None:
    """Return one variable of this process's environment."""
    return os.environ.get(name)


def present() -> Mapping[str, str]:
    """Return this process's environment as it is."""
    return os.environ
