"""Queue: everything that a program may ask of a spool. The command line is a thin door over it.

Opens no more than it needs and keeps no state of its own: two queues on one spool, in one process or in twenty, are
the same queue. Instants are ISO 8601 strings in jobs and milliseconds since the epoch elsewhere; durations are seconds.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from queuectl import awaiting, catalog, clock, ids, names, operate, registry
from queuectl import config as settings
from queuectl import job as job_file
from queuectl.config import Config
from queuectl.errors import BadJobFile, Conflict, NotFound, Refused, UsageError
from queuectl.job import Job, State
from queuectl.spool import READ_ORDER, Spool

if TYPE_CHECKING:
    from queuectl.doctor import Finding
    from queuectl.operate import Purged
    from queuectl.registry import WorkerInfo

_SHOWN = (State.PENDING, State.PROCESSING, State.COMPLETED, State.FAILED, State.DEAD)

Spec = Job | str | Sequence[str] | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Status:
    """The queue at a glance; instants in milliseconds since the epoch, None where there is none."""

    counts: dict[State, int]
    rejected: int
    workers: list[WorkerInfo]
    paused: bool
    oldest_pending_at: int | None
    next_run_at: int | None
    next_retry_at: int | None


class Queue:
    """A job queue in a spool directory.

    `Queue("spool").enqueue("make", cwd="/src")` puts a job into it; workers (`queuectl worker start`) run it.
    """

    def __init__(self, path: str | os.PathLike[str] = "spool", *, create: bool = False) -> None:
        """Open the spool at `path`; with `create`, make it when it is not there.

        Raises `NotFound` when there is none, `Refused` when it has a newer format.
        """
        self._spool = Spool.create(path) if create else Spool(path)
        self._ids = ids.IdSource()
        self._spots = operate.Spots(self._spool)

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
        OSError when the spool cannot be written.
        """
        return self.enqueue_many([{"command": command, **fields}])[0]

    def enqueue_many(self, jobs: Iterable[Spec], *, progress: Callable[[int], None] | None = None) -> list[Job]:
        """Put many jobs in, all or none, in this order; each a job, a command, or a mapping of `enqueue`'s fields.

        `progress` hears how many have been checked. Errors as in `enqueue`; they say which job, counted from 1.
        """
        now = clock.now()
        fresh: list[Job] = []
        directory = os.getcwd()
        for number, spec in enumerate(jobs, 1):
            try:
                fresh.append(_fresh(spec, now, directory))
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
        # Names of one instant sort by id. Where the ids asked for do not rise, the instant must: the first begin early.
        steps: list[int] = []
        ordered = [found for found in fresh if found.run_at is None]
        for place, found in enumerate(ordered):
            steps.append(steps[-1] + (found.id <= ordered[place - 1].id) if place else 0)
        for found, step in zip(ordered, steps, strict=True):
            found.due_at = clock.iso(now - steps[-1] + step)

    def _submit(self, fresh: list[Job], chosen: list[str], now: int) -> None:
        guard = self._spool.lock_ids() if chosen else -1
        try:
            self._check_free(chosen)
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

    # Looking.

    def resolve(self, prefixes: Iterable[str]) -> list[str]:
        """Return the ids that unique prefixes mean, in one look; raises `NotFound` or `AmbiguousId`."""
        wanted = list(prefixes)
        found = catalog.find(self._spool, wanted)
        self._spots.learn(found.values())
        return [names.id_part(found[prefix][1]) for prefix in wanted]

    def get(self, id: str) -> Job:
        """Return one job by its id or a unique prefix of it; raises `NotFound` or `AmbiguousId`."""
        for _ in range(20):
            state, name = catalog.find(self._spool, [id])[id]
            found = catalog.load(self._spool, state, name)
            if found:
                return found
            if self._spool.directory(state).lstat(name) is not None:
                raise Refused(f"{self.path / state / name}: not readable as a job", hint="queuectl doctor")
        raise NotFound(f"{id}: moves too fast to be read; try again")

    def jobs(self, state: State | str | None = None, *, limit: int | None = None) -> Iterator[Job]:
        """Yield the jobs of one state, or of all, by state and then by the time that matters there."""
        states = tuple(State) if state is None else (_state(state),)
        return catalog.jobs(self._spool, states, limit)

    def counts(self) -> dict[State, int]:
        """Return how many jobs are in each state."""
        found = {state: catalog.count(self._spool, state) for state in READ_ORDER}
        return {state: found[state] for state in _SHOWN}

    def status(self) -> Status:
        """Return the counts, the workers, and what is due next, in one look."""
        now = clock.now()
        pending = catalog.waiting(self._spool, State.PENDING, now)
        failed = catalog.waiting(self._spool, State.FAILED, now)
        rest = {state: catalog.count(self._spool, state) for state in READ_ORDER[2:]}
        found = {State.PENDING: pending.count, State.FAILED: failed.count, **rest}
        return Status(
            counts={state: found[state] for state in _SHOWN},
            rejected=catalog.rejected(self._spool),
            workers=[info for info in self.workers() if info.role == registry.WORKER],
            paused=self._spool.paused(),
            oldest_pending_at=pending.oldest_ready,
            next_run_at=pending.next_due,
            next_retry_at=failed.oldest_ready or failed.next_due,
        )

    def workers(self) -> list[WorkerInfo]:
        """Return the processes that live: workers, and the supervisors above them."""
        return registry.live(self._spool)

    def logs(self, id: str, *, attempt: int | None = None) -> bytes:
        """Return what a job has printed, in all attempts or in one (1-based); raises `NotFound`."""
        found = self.get(id)
        if attempt is None:
            return b"".join(catalog.read_log(self._spool, found.id))
        if found.state is State.PROCESSING and attempt == found.attempts + 1:
            start = found.history[-1].log_end if found.history else 0
            return b"".join(catalog.read_log(self._spool, found.id, start))
        for run in reversed(found.history):  # after a retry by hand the numbers begin again
            if run.attempt == attempt:
                return b"".join(catalog.read_log(self._spool, found.id, run.log_start, run.log_end))
        raise NotFound(f"{found.id}: has no attempt {attempt}; it has had {found.attempts}")

    def follow(self, id: str) -> Iterator[bytes]:
        """Yield what a job prints, from its beginning, as it comes, until the job has ended."""
        return awaiting.follow(self._spool, self.resolve([id])[0])

    def wait(
        self,
        ids: Iterable[str] | None = None,
        *,
        timeout: float | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Job]:
        """Wait until these jobs (None: all that there are now) have ended, for at most `timeout` seconds; returns them.

        `progress(ended, of)` is called as they end. Raises `TimedOut`, `NotFound`, `AmbiguousId`.
        """
        wanted = sorted(awaiting.unfinished(self._spool)) if ids is None else self.resolve(ids)
        awaiting.wait(self._spool, wanted, timeout, progress)
        return [self.get(id) for id in wanted] if ids is not None else self._still_there(wanted)

    def _still_there(self, wanted: Iterable[str]) -> list[Job]:
        keep = frozenset(wanted)
        ended = (State.COMPLETED, State.DEAD)
        return [found for found in catalog.jobs(self._spool, ended, None) if found.id in keep] if keep else []

    # Changing.

    def retry(self, id: str) -> Job:
        """Run a job that has ended, or waits for a retry, again: pending now, attempts 0.

        Raises `Conflict` for one that runs or waits for its first run.
        """
        return operate.retry(self._spool, self._spots, id)

    def retry_dead(self, ids: Iterable[str] | None = None) -> list[Job]:
        """Put dead jobs (None: all) back into the queue, attempts 0; raises `Conflict` for one that is not dead."""
        if ids is not None:
            return [operate.retry(self._spool, self._spots, id, only=State.DEAD) for id in ids]
        retried = []
        dead = catalog.entries(self._spool, State.DEAD)
        self._spots.learn((State.DEAD, name) for name in dead)
        for name in dead:
            with contextlib.suppress(NotFound, Conflict):  # somebody else has retried or removed it meanwhile
                retried.append(operate.retry(self._spool, self._spots, names.id_part(name), only=State.DEAD))
        return retried

    def cancel(self, id: str) -> Job:
        """Withdraw a waiting job, or end a running one; it goes to the dead as cancelled. Raises `Conflict`."""
        return operate.cancel(self._spool, self._spots, id)

    def remove(self, id: str) -> Job:
        """Delete a job that is not running, and its log; returns what it was. Raises `Conflict`."""
        return operate.remove(self._spool, self._spots, id)

    def purge(
        self,
        *,
        completed: bool = False,
        dead: bool = False,
        rejected: bool = False,
        older_than: float = 0.0,
        dry_run: bool = False,
    ) -> Purged:
        """Delete jobs that ended more than `older_than` seconds ago, with their logs, and rejected files."""
        wanted = {"completed": completed, "dead": dead, "rejected": rejected}
        before = clock.now() - round(older_than * 1000)
        return operate.purge(self._spool, [place for place, on in wanted.items() if on], before=before, dry_run=dry_run)

    # The queue as a whole.

    def pause(self) -> None:
        """Let workers claim nothing until `resume`; running jobs go on."""
        self._spool.pause()

    def resume(self) -> None:
        """Let workers claim again."""
        self._spool.resume()

    def config(self) -> Config:
        """Return the settings in force for this spool: defaults, `config.toml`, the environment."""
        return settings.load(self._spool.config_text())

    def configured(self) -> dict[str, Any]:
        """Return the settings that `config.toml` itself makes."""
        return settings.parse(self._spool.config_text())

    def set_config(self, name: str, value: str | None) -> Any:
        """Set a key of `config.toml`, or take it out (None); returns the checked value. Raises `UsageError`."""
        key = settings.key(name)
        typed = None if value is None else settings.read_value(key, value)
        self._spool.write_config(settings.edit(self._spool.config_text(), key, typed), clock.stamp(clock.now()))
        return typed

    def doctor(self, *, repair: bool = False) -> list[Finding]:
        """Check the whole spool; with `repair`, mend what is safe. Returns what it found."""
        from queuectl import doctor

        return doctor.examine(self._spool, repair=repair)

    def stop_workers(
        self, *, now: bool = False, timeout: float | None = None, progress: Callable[[int], None] | None = None
    ) -> list[WorkerInfo]:
        """Stop all workers of this machine on this spool and return when they are gone; returns those that were there.

        Gracefully, or with `now` at once: their jobs are ended and put back. `progress` hears how many are left.
        Raises `TimedOut` after `timeout` seconds.
        """
        return registry.stop(self._spool, now=now, timeout=timeout, progress=progress)


