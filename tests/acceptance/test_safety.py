"""Spools that are not safe to run jobs from are refused, and what a full or vanished disk leaves."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import HOLD, PATIENCE_S, Cli, command, environment, told, wait_until
from machine import can_mount

NOBODY = 65534


root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
mounting = pytest.mark.skipif(not can_mount(), reason="only root can mount file systems")


@pytest.fixture
def cli(cli: Cli) -> Iterator[Cli]:
    """A spool whose workers look often; whatever runs is ended afterwards."""
    cli.configure(backoff_base=0, kill_grace_sec=0.3, poll_interval_sec=0.1)
    yield cli
    cli.end_all()


# Spools that others can write to.


@pytest.fixture
def spaced(tmp_path: Path) -> Cli:
    """A spool at a path that a shell must be given in quotes, with a job in it."""
    (tmp_path / "work").mkdir()
    made = Cli(tmp_path / "bob's own spool", tmp_path / "work")
    made.ok("init", str(made.spool), spool=False)
    made.configure(backoff_base=0)
    made.put("one", "true")
    return made


GUARDED = (".", "pending", "processing", "failed", "completed", "dead", "tmp", "logs", "config.toml", "queuectl.json")


@pytest.mark.parametrize(("place", "mode"), [*((place, 0o020) for place in GUARDED), ("pending", 0o002)])
def test_a_spool_that_others_can_write_to_is_refused_until_the_hint_is_typed(
    spaced: Cli, place: str, mode: int
) -> None:
    path = spaced.spool / place
    path.chmod(path.stat().st_mode | mode)
    refused = spaced.run("worker", "start", "--drain")
    assert (refused.returncode, spaced.state("one")) == (6, "pending")
    error, hint = refused.stderr.splitlines()
    assert error.startswith(f"error: {path}: writable by others")
    subprocess.run(hint.removeprefix("hint: "), shell=True, check=True, cwd="/")
    spaced.drain()
    assert spaced.state("one") == "completed"


def test_a_spool_that_others_can_only_read_is_used(spaced: Cli) -> None:
    (spaced.spool / "pending").chmod(0o755)
    spaced.drain()
    assert spaced.state("one") == "completed"


@root_only
@pytest.mark.parametrize("place", [".", "pending", "config.toml"])
def test_a_spool_that_is_owned_by_somebody_else_is_refused_with_the_owner_named(cli: Cli, place: str) -> None:
    cli.put("one", "true")
    os.chown(cli.spool / place, NOBODY, -1)
    refused = cli.run("worker", "start", "--drain")
    assert (refused.returncode, cli.state("one")) == (6, "pending")
    assert re.match(rf"error: {cli.spool / place}: owned by (nobody|{NOBODY}), but", refused.stderr)


@root_only
def test_typing_the_chown_of_the_hint_makes_the_spool_usable(spaced: Cli) -> None:
    os.chown(spaced.spool / "pending", NOBODY, -1)
    hint = spaced.run("worker", "start", "--drain").stderr.splitlines()[1]
    subprocess.run(hint.partition(", or: ")[2], shell=True, check=True, cwd="/")
    spaced.drain()
    assert spaced.state("one") == "completed"


def test_a_directory_that_became_a_link_elsewhere_is_checked_where_it_leads(cli: Cli, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (cli.spool / "pending").rename(elsewhere)
    (cli.spool / "pending").symlink_to(elsewhere)
    elsewhere.chmod(0o777)
    assert cli.run("worker", "start", "--drain").returncode == 6


def test_a_new_spool_is_closed_to_others_whatever_the_umask(cli: Cli, tmp_path: Path) -> None:
    line = 'umask 0; exec "$@"'
    made = tmp_path / "made"
    subprocess.run(["sh", "-c", line, "sh", *command(), "init", str(made)], env=environment(), check=True)
    other = Cli(made, cli.cwd)
    assert made.stat().st_mode & 0o777 == 0o700
    subprocess.run(
        ["sh", "-c", line, "sh", *command(), "--spool", str(made), "config", "set", "max_retries", "1"],
        env=environment(),
        check=True,
    )
    other.put("one", "true")
    other.drain()
    assert other.state("one") == "completed"


# Markers.

ANY = [["enqueue", "true"], ["worker", "start", "--drain"], ["list"], ["pause"]]


@pytest.mark.parametrize("words", ANY, ids=lambda words: words[0])
def test_a_spool_of_a_newer_format_is_refused_and_left_as_it_is(cli: Cli, words: list[str]) -> None:
    marker = cli.spool / "queuectl.json"
    marker.write_text(json.dumps({**json.loads(marker.read_bytes()), "format": 2}))
    before = sorted(cli.spool.rglob("*"))
    refused = cli.run(*words)
    assert refused.returncode == 6
    assert refused.stderr.startswith(f"error: {cli.spool}: format 2 is newer than")
    assert sorted(cli.spool.rglob("*")) == before


def test_a_marker_that_cannot_be_read_is_refused(cli: Cli) -> None:
    (cli.spool / "queuectl.json").write_bytes(b"\0\0")
    assert cli.run("enqueue", "true").returncode == 6


@pytest.mark.parametrize("words", ANY, ids=lambda words: words[0])
def test_a_directory_without_a_marker_is_no_spool(cli: Cli, words: list[str]) -> None:
    """So that the empty directory under an unmounted disk is not taken for an empty queue."""
    (cli.spool / "queuectl.json").unlink()
    assert cli.run(*words).returncode == 3
    assert not (cli.spool / "queuectl.json").exists()


@pytest.mark.parametrize("words", ANY, ids=lambda words: words[0])
def test_a_spool_that_was_named_and_does_not_exist_is_never_made(cli: Cli, tmp_path: Path, words: list[str]) -> None:
    missing = tmp_path / "missing"
    by_option = cli.run("--spool", str(missing), *words, spool=False)
    by_variable = cli.run(*words, spool=False, env={"QUEUECTL_SPOOL": str(missing)})
    assert (by_option.returncode, by_variable.returncode) == (3, 3)
    assert "hint: queuectl init" in by_option.stderr
    assert not missing.exists()


def test_a_spool_in_which_a_directory_is_missing_is_refused_with_what_to_type(cli: Cli) -> None:
    (cli.spool / "dead").rmdir()
    refused = cli.run("worker", "start", "--drain")
    assert refused.returncode == 6
    cli.ok(*refused.stderr.splitlines()[1].removeprefix("hint: queuectl ").split(), spool=False)
    cli.drain()


# File systems.


def on_other_mount(cli: Cli, mount: str) -> subprocess.CompletedProcess[str]:
    """Start workers in a mount namespace in which `mount` has been done before."""
    words = ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh", *command(), "--spool", str(cli.spool)]
    return subprocess.run(
        [*words, "worker", "start", "--drain"], capture_output=True, text=True, env=environment(), check=False
    )


@mounting
@pytest.mark.parametrize("place", ["pending", "completed", "tmp", "dead"])
@pytest.mark.parametrize("kind", ["mount -t tmpfs -o mode=700 none {0}", "mount --bind {0} {0}"], ids=["tmpfs", "bind"])
def test_a_directory_that_is_a_mount_of_its_own_is_refused(cli: Cli, place: str, kind: str) -> None:
    """Rename fails there, also for a bind mount of the same file system."""
    cli.put("one", "true")
    refused = on_other_mount(cli, kind.format(cli.spool / place))
    assert (refused.returncode, cli.state("one")) == (6, "pending")
    assert f"{cli.spool}/" in refused.stderr
    assert "not on one file system" in refused.stderr
    assert all(not path.name.startswith(".") for state in ("pending", "dead") for path in cli.files(state))
    assert not cli.files("tmp")


@mounting
def test_a_spool_on_a_memory_file_system_works_with_a_warning(cli: Cli, tmp_path: Path) -> None:
    cli.put("one", "true")
    keep = tmp_path / "keep"
    mount = (
        f"mkdir {keep} && cp -a {cli.spool}/. {keep} && mount -t tmpfs -o mode=700 none {cli.spool} && "
        f"cp -a {keep}/. {cli.spool}"
    )
    done = on_other_mount(cli, mount)
    assert (done.returncode, "1 completed" in done.stderr) == (0, True)
    assert "is on tmpfs: its jobs do not survive a reboot" in done.stderr


# A spool that goes away.


def test_workers_of_a_spool_that_is_moved_away_stop_and_lose_nothing(cli: Cli, tmp_path: Path) -> None:
    cli.put("one", HOLD)
    cli.put("two", "true")
    with cli.workers() as supervisor:
        wait_until((cli.cwd / "up.one").exists)
        moved = Cli(tmp_path / "moved", cli.cwd)
        cli.spool.rename(moved.spool)
        told(supervisor, f"{cli.spool}: not the spool any more (moved or deleted); stopping")
        (cli.cwd / "go").touch()
        assert supervisor.wait(PATIENCE_S) == 6
        assert not cli.spool.exists()
    assert (moved.state("one"), moved.job("one")["exit"], moved.state("two")) == ("completed", "0", "pending")
    moved.drain()
    assert moved.state("two") == "completed"


def test_idle_workers_of_a_spool_that_is_deleted_stop(cli: Cli) -> None:
    with cli.workers() as supervisor:
        wait_until(lambda: len(cli.holders()) >= 3, what="the listener")
        shutil.rmtree(cli.spool)
        assert supervisor.wait(PATIENCE_S) == 6
    cli.spool.mkdir()


def test_workers_whose_spool_is_deleted_while_a_job_runs_let_it_finish_and_end(cli: Cli) -> None:
    cli.put("one", f"{HOLD}; touch finished")
    with cli.workers("--count", "2") as supervisor:
        wait_until((cli.cwd / "up.one").exists)
        shutil.rmtree(cli.spool)
        (cli.cwd / "go").touch()
        assert supervisor.wait(PATIENCE_S) == 6
    assert (cli.cwd / "finished").exists()
    cli.spool.mkdir()


def test_workers_do_not_take_another_spool_at_the_same_path_for_theirs(cli: Cli, tmp_path: Path) -> None:
    with cli.workers() as supervisor:
        cli.spool.rename(tmp_path / "moved")
        cli.ok("init", str(cli.spool), spool=False)
        cli.put("one", "true")
        assert supervisor.wait(PATIENCE_S) == 6
    assert cli.state("one") == "pending"


# A disk that is full.


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Cli]:
    """A spool on a file system of half a megabyte, the jobs' directory elsewhere."""
    work, place = tmp_path / "work", tmp_path / "small"
    work.mkdir()
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", place], check=True)
    made = Cli(place / "spool", work)
    try:
        made.ok("init", str(made.spool), spool=False)
        made.configure(backoff_base=0, kill_grace_sec=0.3, poll_interval_sec=0.1)
        yield made
    finally:
        made.end_all()
        subprocess.run(["umount", "-l", place], check=True)


