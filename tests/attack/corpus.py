"""Files that a worker may meet in pending/, one table: the name, how the file is made, and what must become of it.

`@` in a job's text stands for a command that notes the number of its case, so that each run shows. A fate is a word:

RUNS      it is a job, and runs exactly once
STARTS    it is a job that cannot be started, or is ended by its own timeout: one attempt, then dead
KEPT      it is no job: in rejected/, bytes unchanged, with a reason of one line
EITHER    one of the above
ONE_OF    of all files with the same group exactly one runs, and the others are kept
LEFT      it stays where it is, unchanged
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from machine import leave_socket

from attack.corpus_bytes import DOOMED, FIELDS, RIGHT, VALUES, WRONG

RUNS, STARTS, KEPT, EITHER, ONE_OF, LEFT = "runs", "starts", "kept", "either", "one of", "left"
LIMIT = 300_000  # max_job_bytes of the spool that meets them
PAST, FUTURE = "20200101T000000000Z", "20990101T000000000Z"

Maker = Callable[[Path, str], None]  # makes a file at a path; the text is the command of its case


@dataclass(frozen=True)
class Case:
    """One file: what is special about it, its name, how it is made, its fate, and whose fate it shares."""

    label: str
    name: bytes
    make: Maker
    fate: str
    group: str = ""


def text(data: str, encoding: str = "utf-8") -> Maker:
    """Make a file of this text, with the case's command for each `@`."""

    def make(path: Path, command: str) -> None:
        path.write_bytes(data.replace("@", command).encode(encoding, "surrogatepass"))

    return make


def raw(data: bytes) -> Maker:
    """Make a file of these bytes, with the case's command for each `@`."""

    def make(path: Path, command: str) -> None:
        path.write_bytes(data.replace(b"@", command.encode()))

    return make


CANONICAL = {
    "bytes that are none": (f"{PAST}.5.bad-bytes.json", text("hello"), KEPT),
    "half of it": (f"{PAST}.5.half.json", text('{"command": "@'), KEPT),
    "nothing": (f"{PAST}.5.nothing.json", raw(b""), KEPT),
    "a job": (f"{PAST}.5.canonical.json", text('{"command": "@"}'), RUNS),
    "another id": (f"{PAST}.9.this-one.json", text('{"command": "@", "id": "that-one"}'), RUNS),
    "an id that is none": (f"{PAST}.9.id-in-name.json", text('{"command": "@", "id": "../x"}'), KEPT),
    "a key twice": (f"{PAST}.5.key-twice.json", text('{"command": "@", "id": "x1", "id": "x2"}'), RUNS),
    "revisions without end": (f"{PAST}.5.rev-end.json", text('{"command": "@", "rev": 999999999}'), KEPT),
    "attempts without end": (f"{PAST}.5.tries-end.json", text('{"command": "@", "attempts": 1000000000}'), KEPT),
    "not due": (f"{FUTURE}.5.not-due.json", text('{"command": "@"}'), LEFT),
    "not due and no job": (f"{FUTURE}.5.not-due-bad.json", text("hello"), LEFT),
    "the longest id": (f"{PAST}.5.{'c' * 100}.json", text('{"command": "@"}'), RUNS),
    "an id with dots": (f"{PAST}.5.a.b..c.json.json", text('{"command": "@"}'), RUNS),
    "the year nought": ("00000101T000000000Z.5.year-nought.json", text('{"command": "@"}'), RUNS),
    "a day that is none": ("20200231T000000000Z.5.no-day.json", text('{"command": "@"}'), RUNS),
}

