"""Files full of jobs: `.json` (an object or an array), one object a line, or one shell command a line.

Every job is checked before the first is queued, and an error names the file and the line. Reads the file that it is
given and nothing else; the spool is none of its business.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import msgspec

from queuectl.errors import BadJobFile, Conflict, NotFound, UsageError
from queuectl.job import Job, parse_new

STDIN = "-"
_BOM = b"\xef\xbb\xbf"


class Source(msgspec.Struct):
    """The bytes of one job and where they stand; `text` is a shell command rather than JSON."""

    line: int
    data: bytes


Finish = Callable[[Job, bytes], Job]


def read_jobs(name: str, *, lines: bool, finish: Finish) -> list[Job]:
    """Read all jobs of a file (`-`: stdin); `finish` lays defaults under each, knowing its bytes.

    Raises `UsageError` or `Conflict` naming the file and line of the first job that cannot be queued.
    """
    shown = "stdin" if name == STDIN else name
    data = _bytes(name).removeprefix(_BOM)
    whole = not lines and (name.endswith(".json") or (name == STDIN and data.lstrip()[:1] == b"["))
    jobs = []
    first_line: dict[str, int] = {}
    for source in _elements(data, shown) if whole else _lines(data):
        try:
            job = _command(source.data) if lines else parse_new(source.data)
            job = finish(job, b"" if lines else source.data)
        except (BadJobFile, UsageError) as error:
            hint = _hint(source.data, name, lines=lines)
            raise UsageError(f"{shown}:{source.line}: {error}", hint=hint) from None
        if job.id and first_line.setdefault(job.id, source.line) != source.line:
            raise Conflict(f"{shown}:{source.line}: id {job.id} is also in line {first_line[job.id]}")
        jobs.append(job)
    return jobs


def _bytes(name: str) -> bytes:
    if name == STDIN:
        return sys.stdin.buffer.read()
    try:
        with open(name, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise NotFound(f"{name}: no such file") from None


def _lines(data: bytes) -> Iterator[Source]:
    """Split at line feeds; blank lines are skipped but counted, a carriage return before the feed is dropped."""
    for number, text in enumerate(data.split(b"\n"), 1):
        if text.strip():
            yield Source(number, text.removesuffix(b"\r"))


def _command(text: bytes) -> Job:
    try:
        job = Job(command=text.decode())
    except UnicodeDecodeError:
        raise BadJobFile("not UTF-8") from None
    return job


def _elements(data: bytes, shown: str) -> Iterator[Source]:
    """Take an array apart, or pass an object on; the elements keep their bytes, for `parse_new` to read."""
    try:
        array = data.lstrip()[:1] == b"["
        elements = msgspec.json.decode(data, type=list[msgspec.Raw]) if array else [data.strip()]
    except RecursionError:
        raise UsageError(f"{shown}: nested too deeply") from None
    except msgspec.DecodeError as error:
        raise UsageError(f"{shown}{_line_of(error, data)}: not JSON: {error}") from None
    place = 0
    line = 1
    for element in elements:
        text = bytes(element)
        # Between two elements stand a comma and blanks only, so that the next occurrence is this one.
        start = data.find(text, place)
        line += data.count(b"\n", place, start)
        yield Source(line, text)
        line += text.count(b"\n")
        place = start + len(text)


def _line_of(error: msgspec.DecodeError, data: bytes) -> str:
    """Return `:<line>` for the byte that the decoder names; without one, nothing."""
    _, found, rest = str(error).rpartition("(byte ")
    byte = rest.rstrip(")")
    return f":{data.count(10, 0, int(byte)) + 1}" if found and byte.isdigit() else ""


def _hint(data: bytes, name: str, *, lines: bool) -> str | None:
    start = data.lstrip()[:1]
    if not (lines or name.endswith(".json")) and start not in (b"{", b"["):
        return "--lines reads one shell command a line"
    if start == b"[" and not name.endswith(".json"):
        return "an array belongs into a .json file; here each line is one object"
    if name.endswith(".json") and len([text for text in data.split(b"\n") if text.lstrip()[:1] == b"{"]) > 1:
        return "one object a line belongs into a .jsonl file"
    return None
