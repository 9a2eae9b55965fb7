"""Queue: everything that a program may ask of a spool. The command line is a thin door over it.

Opens no more than it needs and keeps no state of its own: two queues on one spool, in one process or in twenty, are
the same queue. Instants are ISO 8601 strings in jobs and milliseconds since the epoch elsewhere; durations are seconds.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from queuectl import awaiting, catalog, clock, expiry, names, operate, registry, room
from queuectl import config as settings
from queuectl.config import Config
from queuectl.errors import Conflict, NotFound, Refused, UsageError
from queuectl.intake import Intake
from queuectl.job import Job, State
from queuectl.spool import READ_ORDER

if TYPE_CHECKING:
    from queuectl.checks import Finding
    from queuectl.expiry import Purged
    from queuectl.overview import Overview
    from queuectl.registry import WorkerInfo

_SHOWN = (State.PENDING, State.PROCESSING, State.COMPLETED, State.FAILED, State.DEAD)


@dataclass(frozen=True, slots=True)
class Status:
    """The queue at a glance; instants in milliseconds since the epoch, None where there is none.

    `short_of_room` says why workers claim nothing, when less than `min_free_bytes` is free; `running_on` how many jobs
    run on each machine, as far as that is known here.
    """

    counts: dict[State, int]
    rejected: int
    workers: list[WorkerInfo]
    paused: bool
    oldest_pending_at: int | None
    next_run_at: int | None
    next_retry_at: int | None
    free_bytes: int = 0
    short_of_room: str | None = None
    running_on: dict[str, int] = field(default_factory=dict)


class Queue(Intake):
    """A job queue in a spool directory.

    `Queue("spool").enqueue("make", cwd="/src")` puts a job into it; workers (`queuectl worker start`) run it.
    """

    def __init__(self, path: str | os.PathLike[str] = "spool", *, create: bool = False, prefixes: bool = True) -> None:
        """Open the spool at `path`; with `create`, make it when it is not there. Raises as `Intake` does.

        Without `prefixes` an id means the job that has this id and no other, for callers that are no people.
        """
        super().__init__(path, create=create)
        self._prefixes = prefixes
        self._spots = operate.Spots(self._spool, prefixes=prefixes)

    # Looking.

    def resolve(self, prefixes: Iterable[str]) -> list[str]:
        """Return the ids that unique prefixes mean, in one look; raises `NotFound` or `AmbiguousId`."""
        wanted = list(prefixes)
        found = catalog.find(self._spool, wanted, prefixes=self._prefixes)
        self._spots.learn(found.values())
        return [names.id_part(found[prefix][1]) for prefix in wanted]

    def get(self, id: str) -> Job:
        """Return one job by its id or a unique prefix of it; raises `NotFound` or `AmbiguousId`."""
        for _ in range(20):
            state, name = catalog.find(self._spool, [id], prefixes=self._prefixes)[id]
            found = catalog.load(self._spool, state, name)
            if found:
                return found
            if self._spool.directories[state].lstat(name) is not None:
                raise Refused(f"{self.path / state / name}: not readable as a job", hint="queuectl doctor")
        raise NotFound(f"{id}: moves too fast to be read; try again")

    def present(self, ids: Iterable[str]) -> list[str]:
        """Return those of these whole ids that jobs have, in one look."""
        wanted = list(dict.fromkeys(ids))
        found = catalog.places(self._spool, wanted)
        self._spots.learn(found.values())
        return [id for id in wanted if id in found]

    def overview(self) -> Overview:
        """Return a view of the whole queue for whoever looks again and again; close it at the end."""
        from queuectl.overview import Overview

        return Overview(self.path)

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
        workers = [info for info in self.workers() if info.role == registry.WORKER]
        return Status(
            counts={state: found[state] for state in _SHOWN},
            rejected=catalog.rejected(self._spool),
            workers=workers,
            paused=self._spool.paused(),
            oldest_pending_at=pending.oldest_ready,
            next_run_at=pending.next_due,
            next_retry_at=failed.oldest_ready or failed.next_due,
            free_bytes=(free := room.free_bytes(self.path)),
            short_of_room=room.shortage(free, self._wanted_room()),
            running_on=dict(Counter(self.hosts(workers).values())),
        )

    def _wanted_room(self) -> int:
        try:
            return self.config().min_free_bytes
        except (UsageError, Refused, OSError):
            return 0  # workers keep the settings that they had

    def hosts(self, workers: list[WorkerInfo] | None = None) -> dict[str, str]:
        """Return by id on which machine each running job runs, as far as that is known here."""
        running = self._spool.directories[State.PROCESSING].listing()
        if not running:
            return {}
        return registry.hosts(self._spool, running, registry.live(self._spool) if workers is None else workers)

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

    def log_size(self, id: str) -> int:
        """Return how many bytes a job, by its whole id, has printed so far; 0 when there is no log."""
        return catalog.log_size(self._spool, _whole(id)) or 0

    def read_log(self, id: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield what a job, by its whole id, has printed, from one offset to another, in pieces."""
        return catalog.read_log(self._spool, _whole(id), start, end)

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
        return expiry.purge(self._spool, [place for place, on in wanted.items() if on], before=before, dry_run=dry_run)

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

    def token(self) -> tuple[str, bool]:
        """Return the secret that the HTTP door asks for, and whether it was made just now."""
        return self._spool.token()

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


def diagnose(path: str | os.PathLike[str], *, repair: bool = False) -> list[Finding]:
    """Check the spool at `path` as `Queue.doctor` does, even one whose marker keeps it from being opened.

    Raises `NotFound` when nothing there looks like a spool.
    """
    from queuectl import doctor

    return doctor.diagnose(path, repair=repair)


def _whole(id: str) -> str:
    if not names.is_id(id):
        raise NotFound(f"{id}: no such job")
    return id


def _state(word: State | str) -> State:
    try:
        return State(word)
    except ValueError:
        raise UsageError(f"{word!r} is not a state", hint="one of: " + " ".join(State)) from None