def fill(cli: Cli) -> Path:
    """Write a file next to the spool until there is no room left; returns it."""
    path = cli.spool.parent / "ballast"
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return path


@mounting
def test_enqueue_on_a_full_disk_is_refused_and_queues_nothing(small: Cli) -> None:
    fill(small)
    refused = small.run("enqueue", "true")
    assert (refused.returncode, refused.stdout) == (6, "")
    assert "no space left on device" in refused.stderr
    assert (small.files("pending"), small.files("tmp")) == ([], [])


@mounting
def test_a_bulk_enqueue_that_fills_the_disk_queues_none(small: Cli) -> None:
    lines = "".join(json.dumps({"command": "true", "meta": {"n": n, "pad": "x" * 300}}) + "\n" for n in range(2000))
    refused = small.run("enqueue", "-f", "-", stdin=lines)
    assert (refused.returncode, refused.stdout) == (6, "")
    assert (small.files("pending"), small.files("tmp")) == ([], [])


@mounting
def test_a_result_that_cannot_be_written_waits_and_is_recorded_when_there_is_room(small: Cli) -> None:
    small.enqueue("--id", "one", f"echo run >>runs; {HOLD}")
    with small.workers() as supervisor:
        wait_until((small.cwd / "up.one").exists)
        ballast = fill(small)
        (small.cwd / "go").touch()
        told(supervisor, "Cannot record job one (ENOSPC")
        assert small.state("one") == "processing"
        ballast.unlink()
        told(supervisor, "Job one is recorded now")
        wait_until(lambda: small.state("one") == "completed")
    assert ((small.cwd / "runs").read_text(), small.job("one")["attempts"]) == ("run\n", 1)