NAMES = [
    *(b"two words.json", b" .json", b"\t.json", b"\n.json", b"new\nline.json", b"\r\n.json"),
    *(b"-.json", b"--help.json", b"-rf *.json", b"*.json", b"?.json", b"[.json", b"~.json", b"#.json", b"%s%n.json"),
    *(b"$(touch oops).json", b"`touch oops`.json", b";touch oops;.json", b"&|<>.json", b"\\.json", b"a\\nb.json"),
    *(b"'.json", b'".json', b"\x01.json", b"\x1b[2J.json", b"\x7f.json", b"\x9b2J.json", b"\xff.json"),
    *(b"\xed\xa0\x80.json", b"\xc0\xaf.json", b"\xf0\x9f.json", "\u202e.json".encode(), "\u2028.json".encode()),
    *("e\u0301.json".encode(), "\u00e9.json".encode(), "\U0001f680.json".encode(), "\u00a0.json".encode()),
    *(
        b"x" * 250 + b".json",
        b"\xff" * 250 + b".json",
        "\u00e9".encode() * 125 + b".json",
    ),
    *(b"x..json", b"x.json.json", b"con.json", b"nul.json", b"x.tmp.json", b"x.why.json", b"0.json"),
]
NEARLY_CANONICAL = [
    *(f"{PAST}.5.json", f"{PAST}.5..json", f"{PAST}..x.json", f"{PAST}.x.y.json", f"{PAST}.10.y.json"),
    *(f"{PAST}.5.-x.json", f"{PAST}.5.x y.json", f"{PAST}.5.x\n.json", f"{PAST}.5.é.json", f"{PAST}.\u0665.x.json"),
    *(f"{PAST}.5.{'x' * 101}.json", f"{PAST} .5.x.json", f"{PAST}.5.x.json.json\n.json", f"{PAST[:-1]}z.5.x.json"),
    *("20201301T000000000Z.5.x.json", "20200100T000000000Z.5.x.json", "20200101T240000000Z.5.x.json"),
    *("20200101T006000000Z.5.x.json", "20200101T000060000Z.5.x.json", "20200101 000000000Z.5.x.json"),
    *("\u0662\u0660200101T000000000Z.5.x.json", "99991301T000000000Z.5.x.json", f"{FUTURE}.x.y.json"),
    *(f"{FUTURE}.5.-x.json", "zzzzzzzzTzzzzzzzzzZ.5.x.json", f"{PAST}Z.5.x.json", f"{PAST}.5.x.JSON\n.json"),
]
NOT_FOR_US = [
    *(".hidden.json", ".json", "notes.txt", "json", "x.json ", "x.json.part", "x.JSON", "x.jsonl", "x.json~", "..x"),
    *(f".{PAST}.5.x.json", f"{PAST}.5.x", f"{PAST}.5.x.json.part", f"{PAST}.5.x.Json"),
]


# Files that are no plain files.


def fifo(path: Path, _: str) -> None:
    os.mkfifo(path)


def listening(path: Path, _: str) -> None:
    leave_socket(path)


def folder(path: Path, _: str) -> None:
    path.mkdir()
    (path / "inside.json").write_bytes(b'{"command": "touch oops"}')


def link_to(target: str) -> Maker:
    return lambda path, _: path.symlink_to(target)


def link_to_job(path: Path, command: str) -> None:
    """Make a symbolic link to a job outside of the spool."""
    target = path.parent.parent.parent / f"outside-{path.name}"
    target.write_text(json.dumps({"command": command}))
    path.symlink_to(target)


def hard_link(path: Path, command: str) -> None:
    """Make a second name of a job outside of the spool."""
    target = path.parent.parent.parent / f"elsewhere-{path.name}"
    target.write_text(json.dumps({"command": command}))
    os.link(target, path)


def link_to_completed(path: Path, _: str) -> None:
    """Make a second name of a job that has completed."""
    done = path.parent.parent / "completed" / f"{PAST}.0.has-run.json"
    if not done.exists():
        record = {"command": "touch oops", "id": "has-run", "state": "completed", "rev": 1, "attempts": 1, "exit": "0"}
        done.write_text(json.dumps({**record, "updated_at": "2020-01-01T00:00:00.000Z"}))
    os.link(done, path)


def sparse(size: int, data: bytes = b"") -> Maker:
    def make(path: Path, command: str) -> None:
        path.write_bytes(data.replace(b"@", command.encode()))
        os.truncate(path, size)

    return make


def padded(size: int) -> Maker:
    def make(path: Path, command: str) -> None:
        path.write_bytes(json.dumps({"command": command}).encode().ljust(size))

    return make


