"""The work as an actor of dramatiq, with redis as the broker."""

from __future__ import annotations

import importlib
from typing import Any

from benchmarks.apps import common

_dramatiq: Any = importlib.import_module("dramatiq")
_brokers: Any = importlib.import_module("dramatiq.brokers.redis")

_dramatiq.set_broker(_brokers.RedisBroker(url=common.REDIS))


def _work(mark: str) -> None:
    common.work(mark)


send = _dramatiq.actor(_work, actor_name="work").send
