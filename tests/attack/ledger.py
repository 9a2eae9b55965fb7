"""What jobs were put in, what became of them, and the promises of the protocol, checked against the spool's files."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from queuectl import names
from queuectl.job import State
from queuectl.spool import READ_ORDER, read_name


@dataclass
class Entry:
    """A job that somebody has tried to put in."""

    token: str
    id: str | None
    data: bytes = b""  # of a drop, as far as it is written
    whole: bytes = b""
    acknowledged: bool = False
    may_be_rejected: bool = False
    may_be_removed: bool = False
    starts: int = 0
    put_back: int = 0
    succeeded: bool = False
    retried: bool = False


@dataclass(frozen=True)
class Seen:
    """A file that holds a job, or a part of one."""

    place: str
    name: str
    id: str
    job: dict[str, Any]

    @property
    def undecided(self) -> bool:
        running = names.running(self.name) if self.place == "processing" else None
        return running is not None and self.job.get("rev", 0) < running.rev


@dataclass
class Ledger:
    """All jobs of one spool, by the token in their environment."""

    spool: Path
    entries: dict[str, Entry] = field(default_factory=dict)
    _unstarted: int = 0
    kills: int = 0  # of processes; each may leave one attempt that is counted although nothing has started

    def enter(self, id: str | None, **fields: Any) -> Entry:
        """Begin an entry for a job that is about to be put in."""
        made = Entry(f"t{len(self.entries)}", id, **fields)
        self.entries[made.token] = made
        return made

    def read(self) -> dict[str, list[Seen]]:
        """Return the files of each job, by its token; of a drop that is half written, by its name."""
        found: dict[str, list[Seen]] = {token: [] for token in self.entries}
        for place in (*READ_ORDER, "rejected"):
            for name in os.listdir(self.spool / place):
                if name.endswith(".why") or name.startswith("."):
                    continue
                data = (self.spool / place / name).read_bytes()
                known = read_name(State(place), name) if place != "rejected" else None
                try:
                    job = json.loads(data)
                    token = job["env"]["TOKEN"]
                except (ValueError, KeyError):
                    job, token = {}, name.rpartition("drop-")[2].removesuffix(".json")
                assert token in found, f"{place}/{name} is nobody's"
                found[token].append(Seen(place, name, known.id if known else "", job))
        return found

    def ids(self) -> list[str]:
        """Return the ids of the jobs in the spool, in the order in which they were put in."""
        return [file.id for files in self.read().values() for file in files if file.id]

    def check(self) -> None:
        """Hold all promises against what lies in the spool now."""
        owners: dict[str, str] = {}
        self._unstarted = 0
        for token, files in self.read().items():
            entry = self.entries[token]
            assert len(files) <= 1, f"{token} has several names: {files}"
            for file in files:
                assert not file.id or owners.setdefault(file.id, token) == token, f"{file.id}: two jobs have this id"
                self._check_file(entry, file)
            if entry.acknowledged and not entry.may_be_removed:
                assert files, f"{entry} is lost"

    def _check_file(self, entry: Entry, file: Seen) -> None:
        if file.place == "rejected":
            assert entry.may_be_rejected, f"{entry} was rejected: {file}"
            assert (self.spool / "rejected" / file.name).read_bytes() == entry.data
            return
        counted = len(file.job.get("history", ())) + file.undecided
        assert entry.starts - entry.put_back <= counted, f"{entry} started more often than it was counted: {file}"
        self._unstarted += max(0, counted - file.undecided - entry.starts + entry.put_back)
        assert self._unstarted <= self.kills, f"{entry} was counted more often than it started: {file}"
        if not entry.retried:
            assert file.job.get("attempts", 0) == len(file.job.get("history", ())), f"{file} has lost count"
        decided = file.place == "processing" and not file.undecided
        if file.place == "completed" or (decided and file.job["state"] == "completed"):
            entry.succeeded = True

    def start(self, token: str) -> None:
        """Take note of a start of a job's command."""
        entry = self.entries[token]
        assert not entry.succeeded, f"{entry} ran again after its success was recorded"
        entry.starts += 1
