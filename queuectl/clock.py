"""Time: the only module that asks the machine for it, and the spellings of instants and durations.

An instant is an `int`, milliseconds since the epoch in UTC. A stamp is its spelling in file names
(`20261122T101500123Z`, fixed width, so that the order of names is the order of time); an ISO string is its
spelling in job files (`2026-11-22T10:15:00.123Z`). A duration is a `float` of seconds.
"""

from __future__ import annotations

import time

from queuectl.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:  # an enqueue imports this module, and should import little else
    from collections.abc import Callable

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = r"(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+"
_PART = r"(\d+(?:\.\d+)?)(ms|[smhdw])"
_ISO = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z"
MAX_DURATION_S = 100 * 365 * 86400.0
_MAX_MS = 253402300799999  # 9999-12-31T23:59:59.999Z, the last instant that a stamp can spell


def now() -> int:
    """Return the present instant in milliseconds since the epoch, UTC."""
    return time.time_ns() // 1_000_000


def monotonic() -> float:
    """Return seconds from a clock that is never set back."""
    return time.monotonic()


def worked() -> float:
    """Return the seconds of processor time that this thread has had."""
    return time.thread_time()


def sleep(seconds: float) -> None:
    """Pause for `seconds`; for the few places that have nothing to be woken by."""
    time.sleep(seconds)


def stamp(instant: int) -> str:
    """Spell an instant for a file name, `20261122T101500123Z`."""
    second = _second
    if not 0 <= instant - second[0] < 1000:
        instant, second = _spell_second(instant)
    return f"{second[1]}{instant - second[0]:03d}Z"


def _spell_second(instant: int) -> tuple[int, tuple[int, str, str]]:
    """Return an instant, or the nearest one that can be spelt, and its second with both spellings."""
    global _second
    instant = min(max(instant, 0), _MAX_MS)
    begins = instant - instant % 1000
    at = time.gmtime(begins // 1000)
    _second = begins, time.strftime("%Y%m%dT%H%M%S", at), time.strftime("%Y-%m-%dT%H:%M:%S.", at)
    return instant, _second


_second = -1000, "", ""  # the last one that was spelt; most instants that follow each other share it


def unstamp(text: str) -> int:
    """Return the instant that a stamp spells; days past a month's end count on, as in timegm(3)."""
    year, month, day = int(text[0:4]), int(text[4:6]), int(text[6:8])
    hour, minute, second, ms = int(text[9:11]), int(text[11:13]), int(text[13:15]), int(text[15:18])
    # Days since the epoch of a civil date, with years that begin in March so that leap days come last.
    y = year - (month <= 2)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days = y * 365 + y // 4 - y // 100 + y // 400 + day_of_year - 719468
    return (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + ms


def iso(instant: int) -> str:
    """Spell an instant for a job file, `2026-11-22T10:15:00.123Z`."""
    second = _second
    if not 0 <= instant - second[0] < 1000:
        instant, second = _spell_second(instant)
    return f"{second[2]}{instant - second[0]:03d}Z"


def stamp_to_iso(s: str) -> str:
    """Turn the spelling of an instant in a file name into that in a job file."""
    return f"{s[:4]}-{s[4:6]}-{s[6:8]}T{s[9:11]}:{s[11:13]}:{s[13:15]}.{s[15:18]}Z"


def iso_to_stamp(text: str) -> str:
    """Turn the spelling of an instant in a job file into that in a file name; raises `UsageError` when it is none."""
    global _turned
    if text != _turned[0]:
        ours = is_iso(text)
        compact = f"{text[:4]}{text[5:7]}{text[8:13]}{text[14:16]}{text[17:19]}{text[20:]}"
        _turned = text, compact if ours else stamp(parse_time(text, 0))
    return _turned[1]


_turned: tuple[str | None, str] = None, ""  # the last one: the jobs of one file are all due at one instant


_iso: Callable[[str], object] | None = None


def is_iso(text: str) -> bool:
    """Say whether `text` spells an instant as `iso` does."""
    global _iso
    if _iso is None:
        import re

        _iso = re.compile(_ISO, re.ASCII).fullmatch
    return _iso(text) is not None


def uniso(text: str) -> int:
    """Return the instant that `iso` spelt, or that stands in another spelling that `parse_time` reads."""
    return unstamp(iso_to_stamp(text))


def parse_duration(value: float | str) -> float:
    """Read a duration: `90`, `"90"`, `90s`, `1.5h`, `2h30m`, `7d`.

    Returns seconds. Raises `UsageError` when it is none, negative, or longer than a hundred years.
    """
    import re

    text = str(value).strip()
    if (isinstance(value, float) and value >= 0) or re.fullmatch(r"\d+(?:\.\d+)?", text, re.ASCII):
        seconds = float(text)  # a float may spell itself as 1e-05
    elif re.fullmatch(_DURATION, text, re.ASCII):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, text, re.ASCII))
    else:
        raise UsageError(f"{text!r} is not a duration", hint="write 90, 90s, 1.5h, 2h30m or 7d")
    if seconds > MAX_DURATION_S:
        raise UsageError(f"{text!r} is longer than a hundred years")
    return seconds


def parse_time(text: str, base: int) -> int:
    """Read an instant: ISO 8601 with a zone or `Z`, without one local time, or `+2h` after `base`.

    Raises `UsageError` when it is none of these.
    """
    if text.startswith("+"):
        return base + round(parse_duration(text[1:]) * 1000)
    from datetime import datetime

    try:
        when = datetime.fromisoformat(text.strip())
        instant = round(when.timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"{text!r} is not a time", hint="write 2026-11-22T10:15:00Z, or +2h for a delay") from None
    if not 0 <= instant <= _MAX_MS:
        raise UsageError(f"{text!r} is out of range (1970 to 9999)")
    return instant


def local(instant: int) -> str:
    """Spell an instant for people, in the local zone, to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(instant / 1000))


def brief(seconds: float) -> str:
    """Spell a duration for people: `0.02 s`, `8 s`, `2 m 30 s`, `3 h 5 m`, `2 d 4 h`."""
    if seconds < 10:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for size, unit, below, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"