@mounting
def test_a_worker_whose_result_waits_for_room_takes_no_other_job(small: Cli) -> None:
    small.enqueue("--id", "one", HOLD)
    small.enqueue("--id", "two", "touch up.two")
    with small.workers() as supervisor:
        wait_until((small.cwd / "up.one").exists)
        ballast = fill(small)
        (small.cwd / "go").touch()
        told(supervisor, "Cannot record job one (ENOSPC")
        assert (small.state("two"), (small.cwd / "up.two").exists()) == ("pending", False)
        ballast.unlink()
        wait_until(lambda: small.state("two") == "completed")


@mounting
def test_a_worker_that_is_stopped_now_while_its_result_waits_leaves_the_job_for_recovery(small: Cli) -> None:
    small.enqueue("--id", "one", HOLD)
    with small.workers() as supervisor:
        wait_until((small.cwd / "up.one").exists)
        ballast = fill(small)
        (small.cwd / "go").touch()
        told(supervisor, "Cannot record job one (ENOSPC")
        supervisor.send_signal(signal.SIGQUIT)
        supervisor.wait(PATIENCE_S)
    assert small.state("one") == "processing"
    ballast.unlink()
    small.drain()
    assert (small.state("one"), small.job("one")["attempts"]) == ("completed", 2)


@mounting
def test_a_drop_that_came_before_the_disk_was_full_completes_when_there_is_room(small: Cli) -> None:
    with small.workers():
        ballast = fill(small)
        draft = small.spool / "pending" / "one.json"
        with contextlib.suppress(OSError):
            draft.write_text('{"command": "echo run >>runs", "id": "one"}')
        ballast.unlink()
        draft.write_text('{"command": "echo run >>runs", "id": "one"}')
        wait_until(lambda: small.counts()["completed"] == 1)
    assert (small.cwd / "runs").read_text() == "run\n"


@mounting
def test_a_spool_that_is_read_only_is_refused(small: Cli) -> None:
    small.enqueue("--id", "one", "true")
    subprocess.run(["mount", "-o", "remount,ro", small.spool.parent], check=True)
    for words in (["enqueue", "true"], ["worker", "start", "--drain"], ["pause"]):
        refused = small.run(*words)
        assert (refused.returncode, refused.stderr.count("\n")) == (6, 1), refused.stderr
        assert "read-only file system" in refused.stderr
    assert small.json("status")["counts"]["pending"] == 1
