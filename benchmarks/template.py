"""Job files as queuectl writes them, made from one that it wrote: for a million jobs at once, and for a steady feed.

The name of a file in `pending/` is `<due>.<priority>.<id>.json`; due and id are replaced in name and content.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.processes import BenchError, output
from benchmarks.spool import Spool

ID = "template-job"
STAMP = "20990101T000000000Z"
ISO = "2099-01-01T00:00:00.000Z"
PAST_MS, FUTURE_MS = 978_307_200_000, 4_070_908_800_000  # the beginnings of 2001 and 2099, since the epoch


class Template:
    """The bytes and the name of one job, from which others are made."""

    def __init__(self, content: bytes, name: str) -> None:
        """Take what queuectl wrote."""
        self.content = content
        self.name = name

    @classmethod
    def of(cls, spool: Spool) -> Template:
        """Have queuectl write the job, take it, and remove it again."""
        output(spool.command("enqueue", "-q", "--id", ID, "--run-at", ISO, "/bin/true"))
        name = f"{STAMP}.5.{ID}.json"
        path = spool.path / "pending" / name
        if not path.exists():
            raise BenchError(f"no {name} in pending/: the names are not those of the protocol")
        content = path.read_bytes()
        path.unlink()
        return cls(content, name)

    def job(self, number: int, due_ms: int) -> tuple[str, bytes]:
        """Return name and bytes of the `number`-th job, due at an instant in milliseconds since the epoch."""
        seconds, ms = divmod(due_ms, 1000)
        when = time.gmtime(seconds)
        stamp = f"{time.strftime('%Y%m%dT%H%M%S', when)}{ms:03d}Z"
        iso = f"{time.strftime('%Y-%m-%dT%H:%M:%S', when)}.{ms:03d}Z"
        new_id = f"{number * 2654435761 % 2**32:08x}{number:08x}"  # scattered, like ids that are chosen at random
        content = self.content.replace(ISO.encode(), iso.encode()).replace(ID.encode(), new_id.encode())
        return self.name.replace(STAMP, stamp).replace(ID, new_id), content

    def fill(self, directory: Path, count: int, first_ms: int) -> None:
        """Write `count` jobs, due a millisecond apart, straight into a directory in which nobody works."""
        for number in range(count):
            name, content = self.job(number, first_ms + number)
            _write(directory / name, content)


def feed(spool: Path, template: Template, per_second: float) -> Iterator[int]:
    """Rename ready jobs into a spool at a steady pace, from now on; yields how many have been fed."""
    outside = spool.with_name(f"{spool.name}-feed")
    outside.mkdir()
    began = time.monotonic()
    number = 0
    while True:
        behind = int((time.monotonic() - began) * per_second) - number
        for _ in range(behind):
            name, content = template.job(number, time.time_ns() // 1_000_000)
            _write(outside / name, content)
            os.rename(outside / name, spool / "pending" / name)
            number += 1
        yield number
        time.sleep(1 / per_second)


def _write(path: Path, content: bytes) -> None:
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    os.write(file, content)
    os.close(file)


def main() -> None:
    """Feed: `python -m benchmarks.template SPOOL TEMPLATE JOBS_PER_SECOND`, until it is ended."""
    spool, source, pace = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    for _ in feed(spool, Template(source.read_bytes(), source.name), pace):
        pass


if __name__ == "__main__":
    main()
