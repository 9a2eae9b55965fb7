"""Intake: putting jobs into a spool. The part of `Queue` that every enqueue needs, and nothing more.

Checks a job before anything is written, gives it an id and a due time that keep FIFO, and returns when it is durable.
Kept apart because most commands that are ever run only enqueue, and should not pay for the rest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from queuectl import clock, config, ids, names, variables
from queuectl import job as job_file
from queuectl.errors import BadJobFile, Conflict, Refused, UsageError
from queuectl.job import Job, State
from queuectl.spool import Spool

READ_AGAIN_S = 1.0  # for how long a program goes by the settings that it has read
FRESH_S = 0.1  # for how long a count of the pending is good, or for 25 times what it cost
FRESH_COSTS = 25
CHUNK = 4096
Spec = Job | str | Sequence[str] | Mapping[str, Any]


class Intake:
    """Puts jobs into a spool."""

    def __init__(self, path: str | os.PathLike[str] = "spool", *, create: bool = False) -> None:
        """Open the spool at `path`; with `create`, make it when it is not there.

        Raises `NotFound` when there is none, `Refused` when it has a newer format.
        """
        self._spool = Spool.create(path) if create else Spool(path)
        self._ids = ids.IdSource()
        self._most, self._read_at = 0, -READ_AGAIN_S
        self._pending, self._count_until = 0, 0.0

    @property
    def path(self) -> Path:
        """The spool's absolute path."""
        return self._spool.path

    # Putting jobs in.

    def enqueue(self, command: str | Sequence[str], **fields: Any) -> Job:
        """Put one job in: a line for `/bin/sh`, or a list of strings run without a shell.

        `fields`: `id`, `priority` (0–9, 9 first, or high, medium, low), `run_at` (ISO 8601 or `+2h`), `timeout`
        (seconds or `1.5h`), `max_retries`, `backoff_base`, `cwd` (default: the caller's), `env` (laid over the
        worker's), `meta`.
        When this returns the job is durable. Raises `UsageError` for a bad field, `Conflict` for an id that is taken,
        `Refused` when `max_pending` jobs wait already, OSError when the spool cannot be written.
        """
        return self.enqueue_many([{"command": command, **fields}])[0]

    def enqueue_many(
        self, jobs: Iterable[Spec], *, progress: Callable[[int], None] | None = None, checked: bool = False
    ) -> list[Job]:
        """Put many jobs in, all or none, in this order; each a job, a command, or a mapping of `enqueue`'s fields.

        `progress` hears how many have been checked; jobs that `job.parse_new` has just read are `checked` already.
        Errors as in `enqueue`; they say which job, counted from 1.
        """
        now = clock.now()
        fresh: list[Job] = []
        directory = os.getcwd()
        for number, spec in enumerate(jobs, 1):
            try:
                fresh.append(_fresh(spec, now, directory, checked=checked))
            except (UsageError, BadJobFile) as error:
                where = f"job {number}: " if number > 1 else ""
                raise UsageError(f"{where}{error}", hint=error.hint) from None
            if progress and number % 1000 == 0:
                progress(number)
        chosen = [found.id for found in fresh if found.id]
        self._name(fresh, now)
        self._submit(fresh, chosen, now)
        if progress:
            progress(len(fresh))
        return fresh

    def _name(self, fresh: list[Job], now: int) -> None:
        """Give ids to jobs that have none, and due times that keep the jobs in their order."""
        nameless = [found for found in fresh if not found.id]
        new = [self._ids.new(now)] if len(nameless) == 1 else ids.batch(len(nameless))
        for found, id in zip(nameless, new, strict=True):
            found.id = id
        if len(nameless) == len(fresh) and all(found.run_at is None for found in fresh):
            due_at = clock.iso(now)
            for found in fresh:
                found.due_at = due_at
            return
        # Names of one instant sort by id. Where the ids asked for do not rise, the instant must: the first begin early.
        steps: list[int] = []
        ordered = [found for found in fresh if found.run_at is None]
        for place, found in enumerate(ordered):
            steps.append(steps[-1] + (found.id <= ordered[place - 1].id) if place else 0)
        due_at, last = "", -1
        for found, step in zip(ordered, steps, strict=True):
            if step != last:
                due_at, last = clock.iso(now - steps[-1] + step), step
            found.due_at = due_at

    def _submit(self, fresh: list[Job], chosen: list[str], now: int) -> None:
        guard = self._spool.lock_ids() if chosen else -1
        try:
            self._check_free(chosen)
            self._check_full(len(fresh))
            self._spool.submit(fresh, now=now)
        finally:
            if guard >= 0:
                os.close(guard)

    def _check_free(self, chosen: list[str]) -> None:
        if len(set(chosen)) < len(chosen):
            twice = next(id for place, id in enumerate(chosen) if id in chosen[:place])
            raise Conflict(f"{twice}: this id is asked for twice")
        for id, state in self._spool.taken(frozenset(chosen)).items() if chosen else ():
            raise Conflict(f"{id}: a job with this id exists already ({state})", hint=f"queuectl show {id}")

    def _check_full(self, new: int) -> None:
        """Refuse jobs beyond `max_pending`.

        RACE: two that enqueue at the same time may both find the last place free; the limit keeps a queue from growing
        without end, and is not worth a lock around every enqueue.
        """
        most = self._limit()
        if not most or not new:
            return
        if clock.monotonic() >= self._count_until or self._pending + new > most:
            began = clock.monotonic()
            self._pending = self._count(most - new + 1)
            ended = clock.monotonic()
            self._count_until = ended + max(FRESH_S, FRESH_COSTS * (ended - began))
        if self._pending + new > most:
            raise Refused(
                f"the queue is full: {new} more would make more than max_pending ({most}) jobs in pending/",
                hint="wait until workers have run some, or raise max_pending",
            )
        self._pending += new

    def _limit(self) -> int:
        """Return `max_pending`, 0 when there is none; reads the settings once a second at most."""
        if clock.monotonic() - self._read_at >= READ_AGAIN_S:
            text = self._spool.config_text()
            # Reading TOML costs more than an enqueue, and most spools set no limit. A backslash may hide the key.
            told = "pending" in text.lower() or "\\" in text
            own = variables.variable(f"{config.PREFIX}MAX_PENDING")
            if own is not None:
                self._most = config.read_value("max_pending", own)
            else:
                self._most = config.parse(text).get("max_pending", 0) if told else 0
            self._read_at = clock.monotonic()
        return self._most

    def _count(self, enough: int) -> int:
        """Count the jobs in `pending/`, up to about `enough` of them."""
        found = 0
        for chunk in self._spool.directories["pending"].chunks(CHUNK):
            found += sum(map(names.is_drop, chunk))
            if found >= enough:
                break
        return found