def _fresh(spec: Spec, now: int, directory: str) -> Job:
    """Make a new job of what a caller gave; raises `UsageError`."""
    if isinstance(spec, Job):
        found = msgspec.structs.replace(spec, history=[])
    elif isinstance(spec, Mapping):
        unknown = [key for key in spec if key not in job_file.PRODUCER_KEYS]
        if unknown:
            raise UsageError(f"unknown field {unknown[0]!r}{job_file.nearest(unknown[0], job_file.PRODUCER_KEYS)}")
        found = _convert({key: value for key, value in spec.items() if value is not None})
    else:
        found = _convert({"command": spec})
    job_file.check(found)
    found.state, found.attempts, found.rev = State.PENDING, 0, 0
    found.last_error = found.exit = found.exit_code = None
    found.created_at = found.updated_at = clock.iso(now)
    found.cwd = found.cwd or directory
    if found.run_at is not None:
        found.run_at = found.due_at = clock.iso(clock.parse_time(found.run_at, now))
    return found


def _convert(fields: Mapping[str, Any]) -> Job:
    try:
        return msgspec.convert(dict(fields), Job)
    except msgspec.ValidationError as error:
        raise UsageError(job_file.explain(str(error))) from None


def _state(word: State | str) -> State:
    try:
        return State(word)
    except ValueError:
        raise UsageError(f"{word!r} is not a state", hint="one of: " + " ".join(State)) from None
