"""The work as a task of huey, kept in files, sqlite or redis."""

from __future__ import annotations

import importlib
import os
from typing import Any

from benchmarks.apps import common

_huey: Any = importlib.import_module("huey")


def _make() -> Any:
    kind = os.environ["BENCH_STORAGE"]
    if kind == "file":
        return _huey.FileHuey("bench", path=str(common.DIRECTORY / "huey"))
    if kind == "sqlite":
        return _huey.SqliteHuey("bench", filename=str(common.DIRECTORY / "huey.db"))
    return _huey.RedisHuey("bench", url=common.REDIS)


app = _make()


def _work(mark: str) -> None:
    common.work(mark)


send = app.task()(_work)
