"""Results on stdout and messages on stderr: tables for people, tab-separated lines for pipes, JSON for programs.

What a terminal gets cannot move its cursor or change its colours: control characters of commands, ids and errors
are spelled out. What a pipe gets is whole: nothing shortened, one record a line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec

from queuectl.variables import variable

if TYPE_CHECKING:
    from queuectl.job import Job

STATE_COLOURS = {"pending": "36", "processing": "33", "completed": "32", "failed": "35", "dead": "31"}
_RIGHT = {"PRI", "ATTEMPTS", "MAX", "PID", "SUPERVISOR"}
_LEAST_COMMAND = 16  # columns that a command keeps on a terminal however narrow it is
_MOST_LAST = 40  # columns of the last cell that are taken into account before the command is shortened
_FLAT = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})


def is_terminal() -> bool:
    """Whether a person reads stdout."""
    return sys.stdout.isatty()


def put(text: str) -> None:
    """Write text to stdout; an error gets the name of the stream, since it has no path."""
    try:
        sys.stdout.write(text)
    except OSError as error:
        error.filename = "stdout"
        raise


def line(text: str) -> None:
    """Write one line of result."""
    put(text + "\n")


def note(text: str) -> None:
    """Tell the person something on stderr."""
    print(visible(text), file=sys.stderr)


def raw(data: bytes) -> None:
    """Write bytes as they are, at once."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        error.filename = "stdout"
        raise


def document(value: Any) -> None:
    """Write one JSON document: indented for a terminal, one line for a pipe."""
    if is_terminal():
        line(_harmless(msgspec.json.format(msgspec.json.encode(value), indent=2).decode()))
    else:
        record(value)


def record(value: Any) -> None:
    """Write a value as one line of JSON, for streams of them."""
    text = msgspec.json.encode(value).decode()
    line(_harmless(text) if is_terminal() else text)


def array(jobs: Iterable[Job]) -> None:
    """Write jobs as one JSON array, in pieces, so that a large queue is not held in memory."""
    if is_terminal():
        document(list(jobs))
        return
    separator = "["
    for job in jobs:
        put(separator + msgspec.json.encode(job).decode())
        separator = ",\n"
    put("[]\n" if separator == "[" else "]\n")


def visible(text: str) -> str:
    """Return text with every control and formatting character spelled out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def flat(text: str) -> str:
    """Return text that stays one field of one tab-separated line."""
    return text.translate(_FLAT)


def shown(text: str) -> str:
    """Return text as stdout's reader needs it: harmless on a terminal, one field in a pipe."""
    return visible(text) if is_terminal() else flat(text)


def quoted(word: str) -> str:
    """Quote a word for the shell."""
    import shlex

    return shlex.quote(word)


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], *, wide: bool = False) -> None:
    """Write rows: aligned under their titles on a terminal, tab-separated without titles in a pipe.

    The column COMMAND is shortened to the terminal unless `wide`; the column STATE is coloured.
    """
    colour = use_colour()
    if is_terminal():
        _aligned(titles, [[visible(cell) for cell in row] for row in rows], wide=wide, colour=colour)
        return
    state = titles.index("STATE") if colour and "STATE" in titles else -1
    for row in rows:
        line("\t".join(paint(flat(cell), cell) if at == state else flat(cell) for at, cell in enumerate(row)))


def paint(text: str, state: str, *, colour: bool = True) -> str:
    """Colour text by a job's state."""
    code = STATE_COLOURS.get(state) if colour else None
    return f"\x1b[{code}m{text}\x1b[0m" if code else text


def use_colour() -> bool:
    """Whether stdout gets colour: `--color`, else a terminal without NO_COLOR that is not dumb."""
    ctx = click.get_current_context(silent=True)
    wanted = ctx.meta.get("queuectl.color") if ctx else None
    if wanted in ("always", "never"):
        return bool(wanted == "always")
    return is_terminal() and not variable("NO_COLOR") and variable("TERM") != "dumb"


def terminal_width() -> int:
    """Return the columns of the terminal on stdout; COLUMNS wins."""
    columns = variable("COLUMNS") or ""
    if columns.isascii() and columns.isdigit() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def shorten(text: str, columns: int) -> str:
    """Cut text to fit into that many columns, with an ellipsis where something is missing."""
    if width(text) <= columns:
        return text
    while text and width(text) > columns - 1:
        text = text[: min(len(text) - 1, columns - 1)]
    return text + "…"


def width(text: str) -> int:
    """Return the columns that text takes on a terminal."""
    if text.isascii():
        return len(text)
    import unicodedata

    def columns(c: str) -> int:
        return 0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1

    return sum(columns(c) for c in text)


def _aligned(titles: Sequence[str], rows: list[list[str]], *, wide: bool, colour: bool) -> None:
    if "COMMAND" in titles and not wide:
        at = titles.index("COMMAND")
        room = _command_room(rows, at, titles)
        for row in rows:
            row[at] = shorten(row[at], room)
    widths = [max([len(title), *(width(row[at]) for row in rows)]) for at, title in enumerate(titles)]
    for row in [list(titles), *rows]:
        cells = []
        for at, cell in enumerate(row):
            gap = " " * (widths[at] - width(cell))
            text = paint(cell, cell, colour=colour and titles[at] == "STATE")
            cells.append(gap + text if titles[at] in _RIGHT else text + gap)
        line("  ".join(cells).rstrip())


def _command_room(rows: list[list[str]], command: int, titles: Sequence[str]) -> int:
    """Return the columns that the other cells leave to the command."""
    taken = 0
    for at, title in enumerate(titles):
        if at != command:
            most = max([len(title), *(width(row[at]) for row in rows)])
            taken += 2 + (min(most, _MOST_LAST) if at == len(titles) - 1 else most)
    return max(terminal_width() - taken, _LEAST_COMMAND)


def _harmless(text: str) -> str:
    """Spell out in JSON's own way what a terminal would act on; line feeds belong to the indentation."""
    if all(c.isprintable() or c == "\n" for c in text):
        return text
    return "".join(c if c.isprintable() or c == "\n" else _json_escape(c) for c in text)


def _json_escape(c: str) -> str:
    units = c.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
