"""A disk without room while jobs are put in, claimed, run and settled, and one that turns read-only under workers.

On real file systems: ext4 and a limited tmpfs, out of blocks or out of inodes. Jobs wait, and none is lost.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers import PATIENCE_S, Cli, told, wait_until

from attack.loops import Disk, Mounted, memory, missing, run, unable

HOLD = "echo run >>runs; touch up; until [ -e go ]; do sleep 0.02; done"
SETTINGS = {"backoff_base": 0, "kill_grace_sec": 0.3, "poll_interval_sec": 0.1}
DISKS = {
    "ext4": ("-m", "0"),  # no blocks kept for root
    "ext4, inodes": ("-m", "0", "-N", "64"),
    "tmpfs": ("size=512k",),
    "tmpfs, inodes": ("size=4m", "nr_inodes=64"),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A place in memory for images."""
    if unable():
        pytest.skip(str(unable()))
    with memory(tmp_path_factory.mktemp("disks") / "memory") as place:
        yield place


@contextlib.contextmanager
def mounted(images: Path, place: Path, name: str) -> Iterator[Path]:
    """Mount one of `DISKS`."""
    kind = name.partition(",")[0]
    if kind == "tmpfs":
        with memory(place / "small", *DISKS[name]) as small:
            yield small
        return
    why = missing(kind)
    if why:
        pytest.skip(why)
    disk = Disk.make(kind, images, *DISKS[name])
    try:
        with disk.mounted() as found:
            yield found.path
    finally:
        disk.delete()


@contextlib.contextmanager
def spool_in(place: Path, work: Path) -> Iterator[Cli]:
    """Make a spool on a disk, or open the one there; jobs run in a directory elsewhere, and are ended afterwards."""
    work.mkdir(exist_ok=True)
    cli = Cli(place / "spool", work)
    try:
        if not cli.spool.exists():
            cli.ok("init", str(cli.spool), spool=False)
            cli.configure(**SETTINGS)
        yield cli
    finally:
        cli.end_all()


def write_all_it_takes(fd: int) -> None:
    """Write to a file until there is no room; raises OSError when it takes nothing at all."""
    os.write(fd, b"x")
    for size in (65_536, 512):
        with contextlib.suppress(OSError):
            while True:
                os.write(fd, bytes(size))
        os.fsync(fd)  # ext4 keeps more than it needs until it knows where the bytes go


@dataclass
class Small:
    """A spool on a disk that can be filled."""

    cli: Cli
    place: Path
    inodes: bool

    def fill(self) -> None:
        """Leave no room for anything."""
        ballast = self.place / "ballast"
        ballast.mkdir()
        with contextlib.suppress(OSError):
            for number in range(100_000):
                with (ballast / str(number)).open("wb", buffering=0) as file:
                    if not self.inodes:
                        write_all_it_takes(file.fileno())

    def free(self) -> None:
        """Make room again."""
        run("rm", "-r", self.place / "ballast")

    def runs(self) -> str:
        """Return a line for each run of a job that says so."""
        return (self.cli.cwd / "runs").read_text()


@pytest.fixture(params=DISKS)
def small(request: pytest.FixtureRequest, images: Path, tmp_path: Path) -> Iterator[Small]:
    with mounted(images, tmp_path, request.param) as place, spool_in(place, tmp_path / "work") as cli:
        yield Small(cli, place, request.param.endswith("inodes"))


@contextlib.contextmanager
def ended_without_room(small: Small) -> Iterator[subprocess.Popen[bytes]]:
    """Run the job `one` to its end where there is no room to record it, until its worker has said so."""
    small.cli.enqueue("--id", "one", HOLD)
    with small.cli.workers() as supervisor:
        wait_until((small.cli.cwd / "up").exists)
        small.fill()
        (small.cli.cwd / "go").touch()
        told(supervisor, "Cannot record job one (ENOSPC: No space left on device)")
        yield supervisor


# Putting jobs in.