def _fresh(spec: Spec, now: int, directory: str, *, checked: bool) -> Job:
    """Make a new job of what a caller gave; raises `UsageError`."""
    if isinstance(spec, Job):
        found = spec if checked else msgspec.structs.replace(spec)
        found.history = []
    elif isinstance(spec, Mapping):
        unknown = [key for key in spec if key not in job_file.PRODUCER_KEYS]
        if unknown:
            raise UsageError(f"unknown field {unknown[0]!r}{job_file.nearest(unknown[0], job_file.PRODUCER_KEYS)}")
        found = _convert({key: value for key, value in spec.items() if value is not None})
    else:
        found = _convert({"command": spec})
    found.cwd = found.cwd or directory
    if not checked:
        job_file.check(found)
    found.state, found.attempts, found.rev = State.PENDING, 0, 0
    found.last_error = found.exit = found.exit_code = None
    found.created_at = found.updated_at = clock.iso(now)
    if found.run_at is not None:
        found.run_at = found.due_at = clock.iso(clock.parse_time(found.run_at, now))
    return found


def _convert(fields: Mapping[str, Any]) -> Job:
    try:
        return msgspec.convert(dict(fields), Job)
    except msgspec.ValidationError as error:
        raise UsageError(job_file.explain(str(error))) from None
