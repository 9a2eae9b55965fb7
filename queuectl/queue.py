"""Queue: everything that a program may ask of a spool. (Interface being filled in.)"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from queuectl.config import Config
from queuectl.job import Job, State

Spec = Job | str | Sequence[str] | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A live worker process: `worker` is `<host>.<pid>`, `started_at` an ISO instant, `role` worker or supervisor."""

    worker: str
    host: str
    pid: int
    supervisor: int
    role: str
    started_at: str


@dataclass(frozen=True, slots=True)
class Status:
    """The queue at a glance; instants in ms since the epoch, None where there is none."""

    counts: dict[State, int]
    rejected: int
    workers: list[WorkerInfo]
    paused: bool
    oldest_pending_at: int | None  # due instant of the job that has been ready longest
    next_run_at: int | None  # the next scheduled job in pending/
    next_retry_at: int | None


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge deleted, or would delete: how many of each."""

    completed: int
    dead: int
    rejected: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that `doctor` found: the path, what it means, what to do, and whether it has been repaired."""

    path: str
    meaning: str
    remedy: str
    repaired: bool


class Queue:
    def __init__(self, path: str | os.PathLike[str] = "spool", *, create: bool = False) -> None: ...
    path: Path
    def enqueue(self, command: str | Sequence[str], **fields: Any) -> Job: ...  # fields: id priority run_at timeout max_retries backoff_base cwd env meta
    def enqueue_many(self, jobs: Iterable[Spec], *, progress: Callable[[int], None] | None = None) -> list[Job]: ...
    def resolve(self, prefixes: Iterable[str]) -> list[str]: ...  # unique prefixes -> ids, one scan; NotFound, AmbiguousId
    def get(self, id: str) -> Job: ...
    def jobs(self, state: State | str | None = None, *, limit: int | None = None) -> Iterator[Job]: ...
    def counts(self) -> dict[State, int]: ...
    def status(self) -> Status: ...
    def workers(self) -> list[WorkerInfo]: ...
    def retry(self, id: str) -> Job: ...   # dead or completed or failed -> pending, attempts 0; Conflict
    def retry_dead(self, ids: Iterable[str] | None = None) -> list[Job]: ...  # None: all
    def cancel(self, id: str) -> Job: ...
    def remove(self, id: str) -> Job: ...
    def wait(self, ids: Iterable[str] | None = None, *, timeout: float | None = None, progress: Callable[[int, int], None] | None = None) -> list[Job]: ...  # TimedOut
    def logs(self, id: str, *, attempt: int | None = None) -> bytes: ...
    def follow(self, id: str) -> Iterator[bytes]: ...  # from before it starts until it ends
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def purge(self, *, completed: bool = False, dead: bool = False, rejected: bool = False, older_than: float = 0.0, dry_run: bool = False) -> Purged: ...
    def config(self) -> Config: ...        # file + environment
    def configured(self) -> dict[str, Any]: ...  # keys that config.toml itself sets
    def set_config(self, name: str, value: str | None) -> Any: ...  # None unsets; returns the checked value
    def doctor(self, *, repair: bool = False) -> list[Finding]: ...
    def stop_workers(self, *, now: bool = False, timeout: float | None = None, progress: Callable[[int], None] | None = None) -> list[WorkerInfo]: ...  # returns when gone; those that were stopped