def test_enqueue_without_room_is_refused_with_its_reason_and_leaves_nothing(small: Small) -> None:
    small.fill()
    refused = small.cli.run("enqueue", "true")
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (6, "", 1)
    assert "no space left on device" in refused.stderr
    assert (small.cli.files("pending"), small.cli.files("tmp")) == ([], [])


def test_a_bulk_enqueue_that_uses_up_the_room_queues_none(small: Small) -> None:
    jobs = (json.dumps({"command": "true", "meta": {"pad": f"{n}" * 5000}}) for n in range(1000, 2000))
    refused = small.cli.run("enqueue", "-f", "-", stdin="\n".join(jobs))
    assert (refused.returncode, refused.stdout) == (6, "")
    assert (small.cli.files("pending"), small.cli.files("tmp")) == ([], [])


def test_what_was_refused_for_want_of_room_can_be_sent_again_under_its_id(small: Small) -> None:
    small.fill()
    assert small.cli.run("enqueue", "--id", "one", "true").returncode == 6
    small.free()
    assert small.cli.enqueue("--id", "one", "true") == "one"


# Running them.


def test_a_job_that_is_claimed_without_room_runs_once_and_is_recorded_when_there_is_room(small: Small) -> None:
    with small.cli.workers() as supervisor:
        (small.cli.spool / "paused").touch()
        small.cli.enqueue("--id", "one", "echo run >>runs")
        small.fill()
        (small.cli.spool / "paused").unlink()
        told(supervisor, "Cannot record job one (ENOSPC: No space left on device)")
        small.free()
        told(supervisor, "Job one is recorded now")
        wait_until(lambda: small.cli.state("one") == "completed")
    assert (small.runs(), small.cli.job("one")["attempts"]) == ("run\n", 1)


def test_a_result_waits_for_room_and_is_recorded_once(small: Small) -> None:
    with ended_without_room(small) as supervisor:
        assert small.cli.state("one") == "processing"
        small.free()
        told(supervisor, "Job one is recorded now")
        wait_until(lambda: small.cli.state("one") == "completed")
    assert (small.runs(), len(small.cli.job("one")["history"])) == ("run\n", 1)


def test_a_worker_that_is_told_to_stop_waits_until_it_has_recorded_its_job(small: Small) -> None:
    with ended_without_room(small) as supervisor:
        supervisor.send_signal(signal.SIGTERM)
        small.free()
        assert supervisor.wait(PATIENCE_S) == 128 + signal.SIGTERM
    assert (small.runs(), small.cli.state("one")) == ("run\n", "completed")


def test_a_worker_that_is_killed_while_it_waits_for_room_costs_an_attempt_and_no_job(small: Small) -> None:
    with ended_without_room(small) as supervisor:
        supervisor.kill()
        small.cli.kill_all()
    small.free()
    small.cli.drain()
    assert (small.runs(), small.cli.job("one")["attempts"]) == ("run\nrun\n", 2)


def test_workers_that_start_without_room_are_refused_with_the_reason(small: Small) -> None:
    small.cli.enqueue("--id", "one", "true")
    small.fill()
    refused = small.cli.run("worker", "start", "--drain")
    assert (refused.returncode, refused.stderr.count("error: ")) == (6, 1)
    assert "no space left on device" in refused.stderr


@pytest.mark.parametrize("small", ["ext4", "tmpfs"], indirect=True)
def test_output_that_fills_the_disk_ends_its_job_which_is_recorded_when_its_log_is_truncated(small: Small) -> None:
    small.cli.enqueue("--id", "one", "--max-retries", "0", "echo run >>runs; yes; touch up; exit 7")
    with small.cli.workers():
        wait_until((small.cli.cwd / "up").exists)
        os.truncate(small.cli.spool / "logs" / "one.log", 0)
        wait_until(lambda: small.cli.state("one") == "dead")
    assert (small.runs(), small.cli.job("one")["exit"]) == ("run\n", "7")


# A disk that turns read-only.


@dataclass
class Switch:
    """A spool on a btrfs subvolume, which can be made read-only under open files, and back."""

    cli: Cli
    set_read_only: Callable[[bool], None]


