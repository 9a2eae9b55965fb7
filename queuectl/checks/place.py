"""The place that a spool is in: its marker, owners and modes, its file system, room, notifications, settings.

Looks at what the start of a worker looks at (`startcheck`), one thing after the other instead of up to the first that
is wrong, and at what would only slow workers down. Nothing here is mended but a missing directory: closing a spool that
was open would hide that strangers may have left jobs in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from queuectl import clock, config, room, startcheck, wakeup
from queuectl.checks import Case, Finding
from queuectl.errors import QueuectlError, Refused, quoted
from queuectl.spool import Spool
from queuectl.tree import CONFIG, DIRECTORIES, MARKER


def unmarked(path: Path) -> list[Finding]:
    """Explain a directory that has no marker, when it looks like a spool nonetheless; empty when it does not."""
    if not all((path / name).is_dir() for name in DIRECTORIES):
        return []
    meaning = "missing, so this is no spool to any command; somebody deleted it, or it was not copied with the rest"
    return [Finding("marker", str(path / MARKER), meaning, f"queuectl init {quoted(path)} makes one; its jobs stay")]


def misunderstood(path: Path, error: Refused) -> Finding:
    """Explain a marker that cannot be read, or is of a newer format."""
    meaning = str(error).removeprefix(f"{path / MARKER}: ").removeprefix(f"{path}: ")
    remedy = "use the queuectl that wrote it, or a newer one"
    if "newer" not in meaning:
        remedy = f"put the right file back, or: rm {quoted(path / MARKER)} && queuectl init {quoted(path)}"
    return Finding("marker", str(path / MARKER), meaning, remedy)


def look(spool: Spool) -> Iterator[Case]:
    """Check everything that is not a file in one of the spool's directories."""
    yield from _open_to_others(spool)
    yield from _settings(spool)
    missing = list(_missing(spool))
    yield from missing
    if not missing:
        yield from _file_system(spool)
        yield from _refusal("mount", spool, lambda: spool.probe(clock.stamp(clock.now())))
        yield from _refusal("locks", spool, lambda: startcheck.second_lock(spool))
        yield from _room(spool)
        yield from _notification(spool)


def _open_to_others(spool: Spool) -> Iterator[Case]:
    for path in startcheck.guarded(spool.path):
        try:
            problem = startcheck.open_to_others(path)
        except OSError as error:
            problem = Refused(f"cannot be looked at: {error.strerror}", hint="put it right by hand")
        if problem:
            yield Case(Finding("open", str(path), str(problem).removeprefix(f"{path}: "), problem.hint or ""))


def _settings(spool: Spool) -> Iterator[Case]:
    path = str(spool.path / CONFIG)
    try:
        config.parse(spool.config_text())
    except QueuectlError as error:
        meaning = str(error).removeprefix("config.toml: ").removeprefix(f"{path}: ")
        yield Case(Finding("settings", path, meaning, "mend the line or delete it"))
    except OSError as error:
        yield Case(Finding("settings", path, f"cannot be read: {error.strerror}", "mend it or delete it"))


def _missing(spool: Spool) -> Iterator[Case]:
    for name in DIRECTORIES:
        path = spool.path / name
        if not path.is_dir():
            finding = Finding(
                "missing", str(path), "a directory of the spool is missing", f"queuectl init {quoted(spool.path)}"
            )
            yield Case(finding, partial(_make, path))


def _make(path: Path) -> bool:
    path.mkdir(mode=0o700)
    return True


def _file_system(spool: Spool) -> Iterator[Case]:
    try:
        for warning in startcheck.on_trusted_disk(spool.path, force=False):
            meaning = warning.removeprefix(f"{spool.path} ")
            yield Case(Finding("file-system", str(spool.path), meaning, "move the spool to a local disk"))
    except Refused as error:
        meaning = str(error).removeprefix(f"{spool.path}: ")
        yield Case(Finding("file-system", str(spool.path), meaning, error.hint or ""))


def _refusal(kind: str, spool: Spool, check: Callable[[], None]) -> Iterator[Case]:
    """Report what a check refuses, or what keeps it from being made."""
    try:
        check()
    except Refused as error:
        path, _, meaning = str(error).partition(": ")
        remedy = "keep the whole spool on one local file system, mounted in one place"
        yield Case(Finding(kind, path, meaning, error.hint or remedy))
    except OSError as error:
        meaning = f"cannot be written to: {error.strerror}"
        yield Case(Finding("unwritable", str(spool.path), meaning, "make room, or mount it for writing"))


def _room(spool: Spool) -> Iterator[Case]:
    try:
        wanted = config.load(spool.config_text()).min_free_bytes
    except (QueuectlError, OSError):
        wanted = 0  # the settings have a finding of their own
    for meaning in room.shortages(spool.path, wanted):
        yield Case(Finding("room", str(spool.path), meaning, "make room: queuectl purge deletes old jobs and logs"))


def _notification(spool: Spool) -> Iterator[Case]:
    reason = wakeup.why_unavailable(str(spool.path / "pending"))
    if reason:
        meaning = f"no file notification to be had ({reason}), so workers look once a second instead"
        remedy = "raise the sysctls fs.inotify.max_user_instances and fs.inotify.max_user_watches"
        yield Case(Finding("notification", str(spool.path / "pending"), meaning, remedy))
