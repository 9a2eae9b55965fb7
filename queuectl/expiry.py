"""Deleting what has ended and is old: by an operator's `purge`, and by workers where `keep_completed` says so.

Goes by the times in the names and deletes nothing else: a job that is held, or is younger, stays.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

from queuectl import clock
from queuectl.spool import Spool, read_name


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge deleted, or would delete: how many of each."""

    completed: int = 0
    dead: int = 0
    rejected: int = 0


def purge(spool: Spool, places: Iterable[str], *, before: int, dry_run: bool) -> Purged:
    """Delete what ended before an instant from the named places, jobs with their logs."""
    limit = clock.stamp(before)
    done = dict.fromkeys(("completed", "dead", "rejected"), 0)
    for place in places:
        for name in spool.directories[place].listing():
            if name[:19] > limit or (place != "rejected" and read_name(place, name) is None):
                continue
            if place == "rejected":
                done[place] += _purge_rejected(spool, name, dry_run)
            else:
                done[place] += dry_run or spool.remove(place, name)
    return Purged(**done)


def _purge_rejected(spool: Spool, name: str, dry_run: bool) -> int:
    """Delete a rejected file with its reason; counts the file, not the reason. A directory is not ours to delete."""
    status = spool.directories["rejected"].lstat(name)
    if status is not None and stat.S_ISDIR(status.st_mode):
        return 0
    if name.endswith(".why") and spool.directories["rejected"].lstat(name[:-4]):
        return 0
    if dry_run:
        return int(not name.endswith(".why"))
    gone = spool.unlink("rejected", name)
    spool.unlink("rejected", name + ".why")
    return int(gone and not name.endswith(".why"))
