"""The plain job: a command and the directory to run it in, put into a spool with next to nothing imported.

Scripts call `queuectl enqueue CMD` thousands of times, and importing what the other forms need takes longer than the
rest. The bytes are those that `intake` would write; whatever is not plain is left to it, errors above all.
"""

from __future__ import annotations

import os

from queuectl import clock, ids, variables
from queuectl.tree import CONFIG, MARKER, Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST = 100_000  # characters; a program can be given 128 KiB, and more than this is worth a closer look
_LIMITS = "max_pending"  # the setting that an enqueue obeys


def enqueue(path: str, command: str | list[str]) -> tuple[str, str] | None:
    """Queue a job; returns its id and its line of JSON once it is durable, None when it is not plain.

    Raises what opening and writing a spool raises; then nothing has been queued.
    """
    directory = os.getcwd()
    words = [command] if isinstance(command, str) else command
    if not all(map(_is_plain, (*words, directory))) or not words[0].strip() or _limited(path):
        return None
    spool = Tree(path)
    now = clock.now()
    id = ids.IdSource().new(now)
    line = encode(command, directory, id, clock.iso(now))
    spool.put_in([(f"{clock.stamp(now)}.5.{id}.json", line.encode())], clock.stamp(now))
    return id, line


def encode(command: str | list[str], directory: str, id: str, instant: str) -> str:
    """Return the file of a new job, which is due at once: the line that `job.encode` makes of it."""
    quote = _quote()
    spelt = quote(command) if isinstance(command, str) else f"[{','.join(map(quote, command))}]"
    return (
        f'{{"command":{spelt},"id":"{id}","priority":5,"run_at":null,"timeout":null,"max_retries":null,'
        f'"backoff_base":null,"cwd":{quote(directory)},"env":null,"resources":null,"meta":null,"state":"pending","attempts":0,"rev":0,'
        f'"created_at":"{instant}","updated_at":"{instant}","due_at":"{instant}","last_error":null,"exit_code":null,'
        '"exit":null,"history":[]}\n'
    )


def _quote() -> Callable[[str], str]:
    try:
        from _json import encode_basestring as quote  # what json uses itself, without the rest of it
    except ImportError:
        from json.encoder import encode_basestring as quote
    return quote


def _is_plain(text: str) -> bool:
    try:
        return len(text.encode()) < _LONGEST and "\0" not in text
    except UnicodeEncodeError:
        return False


def _limited(path: str) -> bool:
    """Say whether a limit may be set on how many jobs wait."""
    if variables.variable(f"QUEUECTL_{_LIMITS.upper()}") is not None:
        return True
    try:
        with open(f"{path}/{CONFIG}", "rb") as file:
            text = file.read().lower().replace(b"-", b"_")
            return _LIMITS.encode() in text or b"\\" in text  # which may hide it
    except FileNotFoundError:
        return False


def is_spool(path: str) -> bool:
    """Say whether there is a spool at a path."""
    return os.path.exists(f"{path}/{MARKER}")