@pytest.fixture
def switch(images: Path, tmp_path: Path) -> Iterator[Switch]:
    why = missing("btrfs")
    if why:
        pytest.skip(why)
    disk = Disk.make("btrfs", images)
    try:
        with disk.mounted() as found:
            run("btrfs", "subvolume", "create", found.path / "sub")

            def set_read_only(on: bool) -> None:
                run("btrfs", "property", "set", "-t", "subvol", found.path / "sub", "ro", str(on).lower())

            with spool_in(found.path / "sub", tmp_path / "work") as cli:
                yield Switch(cli, set_read_only)
                set_read_only(False)
    finally:
        disk.delete()


def test_a_result_that_meets_a_read_only_disk_is_recorded_once_it_is_writable(switch: Switch) -> None:
    cli = switch.cli
    cli.enqueue("--id", "one", HOLD)
    with cli.workers() as supervisor:
        wait_until((cli.cwd / "up").exists)
        switch.set_read_only(True)
        (cli.cwd / "go").touch()
        told(supervisor, "Cannot record job one (EROFS: Read-only file system)")
        switch.set_read_only(False)
        told(supervisor, "Job one is recorded now")
        wait_until(lambda: cli.state("one") == "completed")
    assert ((cli.cwd / "runs").read_text(), cli.job("one")["attempts"]) == ("run\n", 1)


def test_workers_outlive_a_read_only_disk_and_run_what_waits(switch: Switch) -> None:
    cli = switch.cli
    with cli.workers() as supervisor:
        (cli.spool / "paused").touch()
        cli.enqueue("--id", "one", "echo run >>runs")
        switch.set_read_only(True)
        refused = cli.run("enqueue", "true")
        assert (refused.returncode, refused.stderr.count("\n")) == (6, 1)
        switch.set_read_only(False)
        (cli.spool / "paused").unlink()
        wait_until(lambda: cli.state("one") == "completed")
        assert supervisor.poll() is None


def test_a_claim_that_meets_a_read_only_disk_is_made_when_it_is_writable(switch: Switch) -> None:
    cli = switch.cli
    with cli.workers() as supervisor:
        (cli.spool / "paused").touch()
        cli.enqueue("--id", "one", "--delay", "1s", "echo run >>runs")
        (cli.spool / "paused").unlink()
        workers = cli.worker_pids()
        switch.set_read_only(True)
        told(supervisor, "Read-only file system")
        switch.set_read_only(False)
        wait_until(lambda: cli.state("one") == "completed")
        assert cli.worker_pids() == workers
    assert ((cli.cwd / "runs").read_text(), cli.job("one")["attempts"]) == ("run\n", 1)


def break_down(found: Mounted) -> None:
    """Let ext4 meet an error, after which it is read-only until it is mounted anew."""
    trigger = Path(f"/sys/fs/ext4/{found.device}/trigger_fs_error")
    if not trigger.exists():
        pytest.skip(f"needs a kernel with {trigger.name}")
    trigger.write_text("1")


def test_a_disk_that_breaks_down_under_a_running_job_costs_an_attempt_and_no_job(images: Path, tmp_path: Path) -> None:
    why = missing("ext4")
    if why:
        pytest.skip(why)
    disk = Disk.make("ext4", images)
    work = tmp_path / "work"
    with disk.mounted("errors=remount-ro") as found, spool_in(found.path, work) as cli:
        cli.enqueue("--id", "zero", "echo run >>runs")
        cli.drain()
        cli.enqueue("--id", "one", HOLD)
        with cli.workers() as supervisor:
            wait_until((cli.cwd / "up").exists)
            cli.enqueue("--id", "two", "echo run >>runs")
            break_down(found)
            (cli.cwd / "go").touch()
            told(supervisor, "Cannot record job one (EROFS: Read-only file system)")
            supervisor.send_signal(signal.SIGQUIT)
            supervisor.wait(PATIENCE_S)
    with disk.mounted() as found, spool_in(found.path, work) as cli:
        cli.drain()
        assert {id: job["attempts"] for id, job in cli.jobs("completed").items()} == {"zero": 1, "one": 2, "two": 1}
        assert (work / "runs").read_text() == "run\n" * 4
    disk.delete()
