"""The main job on real input: fifteen hundred files hashed through the queue, one job each."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path

from helpers import Cli

FILES = 1500


def write_files(directory: Path) -> list[str]:
    """Write files of many sizes and names; returns their names, in order."""
    chance = random.Random(1500)
    directory.mkdir()
    names = []
    for number in range(FILES):
        name = f"{number:04d}{chance.choice(['.bin', ' with blanks.txt', '-ü.dat', '$x;y&z.log', ''])}"
        size = chance.choice([0, 1, 100, 4096, 4097, chance.randrange(100_000)])
        (directory / name).write_bytes(chance.randbytes(size))
        names.append(name)
    return names


def test_1500_files_hashed_by_two_workers_give_what_xargs_prints(cli: Cli) -> None:
    files = cli.cwd / "files"
    names = write_files(files)
    jobs = [{"command": ["sha256sum", name], "id": f"hash-{n:04d}", "cwd": str(files)} for n, name in enumerate(names)]
    (cli.cwd / "jobs.jsonl").write_text("".join(json.dumps(job) + "\n" for job in jobs))
    cli.ok("config", "set", "durability", "relaxed")
    ids = cli.ok("enqueue", "-q", "-f", "jobs.jsonl").split()
    assert ids == [job["id"] for job in jobs]

    done = cli.drain(2)

    assert done.stderr == f"Drained: {FILES} completed, 0 dead, 0 failed attempts; 0 scheduled for later\n"
    expected = subprocess.run(
        ["xargs", "-0", "-n", "1", "sha256sum"],
        cwd=files,
        input=b"".join(os.fsencode(name) + b"\0" for name in names),
        capture_output=True,
        check=True,
    ).stdout
    logs = b"".join((cli.spool / "logs" / f"{id}.log").read_bytes() for id in ids)
    assert logs == expected
    assert logs.count(b"\n") == FILES
    assert cli.counts() == {"pending": 0, "processing": 0, "completed": FILES, "failed": 0, "dead": 0}
    assert {(job["attempts"], job["exit_code"]) for job in cli.jobs("completed").values()} == {(1, 0)}
    assert len({job["history"][0]["worker"] for job in cli.jobs("completed").values()}) == 2
    assert cli.files("processing") + cli.files("tmp") == []
