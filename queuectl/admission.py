"""Drops by other tools: which files in `pending/` become jobs, and which go to `rejected/` with a reason.

A drop runs only when it is whole: no proper prefix of a JSON object is one, so a file that does not parse is left alone
while it is young. Nothing here stops a worker or changes a byte: a drop ends with a canonical name, in `rejected/`, or
where it is.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field

from queuectl import clock, disk, job, names
from queuectl.disk import Miss
from queuectl.errors import BadJobFile
from queuectl.ids import IdSource
from queuectl.job import Job
from queuectl.spool import Spool

YOUNG_MS = 10_000
BUSY_MS = 100
LONGEST_WHY = 300
STUCK = (errno.EPERM, errno.EBUSY)  # a file that nobody may rename (chattr +i), a mount point


@dataclass(slots=True)
class Report:
    """What became of some drops: admitted names, rejected ones with their reasons, and when to look again."""

    admitted: list[str] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)
    again_at: int | None = None

    def look_again(self, instant: int) -> None:
        """Ask for another look at `instant`, or earlier if somebody asked so."""
        self.again_at = instant if self.again_at is None else min(self.again_at, instant)


@dataclass(slots=True)
class _Drop:
    """An accepted drop, locked, that waits for its id."""

    name: str
    fd: int
    job: Job
    arrived: int


class Admission:
    """Admits drops into one spool."""

    def __init__(self, spool: Spool, *, limit: int) -> None:
        self._spool = spool
        self._limit = limit
        self._ids = IdSource()

    def admit(self, drops: Iterable[str], now: int, late: frozenset[str] = frozenset()) -> Report:
        """Look at each drop in the order of arrival and accept, reject or leave it.

        Those that came after the last one that is not `late` are left to the next look, which sees what came between.
        """
        report = Report()
        accepted: list[_Drop] = []
        try:
            for name in self._by_arrival(drops, late):
                drop = self._examine(name, now, report)
                if drop:
                    accepted.append(drop)
                if len(accepted) >= 256:  # each holds a descriptor
                    self._settle(accepted, now, report)
            self._settle(accepted, now, report)
        finally:
            for drop in accepted:
                os.close(drop.fd)
        return report

    def _by_arrival(self, drops: Iterable[str], late: frozenset[str]) -> list[str]:
        # Those that came within one tick of the kernel's clock go by when they were written, and then by name.
        found = [(status.st_ctime_ns, status.st_mtime_ns, name) for name in drops if (status := self._stat(name))]
        ordered = [name for *_, name in sorted(found)]
        while ordered and ordered[-1] in late:
            ordered.pop()
        return ordered

    def _stat(self, name: str) -> os.stat_result | None:
        return self._spool.directories["pending"].lstat(name)

    def _examine(self, name: str, now: int, report: Report) -> _Drop | None:
        """Lock a drop and read it; returns it when it is a job, else reports what became of it."""
        status = self._stat(name)
        if status is None:
            return None
        fd = self._spool.directories["pending"].lock(name) if stat.S_ISREG(status.st_mode) else Miss.SPECIAL
        if fd is Miss.BUSY:
            report.look_again(now + BUSY_MS)
        elif fd is Miss.SPECIAL:
            self._not_regular("pending", name, status, now, report)
        if isinstance(fd, Miss):
            return None
        try:
            return _Drop(name, fd, self._read(fd), _arrival(status, now))
        except BadJobFile as error:
            try:
                self._refuse("pending", name, error, os.fstat(fd), now, report)
            finally:
                os.close(fd)  # or the file would stay locked by this worker, for all of them
            return None
        except BaseException:
            os.close(fd)
            raise

    def _not_regular(self, place: str, name: str, status: os.stat_result, now: int, report: Report) -> None:
        if stat.S_ISDIR(status.st_mode):
            report.left.append((f"{place}/{name}", f"a directory is no job; move it out of {place}/"))
        elif stat.S_ISREG(status.st_mode):
            error = BadJobFile("not readable for this worker", whole=False)
            self._refuse(place, name, error, status, now, report)
        else:
            self._reject(place, name, f"{_kind(status.st_mode)} is no job", status, now, report)

    def refuse_special(self, place: str, name: str, now: int) -> Report:
        """Reject or leave what has a canonical name and cannot be locked for what it is."""
        report = Report()
        status = self._spool.directories[place].lstat(name)
        if status:
            self._not_regular(place, name, status, now, report)
        return report

    def _read(self, fd: int) -> Job:
        data = disk.read(fd, self._limit)
        if len(data) > self._limit:
            raise BadJobFile(f"larger than max_job_bytes ({self._limit} bytes)")
        return job.parse_new(data)

    def _refuse(self, place: str, name: str, error: BadJobFile, seen: os.stat_result, now: int, report: Report) -> None:
        if not error.whole and _is_young(seen, now):
            report.look_again(now + YOUNG_MS)
        else:
            self._reject(place, name, str(error), seen, now, report)

    def _reject(self, place: str, name: str, why: str, seen: os.stat_result, now: int, report: Report) -> None:
        if len(why) > LONGEST_WHY:  # it may quote the file
            why = f"{why[: LONGEST_WHY // 2]} … {why[-LONGEST_WHY // 3 :]}"
        try:
            if self._spool.reject(place, name, why, now=now, seen=seen):
                report.rejected.append((name, why))
        except OSError as error:
            report.left += self.stuck(place, name, error)

    def _settle(self, accepted: list[_Drop], now: int, report: Report) -> None:
        """Give accepted drops their canonical names, asked-for ids under the lock that enqueue takes too."""
        asked = {drop.job.id for drop in accepted if drop.job.id}
        guard = self._spool.lock_ids() if asked else -1
        try:
            taken = self._spool.taken(asked) if asked else {}
            while accepted:
                drop = accepted.pop(0)
                try:
                    self._name(drop, taken, now, report)
                finally:
                    os.close(drop.fd)
        finally:
            if guard >= 0:
                os.close(guard)

    def _name(self, drop: _Drop, taken: dict[str, str], now: int, report: Report) -> None:
        wanted = drop.job.id
        if wanted in taken:
            why = f"id {wanted!r} is already taken ({taken[wanted]})"
            self._reject("pending", drop.name, why, os.fstat(drop.fd), now, report)
            return
        due = clock.parse_time(drop.job.run_at, drop.arrived) if drop.job.run_at else drop.arrived
        target = names.WaitingName(clock.stamp(due), drop.job.level, wanted or self._ids.new(due))
        try:
            if self._spool.admit(drop.name, target):
                report.admitted.append(str(target))
                if wanted:
                    taken[wanted] = "pending"
        except FileNotFoundError:
            return  # RACE: a foreign mv took it back
        except OSError as error:
            report.left += self.stuck("pending", drop.name, error)

    def stuck(self, place: str, name: str, error: OSError) -> list[tuple[str, str]]:
        """Return what to tell of a file that cannot be renamed, or raise: it must not keep others from running."""
        if error.errno not in STUCK:
            raise error
        return [(f"{place}/{name}", f"it cannot be moved ({error.strerror})")]

    def refuse_canonical(self, place: str, name: str, error: BadJobFile, now: int) -> Report:
        """Reject a file whose name is canonical and whose bytes are not a job, unless it may still be being written."""
        report = Report()
        fd = self._spool.directories[place].lock(name)
        if isinstance(fd, Miss):
            return report
        try:
            if place == "pending":
                self._refuse(place, name, error, os.fstat(fd), now, report)
            else:
                self._reject(place, name, str(error), os.fstat(fd), now, report)
        finally:
            os.close(fd)
        return report


def _arrival(status: os.stat_result, now: int) -> int:
    # The change time is that of the last write or rename, which nobody can set; a clock set back must not delay a job.
    return min(status.st_ctime_ns // 1_000_000, now)


def _is_young(status: os.stat_result, now: int) -> bool:
    return abs(now - status.st_ctime_ns // 1_000_000) < YOUNG_MS


def _kind(mode: int) -> str:
    for test, word in (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if test(mode):
            return word
    return "a device"
