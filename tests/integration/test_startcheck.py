from __future__ import annotations

from pathlib import Path

import pytest

from queuectl import disk, startcheck
from queuectl.errors import Refused
from queuectl.spool import Spool
from queuectl.tree import DIRECTORIES


@pytest.fixture
def kind(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The type of the file system, to be changed by the test."""
    kinds = ["ext4"]
    monkeypatch.setattr(startcheck, "file_system", lambda _path: kinds[-1])
    return kinds


def test_a_new_spool_on_a_local_disk_is_accepted_without_a_word(spool: Spool, kind: list[str]) -> None:
    assert startcheck.check(spool) == []


@pytest.mark.parametrize("name", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse", "fuse.sshfs", "fuseblk", "gpfs"])
def test_a_file_system_of_other_machines_is_refused(spool: Spool, kind: list[str], name: str) -> None:
    kind.append(name)
    with pytest.raises(Refused, match=f"on {name}, where locks and renames of other machines cannot be trusted"):
        startcheck.check(spool)


def test_a_file_system_of_other_machines_can_be_forced_with_a_warning(spool: Spool, kind: list[str]) -> None:
    kind.append("nfs4")
    (warning,) = startcheck.check(spool, force=True)
    assert warning == f"{spool.path} is on nfs4: used only because of --force"


@pytest.mark.parametrize("name", ["tmpfs", "ramfs"])
def test_memory_is_warned_of(spool: Spool, kind: list[str], name: str) -> None:
    kind.append(name)
    (warning,) = startcheck.check(spool)
    assert warning == f"{spool.path} is on {name}: its jobs do not survive a reboot"


@pytest.mark.parametrize("name", [".", *DIRECTORIES, "queuectl.json", "config.toml", "lock"])
@pytest.mark.parametrize("bit", [0o020, 0o002])
def test_whatever_is_open_to_others_is_refused_and_force_does_not_help(
    spool: Spool, kind: list[str], name: str, bit: int
) -> None:
    path = spool.path / name
    if not path.exists():
        path.touch(0o600)
    path.chmod(path.stat().st_mode | bit)
    with pytest.raises(Refused, match="writable by others") as caught:
        startcheck.check(spool, force=True)
    assert caught.value.hint == f"chmod go-w {path}"


def test_what_others_may_only_read_is_accepted(spool: Spool, kind: list[str]) -> None:
    spool.path.chmod(0o755)
    assert startcheck.check(spool) == []


def test_locks_that_two_can_have_are_refused(spool: Spool, kind: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "flock", lambda _fd: True)
    with pytest.raises(Refused, match="two locks on one file are granted here"):
        startcheck.check(spool)


def test_the_type_of_a_file_system_is_that_of_its_mount() -> None:
    mounts = Path("/proc/self/mountinfo")
    if not mounts.exists():
        pytest.skip("no /proc here")
    assert startcheck.file_system(Path("/proc")) == "proc"
