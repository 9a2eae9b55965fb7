"""Settings: defaults < `config.toml` < environment (`QUEUECTL_*`) < flags.

Pure over its inputs: the text of `config.toml` is read and written by the spool. Every key is checked against its
type and range, so that a bad value is refused where it is written and named where it is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from queuectl import clock, variables
from queuectl.errors import UsageError
from queuectl.job import check_resources, nearest

PREFIX = "QUEUECTL_"
EXECUTORS = ("local", "launcher", "dask")
_ALIASES = {"base_backoff": "backoff_base"}
_LINE = re.compile(r"""\s*["']?([A-Za-z_-]+)["']?\s*=\s*(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^#]*?)(\s*#.*)?""")


class Config(Struct, frozen=True, kw_only=True):
    """All settings, checked. Durations are seconds, sizes bytes; 0 means none where none is possible."""

    max_retries: int = 3
    backoff_base: float = 2.0
    backoff_max: float = 3600.0
    backoff_jitter: float = 0.0
    job_timeout_sec: float = 0.0
    kill_grace_sec: float = 10.0
    worker_count: int = 1
    log_level: str = "INFO"
    durability: str = "full"
    keep_completed: float | None = None
    max_job_bytes: int = 1024 * 1024
    max_log_bytes: int = 0
    max_pending: int = 0
    min_free_bytes: int = 0
    poll_interval_sec: float = 5.0
    executor: str = "local"
    launcher: str = ""
    launcher_signal: str = ""
    launcher_host: str = ""
    dask_scheduler: str = "local"
    dask_wait_sec: float = 60.0
    resources: str = "cpus=1 mem=1G gpus=0"


KEYS = Config.__struct_fields__


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not re.fullmatch(r"-?\d{1,15}", str(value).strip(), re.ASCII):
            raise UsageError(f"must be a whole number, {low} to {high}")
        if not low <= int(value) <= high:
            raise UsageError(f"must be {low} to {high}")
        return int(value)

    return read


def _number(low: float, high: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        try:
            number = float("nan") if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if not low <= number <= high:
            raise UsageError(f"must be a number, {low:g} to {high:g}")
        return number

    return read


def _duration(low: float, high: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise UsageError("must be a duration such as 90, 90s or 1.5h")
        seconds: float = clock.parse_duration(value)
        if not low <= seconds <= high:
            raise UsageError(f"must be {low:g} to {high:g} seconds")
        return seconds

    return read


def _duration_or_none(value: Any) -> float | None:
    if value is None or str(value).strip().lower() in ("", "none", "forever"):
        return None
    return _duration(0, clock.MAX_DURATION_S)(value)


def _one_of(*words: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        for word in words:
            if str(value).strip().lower() == word.lower():
                return word
        raise UsageError("must be one of " + ", ".join(words))

    return read


def _size(low: int, high: int, says: str) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        found = re.fullmatch(r"(\d{1,16}) ?([KMGT]i?B?)?", str(value).strip(), re.ASCII | re.IGNORECASE)
        scale = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
        size = int(found[1]) * scale[(found[2] or "")[:1].upper()] if found and not isinstance(value, bool) else -1
        if not low <= size <= high:
            raise UsageError(f"must be a size from {says}")
        return size

    return read


def _text(value: Any) -> str:
    text = str(value).strip()
    if not text.isprintable():
        raise UsageError("must be one line of visible characters")
    return text


def _template(value: Any) -> str:
    """Read words as a shell would, without expanding anything."""
    import shlex

    text = _text(value)
    try:
        shlex.split(text)
    except ValueError as error:
        raise UsageError(f"cannot be split into words: {str(error).lower()}") from None
    return text


def _resources(value: Any) -> str:
    text = _text(value)
    check_resources(resources(text))
    return text


def resources(text: str) -> dict[str, int | float | str]:
    """Read `cpus=2 mem=4G`; what looks like a number is one. Raises `UsageError`."""
    found: dict[str, int | float | str] = {}
    for word in text.split():
        name, equals, amount = word.partition("=")
        if not equals:
            raise UsageError(f"{word[:80]!r} must be NAME=AMOUNT, such as cpus=2")
        found[name] = _amount(amount)
    return found


def _amount(text: str) -> int | float | str:
    if not re.fullmatch(r"\d{1,18}(\.\d{1,9})?", text, re.ASCII):
        return text
    return float(text) if "." in text else int(text)


_READERS: dict[str, Callable[[Any], Any]] = {
    "max_retries": _whole(0, 1_000_000),
    "backoff_base": _number(0, 1e9),
    "backoff_max": _duration(0, clock.MAX_DURATION_S),
    "backoff_jitter": _number(0, 1),
    "job_timeout_sec": _duration(0, clock.MAX_DURATION_S),
    "kill_grace_sec": _duration(0, 86400),
    "worker_count": _whole(1, 1024),
    "log_level": _one_of("DEBUG", "INFO", "WARNING", "ERROR"),
    "durability": _one_of("full", "relaxed"),
    "keep_completed": _duration_or_none,
    "max_job_bytes": _size(64, 2**30, "64 bytes to 1 GiB, such as 65536 or 1 MiB"),
    "max_log_bytes": _size(0, 2**50, "0 (no limit) to 1024 TiB, such as 100 MiB"),
    "max_pending": _whole(0, 1_000_000_000),
    "min_free_bytes": _size(0, 2**50, "0 (no limit) to 1024 TiB, such as 1 GiB"),
    "poll_interval_sec": _duration(0.1, 3600),
    "executor": _one_of(*EXECUTORS),
    "launcher": _template,
    "launcher_signal": _template,
    "launcher_host": _template,
    "dask_scheduler": _text,
    "dask_wait_sec": _duration(0.1, 86400),
    "resources": _resources,
}


def key(name: str) -> str:
    """Return the canonical spelling of a key (`-` or `_`, aliases); raises `UsageError` naming the known ones."""
    plain = name.strip().lower().replace("-", "_")
    plain = _ALIASES.get(plain, plain)
    if plain not in _READERS:
        raise UsageError(f"unknown key {name!r}{nearest(plain, list(KEYS))}", hint="keys: " + " ".join(KEYS))
    return plain


def read_value(name: str, value: Any) -> Any:
    """Check a value for a canonical key; returns it typed, raises `UsageError` naming the key and its range."""
    try:
        return _READERS[name](value)
    except UsageError as error:
        raise UsageError(f"{name} = {str(value)[:80]!r}: {error}", hint=error.hint) from None


def parse(text: str) -> dict[str, Any]:
    """Read the text of a `config.toml` into checked values; raises `UsageError`."""
    if not text.strip():
        return {}
    import tomllib

    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"config.toml: {error}") from None
    try:
        return {key(name): read_value(key(name), value) for name, value in table.items()}
    except UsageError as error:
        raise UsageError(f"config.toml: {error}", hint=error.hint) from None


def from_environment(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Read the keys that the environment sets (`QUEUECTL_MAX_RETRIES=5`); other `QUEUECTL_*` names are passed over."""
    environ = variables.present() if environ is None else environ
    found = {}
    for name in KEYS:
        value = environ.get(PREFIX + name.upper())
        if value is not None:
            found[name] = read_value(name, value)
    return found


def load(text: str, environ: Mapping[str, str] | None = None, **flags: Any) -> Config:
    """Lay the environment and the flags that are not None over the text of a `config.toml`."""
    given = {name: read_value(name, value) for name, value in flags.items() if value is not None}
    return Config(**{**parse(text), **from_environment(environ), **given})


def edit(text: str, name: str, value: Any) -> str:
    """Return the text with one canonical key set (None: taken out), every other line and comment as it was."""
    new = [] if value is None else [f"{name} = {_toml(value)}"]
    kept = []
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        if found and _ALIASES.get(plain := found[1].lower().replace("-", "_"), plain) == name:
            kept += [line + (found[2] or "") for line in new]
            new = []
        else:
            kept.append(line)
    return "".join(line + "\n" for line in kept + new)


def _toml(value: Any) -> str:
    if not isinstance(value, str):
        return repr(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
