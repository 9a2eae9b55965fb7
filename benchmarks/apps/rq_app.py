"""The work as a job of rq; its workers import `benchmarks.apps.common.work` by name."""

from __future__ import annotations

import importlib
from typing import Any

from benchmarks.apps import common


def main() -> None:
    """Queue the jobs."""
    rq: Any = importlib.import_module("rq")
    redis: Any = importlib.import_module("redis")
    queue = rq.Queue("bench", connection=redis.Redis.from_url(common.REDIS))
    common.produce(lambda mark: queue.enqueue("benchmarks.apps.common.work", mark))


if __name__ == "__main__":
    main()