SPECIAL = {
    "a FIFO": (fifo, KEPT),
    "a socket": (listening, KEPT),
    "a directory": (folder, LEFT),
    "a link to nothing": (link_to("nowhere"), KEPT),
    "a link to itself": (link_to("loop.json"), KEPT),
    "a link to a directory": (link_to("/"), KEPT),
    "a link to a device": (link_to("/dev/zero"), KEPT),
    "a link to a job": (link_to_job, KEPT),
    "a link to a job in the spool": (link_to(f"{PAST}.5.canonical.json"), KEPT),
    "a sparse file of a terabyte": (sparse(2**40), KEPT),
    "a job with a hole after it": (sparse(100_000, b'{"command": "@"}'), KEPT),
    "a file of 16 MB": (padded(2**24), KEPT),
}

DUPLICATES = {
    "one id": [text('{"command": "@", "id": "same"}')] * 4,
    "one id and two priorities": [text(f'{{"command": "@", "id": "same.2", "priority": {n}}}') for n in (1, 9)],
}


def _bytes() -> Iterator[Case]:
    for label, data in RIGHT.items():
        yield Case(label, b"", text(data), RUNS)
    yield Case("as large as allowed", b"", padded(LIMIT), RUNS)
    yield Case("larger than allowed", b"", padded(LIMIT + 1), KEPT)
    for label, data in DOOMED.items():
        yield Case(label, b"", text(data), STARTS)
    for label, bad in WRONG.items():
        yield Case(label, b"", raw(bad) if isinstance(bad, bytes) else text(bad), KEPT)
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp037"):
        yield Case(encoding, b"", text('{"command": "@"}', encoding), KEPT)
    whole = '{"command": "true", "id": "whole"}'
    for length in range(len(whole)):
        yield Case(f"{length} bytes of it", b"", text(whole[:length]), KEPT)


def _values() -> Iterator[Case]:
    """Yield each kind of value in each field."""
    for field in FIELDS:
        for value in VALUES:
            others = {"command": '"@"', "max_retries": "0", field: value}
            job = ", ".join(f'"{key}": {spelt}' for key, spelt in others.items())
            yield Case(f"{field} {value}", b"", text(f"{{{job}}}"), EITHER)


def _files() -> Iterator[Case]:
    for label, (make, fate) in SPECIAL.items():
        yield Case(label, b"", make, fate)
    for label, makers in DUPLICATES.items():
        for make in makers:
            yield Case(label, b"", make, ONE_OF, label)
    yield Case("a second name of a job elsewhere", b"", hard_link, RUNS)
    yield Case("a second name of a completed job", b"", link_to_completed, KEPT)
    for kind in ("a FIFO", "a socket", "a directory", "a link to nothing", "a sparse file of a terabyte"):
        make, fate = SPECIAL[kind]
        name = f"{PAST}.5.{kind.replace(' ', '-')}.json"
        yield Case(f"canonical, {kind}", name.encode(), make, fate)


def _names() -> Iterator[Case]:
    for label, (word, make, fate) in CANONICAL.items():
        yield Case(f"canonical, {label}", word.encode(), make, fate)
    for name in NAMES:
        yield Case(repr(name[:40]), name, text('{"command": "@"}'), RUNS)
        if len(name) < 200:
            yield Case(f"no job in {name!r}", b"bad " + name, text("hello"), KEPT)
    for word in NEARLY_CANONICAL:
        yield Case(f"nearly canonical, {word[:40]!r}", word.encode(), text('{"command": "@"}'), RUNS)
    for word in NOT_FOR_US:
        yield Case(f"not for us, {word!r}", word.encode(), text('{"command": "touch oops"}'), LEFT)


def all_cases() -> list[Case]:
    """Return all cases, always in the same order; those without a name get a plain one, and no two have one name."""
    found = [
        case if case.name else replace(case, name=f"{number:03d} {case.label}.json".replace("/", "_").encode())
        for number, case in enumerate(itertools.chain(_bytes(), _values(), _files(), _names()))
    ]
    names = [case.name for case in found]
    assert len(set(names)) == len(names), sorted(name for name in names if names.count(name) > 1)
    return found
