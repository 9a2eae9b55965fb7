"""What lies in the directories of the states: jobs that cannot be read, that contradict their names, that were left.

A job that runs is locked and is passed over. A drop is no finding: the next worker admits or rejects it. What cannot
be understood goes to `rejected/`, its bytes unchanged; a success that is recorded never runs again, so what has ended
is only ever renamed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from queuectl import catalog, clock, config, disk, job, names, recovery
from queuectl.admission import Admission
from queuectl.checks import Case, Finding
from queuectl.disk import Miss
from queuectl.errors import BadJobFile, QueuectlError
from queuectl.job import Job, State
from queuectl.settling import CANCELLED, STOPPED
from queuectl.spool import READ_ORDER, Claim, Spool, final_place, read_name

ENDED = (State.COMPLETED, State.DEAD)
FUTURE_MS = 3_600_000  # clocks differ by seconds, and are set back by hours
YOUNG_MS = 10_000
ABANDONED_MS = 3_600_000


def look(spool: Spool, now: int) -> Iterator[Case]:
    """Check every file in the directories of the states."""
    for state in READ_ORDER:
        for name in sorted(spool.directories[state].listing()):
            status = None if name.startswith(".") else spool.directories[state].lstat(name)
            if status is not None:
                yield from _Entry(spool, state, name, now).look(status)


class _Entry:
    """One name in the directory of a state."""

    def __init__(self, spool: Spool, state: State, name: str, now: int) -> None:
        self._spool, self._state, self._name, self._now = spool, state, name, now

    def look(self, status: os.stat_result) -> Iterator[Case]:
        canonical = read_name(self._state, self._name) is not None
        if stat.S_ISDIR(status.st_mode):
            yield self._case("stray", "a directory is no job, and nobody looks into it", "move it away", self._put_away)
        elif not canonical:
            yield from self._misnamed(status)
        elif not stat.S_ISREG(status.st_mode):
            yield self._case("stray", "no regular file, so no job", "rm or move it", self._put_away)
        elif self._state is State.PROCESSING:
            yield from self._orphan()
        else:
            yield from self._job()

    def _case(self, kind: str, meaning: str, remedy: str, mend: object = None) -> Case:
        finding = Finding(kind, str(self._spool.path / self._state / self._name), meaning, remedy)
        return Case(finding, mend if callable(mend) else None)

    # What is not a job's file.

    def _misnamed(self, status: os.stat_result) -> Iterator[Case]:
        age = self._now - status.st_ctime_ns // 1_000_000
        if self._state is State.PENDING and (names.is_drop(self._name) or abs(age) < YOUNG_MS):
            return  # a drop, or what a producer is about to rename into one
        old = self._state is not State.PENDING or age >= ABANDONED_MS
        yield self._case(
            "stray",
            "not a name that queuectl gives, so nobody looks at it",
            "move it away; in pending/, a drop needs a name that ends in .json",
            self._put_away if old else None,
        )

    def _put_away(self) -> bool:
        """Move it to `rejected/`, whatever it is."""
        fd = self._spool.directories[self._state].lock(self._name)
        if fd in (Miss.BUSY, Miss.GONE):
            return False
        try:
            why = "found by doctor where only jobs belong"
            return self._spool.reject(self._state, self._name, why, now=clock.now()) is not None
        finally:
            if not isinstance(fd, Miss):
                os.close(fd)

    # Jobs.

    def _job(self) -> Iterator[Case]:
        try:
            data = self._read()
            if data is None:
                return
            found = job.parse(data)
            problem = self._contradiction(found)
        except BadJobFile as error:
            yield self._unreadable(error)
            return
        if problem:
            yield problem
        yield from self._times(found)

    def _read(self) -> bytes | None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(self._name, flags, dir_fd=self._spool.directories[self._state].fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BadJobFile(f"cannot be opened ({error.strerror})") from None
        try:
            return disk.read(fd, catalog.MAX_BYTES)
        finally:
            os.close(fd)

    def _unreadable(self, error: BadJobFile) -> Case:
        remedy = "queuectl doctor --repair moves it to rejected/; mend it there and mv it to pending/"

        def mend() -> bool:
            return bool(_admission(self._spool).refuse_canonical(self._state, self._name, error, clock.now()).rejected)

        return self._case("unreadable", f"not readable as a job: {error}", remedy, mend)

    def _contradiction(self, found: Job) -> Case | None:
        """Compare a job with its name; raises `BadJobFile` when its JSON makes no sense for one that has ended."""
        read = read_name(self._state, self._name)
        named = read.id if read else ""
        if self._state in ENDED and found.state in ENDED:
            found.id = found.id or named
            place, target = final_place(found)
            if (place, target) != (self._state, self._name):
                meaning = f"its JSON says {place}/{target}: it was moved or renamed by hand"
                return self._case("contradiction", meaning, f"mv it to {place}/{target}", self._move_back)
        elif self._state in ENDED:
            meaning = f"its JSON says {found.state}: it was moved here by hand, and does not run"
            return self._case("contradiction", meaning, f"queuectl retry {named} runs it", self._bury)
        elif found.id and found.id != named:
            meaning = f"its JSON says that its id is {found.id}; the name decides, so it is {named}"
            return self._case("contradiction", meaning, "--repair writes the name's id into it", self._rewrite)
        return None

    def _times(self, found: Job) -> Iterator[Case]:
        told = [text for text in (found.created_at, found.updated_at) if text]
        latest = max((clock.uniso(text) for text in told), default=0)
        if latest > self._now + FUTURE_MS:
            meaning = f"its times lie in the future ({clock.iso(latest)}): the clock was ahead then, or is behind now"
            remedy = "set the clock right; purge goes by this time"
            if self._state not in ENDED:
                remedy = "set the clock right; a rename to an earlier stamp makes it due"
            yield self._case("future", meaning, remedy)

    def _move_back(self) -> bool:
        """Give a job that has ended the place and name that its JSON says, or reject a copy of one that is there."""
        fd = self._spool.directories[self._state].lock(self._name)
        if isinstance(fd, Miss):
            return False
        try:
            found = job.parse(disk.read(fd, catalog.MAX_BYTES))
            read = read_name(self._state, self._name)
            found.id = found.id or (read.id if read else "")
            guard = self._spool.lock_ids()
            try:
                elsewhere = read is None or found.id != read.id
                if elsewhere and self._spool.taken({found.id}):
                    why = f"its JSON says that it is {found.id}, which is another job here"
                    return self._spool.reject(self._state, self._name, why, now=clock.now()) is not None
                return self._spool.put_back(self._state, self._name, found)
            finally:
                os.close(guard)
        finally:
            os.close(fd)

    def _claim(self) -> Claim | None:
        claim = self._spool.claim(self._state, self._name, now=clock.now(), limit=catalog.MAX_BYTES, durable=True)
        return claim if isinstance(claim, Claim) else None

    def _rewrite(self) -> bool:
        """Write a waiting job's JSON anew, with the id of its name."""
        claim = self._claim()
        if claim is None:
            return False
        claim.job.rev += 1
        claim.job.state = self._state
        return self._spool.settle(claim, now=clock.now(), durable=True)

    def _bury(self) -> bool:
        """Write down that a job which was moved out of the way does not run: as `cancel` does."""
        claim = self._claim()
        if claim is None:
            return False
        found = claim.job
        found.rev += 1
        found.state, found.updated_at = State.DEAD, clock.iso(clock.now())
        found.exit, found.exit_code, found.last_error = CANCELLED, None, f"moved to {self._state}/ by hand"
        return self._spool.settle(claim, now=clock.now(), durable=True)

    # Orphans.

    def _orphan(self) -> Iterator[Case]:
        """Report a file in `processing/` that nobody holds."""
        try:
            claim = self._spool.take_orphan(self._name, limit=catalog.MAX_BYTES)
        except BadJobFile as error:
            yield self._unreadable(error)
            return
        running = names.running(self._name)
        if isinstance(claim, Miss) or running is None:
            return
        claim.close()
        remedy = "the next worker settles it; start one"
        if claim.job.rev >= running.rev:
            meaning = f"decided ({claim.job.state}), but its worker died before moving it"
        else:
            meaning = "its worker died; the attempt is lost"
            if claim.job.rev < running.rev - 1:
                meaning += f" (its JSON is of revision {claim.job.rev}, its name of {running.rev})"
        yield self._case("orphan", meaning, remedy, self._recover)

    def _recover(self) -> bool:
        """Settle it as the next worker would, by the settings that hold here."""
        try:
            settings = config.load(self._spool.config_text())
        except (QueuectlError, OSError):
            return False
        recovery.recover_one(self._spool, self._name, settings, _Silent(), recovery.Recovered())
        return self._spool.directories[self._state].lstat(self._name) is None


def _admission(spool: Spool) -> Admission:
    return Admission(spool, limit=catalog.MAX_BYTES)


class _Silent:
    """What an attempt hears when nobody is there to wait: a disk that refuses ends it."""

    def fds(self) -> Sequence[int]:
        return ()

    def word(self, _id: str) -> str | None:
        return STOPPED

    def tick(self, _log: int, _start: int) -> None:
        return

    def say(self, _text: str) -> None:
        return
