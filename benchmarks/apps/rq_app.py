"""The work as a job of rq; its workers import `benchmarks.apps.common.work` by name."""

from __future__ import annotations

import importlib
from typing import Any

from benchmarks.apps import common

_rq: Any = importlib.import_module("rq")
_redis: Any = importlib.import_module("redis")
_queue = _rq.Queue("bench", connection=_redis.Redis.from_url(common.REDIS))


def send(mark: str) -> None:
    """Queue one job."""
    _queue.enqueue("benchmarks.apps.common.work", mark)
