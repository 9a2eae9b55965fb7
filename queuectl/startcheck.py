"""Is this spool safe to run jobs from: what every worker start looks at before it claims anything.

Whoever may write into a spool can run commands as its owner, so a spool that is open to others is refused, as ssh
refuses a key file. A file system on which a rename or a lock does not mean what the protocol needs is refused too.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from queuectl import clock, disk
from queuectl.errors import Refused, quoted
from queuectl.spool import Spool
from queuectl.tree import CONFIG, DIRECTORIES, MARKER

# Locks and renames are not reliable on these, or other machines' changes are not seen.
_NETWORK = (
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "coda", "ceph", "lustre", "glusterfs"),
    *("beegfs", "fhgfs", "gfs2", "gpfs", "ocfs2", "panfs", "pvfs2"),  # those of clusters
)
_MEMORY = ("tmpfs", "ramfs")


def check(spool: Spool, *, force: bool = False) -> list[str]:
    """Check a spool before workers run on it; returns warnings, raises `Refused` with what to type."""
    for path in guarded(spool.path):
        problem = open_to_others(path)
        if problem:
            raise problem
    warnings = on_trusted_disk(spool.path, force=force)
    spool.probe(clock.stamp(clock.now()))
    second_lock(spool)
    return warnings


def guarded(root: Path) -> list[Path]:
    """Return the paths that nobody else may own or write: the spool, its directories, its settings."""
    inside = [root / name for name in (*DIRECTORIES, MARKER, CONFIG, "lock")]
    return [root, *(path for path in inside if os.path.lexists(path))]


def open_to_others(path: Path) -> Refused | None:
    """Return why a path is not ours alone to write, with the command that mends it; None when it is."""
    status = os.stat(path)
    if status.st_uid != os.geteuid():
        owner, me = _user(status.st_uid), _user(os.geteuid())
        return Refused(
            f"{path}: owned by {owner}, but workers here would run as {me}",
            hint=f"run the workers as {owner}, or: chown -R {me} {quoted(path)}",
        )
    if stat.S_IMODE(status.st_mode) & (stat.S_IWGRP | stat.S_IWOTH):
        return Refused(
            f"{path}: writable by others, who could run commands as {_user(status.st_uid)}",
            hint=f"chmod go-w {quoted(path)}",
        )
    return None


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def file_system(path: Path) -> str:
    """Return the type of the file system that a path is on (`ext4`, `nfs4`, …), empty where the system does not say."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    for line in lines:  # proc_pid_mountinfo(5): the third field is the device, the type follows the lone dash
        fields = line.split(" ")
        if fields[2] == wanted and "-" in fields:
            return fields[fields.index("-") + 1]
    return ""


def on_trusted_disk(path: Path, *, force: bool) -> list[str]:
    """Return what is to be said of a path's file system; raises `Refused` for one of other machines."""
    kind = file_system(path)
    if kind in _NETWORK or kind.startswith("fuse"):
        if not force:
            raise Refused(
                f"{path}: on {kind}, where locks and renames of other machines cannot be trusted",
                hint="put the spool on a local disk, or give --force if only this machine uses it",
            )
        return [f"{path} is on {kind}: used only because of --force"]
    if kind in _MEMORY:
        return [f"{path} is on {kind}: its jobs do not survive a reboot"]
    return []


def second_lock(spool: Spool) -> None:
    """Check that a second lock on one file is refused, on which everything rests."""
    first, second = spool.open_lock(), spool.open_lock()
    try:
        if disk.flock(first) and disk.flock(second):
            raise Refused(f"{spool.path}: two locks on one file are granted here; flock(2) does not work on it")
    finally:
        os.close(first)
        os.close(second)
