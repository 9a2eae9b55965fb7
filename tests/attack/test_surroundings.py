"""A spool whose surroundings turn hostile while workers run: what then stops, what goes on, and who explains it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import HOLD, PATIENCE_S, STATES, Cli, command, environment, wait_until
from machine import can_mount

from queuectl import clock, recovery
from queuectl.spool import Spool

LEFTOVERS = 10_000


@pytest.fixture
def cli(cli: Cli) -> Iterator[Cli]:
    """A spool whose workers look often; whatever runs is ended afterwards."""
    cli.configure(backoff_base=0, kill_grace_sec=0.3, poll_interval_sec=0.1)
    yield cli
    cli.end_all()


def findings(cli: Cli) -> list[tuple[str, str]]:
    """Return the doctor's findings by kind and path, but for the file system that the tests run on."""
    found = json.loads(cli.run("doctor", "--json").stdout)
    return [(one["kind"], os.path.relpath(one["path"], cli.spool)) for one in found if one["kind"] != "file-system"]


def wait_for_all(cli: Cli, count: int) -> None:
    wait_until(lambda: cli.counts()["completed"] == count, what=f"{count} completed jobs")


# Opened, given away, upgraded.


def open_it(spool: Path) -> None:
    (spool / "pending").chmod(0o777)


def give_it_away(spool: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(spool / "pending", 65534, -1)


def upgrade_it(spool: Path) -> None:
    marker = spool / "queuectl.json"
    marker.write_text(json.dumps({**json.loads(marker.read_bytes()), "format": 2}))


def lose_its_marker(spool: Path) -> None:
    (spool / "queuectl.json").unlink()


CHANGES = [(open_it, "open"), (give_it_away, "open"), (upgrade_it, "marker"), (lose_its_marker, "marker")]


@pytest.mark.parametrize(("change", "kind"), CHANGES, ids=[change.__name__ for change, _ in CHANGES])
def test_what_becomes_of_a_spool_while_workers_run_is_explained_and_loses_no_running_job(
    cli: Cli, change: Callable[[Path], None], kind: str
) -> None:
    cli.put("one", HOLD)
    with cli.workers():
        wait_until((cli.cwd / "up.one").exists)
        change(cli.spool)
        assert [found for found, _ in findings(cli)] == [kind]
        (cli.cwd / "go").touch()
        wait_until(lambda: cli.state("one") == "completed")
    assert cli.job("one")["attempts"] == 1


@pytest.mark.parametrize("gone", ["logs", "tmp"])
def test_workers_stop_when_a_directory_of_the_spool_is_deleted_and_go_on_when_it_is_mended(cli: Cli, gone: str) -> None:
    with cli.workers("--count", "2") as supervisor:
        cli.put("one", "true")
        wait_for_all(cli, 1)
        shutil.rmtree(cli.spool / gone)
        assert supervisor.wait(PATIENCE_S) == 6
    assert findings(cli) == [("missing", gone)]
    cli.ok("doctor", "--repair")
    cli.put("two", "true")
    cli.drain()
    assert cli.state("two") == "completed"


# Mounts.


mounting = pytest.mark.skipif(not can_mount(), reason="only root can mount file systems")
ANOTHER, ITSELF = "mount -t tmpfs -o mode=700 none {0}", "mount --bind {0} {0}"


def in_other_mounts(cli: Cli, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in which `$@` is the command, in mounts of its own."""
    words = ["unshare", "-m", "sh", "-c", script, "sh", *command(), "--spool", str(cli.spool)]
    return subprocess.run(words, capture_output=True, text=True, env=environment(), timeout=60, check=False)


@mounting
@pytest.mark.parametrize("place", ["pending", "processing"])
def test_workers_stop_when_something_is_mounted_over_a_directory_of_the_spool(cli: Cli, place: str) -> None:
    cli.put("first", "true")
    script = (
        f'"$@" worker start & until [ "$(ls {cli.spool}/completed)" ]; do sleep 0.02; done; '
        f"{ANOTHER.format(cli.spool / place)} && wait $!"
    )
    done = in_other_mounts(cli, script)
    assert done.returncode == 6
    assert "not the spool any more" in done.stderr


@mounting
@pytest.mark.parametrize(
    ("mount", "place"),
    [(ANOTHER, "pending"), (ITSELF, "completed"), (ANOTHER, "processing")],
    ids=["pending", "bind", "processing"],
)
def test_the_doctor_names_a_directory_that_is_a_mount_of_its_own_and_leaves_nothing_there(
    cli: Cli, mount: str, place: str
) -> None:
    path = cli.spool / place
    done = in_other_mounts(cli, f'{mount.format(path)} && "$@" doctor --json; ls -A {path} {cli.spool / "tmp"}')
    document, _, rest = done.stdout.partition("\n")
    (found,) = (one for one in json.loads(document) if one["kind"] == "mount")
    assert "not on one file system" in found["meaning"]
    assert rest.split() == [f"{path}:", f"{cli.spool / 'tmp'}:"]


# No watches.


def test_workers_without_a_watch_to_be_had_find_what_comes_and_the_doctor_says_so(cli: Cli) -> None:
    """Instances there are, but not one directory can be watched."""
    deny = 'echo 0 > /proc/sys/user/max_inotify_watches; exec "$@"'
    words = ["unshare", "--user", "--map-root-user", "sh", "-ec", deny, "sh"]
    if not shutil.which("unshare") or subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespace to be had, in which watches could be denied")
    cli.configure(poll_interval_sec=3600)
    options = {"env": environment(), "cwd": cli.cwd, "stdout": subprocess.PIPE}
    process = subprocess.Popen(
        [*words, *command(), "--spool", cli.spool, "worker", "start"], start_new_session=True, **options
    )
    try:
        wait_until(cli.worker_pids)
        for number in range(3):
            cli.drop(f"{number}.json", {"command": "true"})
            wait_for_all(cli, number + 1)
    finally:
        cli.ok("worker", "stop", "--now")
        process.communicate(timeout=PATIENCE_S)
    asked = subprocess.run([*words, *command(), "--spool", cli.spool, "doctor", "--json"], check=False, **options)
    assert "notification" in [one["kind"] for one in json.loads(asked.stdout)]


# A person with mv and rm.


def sh(cli: Cli, line: str) -> None:
    subprocess.run(["sh", "-euc", line], cwd=cli.spool, check=True)


def test_all_the_dead_run_again_when_they_are_moved_to_pending_by_hand_while_workers_run(cli: Cli) -> None:
    ends = ["exit 1", "exit 127", "kill -9 $$", "kill $$"] * 4
    line = "[ -e cured ] || {{ {0}; }}; echo run >>runs.{1}"
    jobs = [{"command": line.format(end, n), "id": f"j{n}", "max_retries": 0} for n, end in enumerate(ends)]
    cli.enqueue_all(*jobs)
    with cli.workers("--count", "2"):
        wait_until(lambda: cli.counts()["dead"] == 16)
        (cli.cwd / "cured").touch()
        sh(cli, "mv dead/* pending/")
        wait_for_all(cli, 16)
    assert [(cli.cwd / f"runs.{n}").read_text() for n in range(16)] == ["run\n"] * 16
    assert findings(cli) == []


def test_a_job_that_is_moved_to_dead_by_hand_while_workers_run_does_not_run_and_is_explained(cli: Cli) -> None:
    cli.put("busy", HOLD)
    with cli.workers():
        wait_until((cli.cwd / "up.busy").exists)
        cli.enqueue("--id", "x", "echo run >>runs")
        sh(cli, "mv pending/*.x.json dead/")
        (cli.cwd / "go").touch()
        cli.put("after", "true")
        wait_for_all(cli, 2)
        assert (cli.state("x"), (cli.cwd / "runs").exists()) == ("dead", False)
        assert [kind for kind, _ in findings(cli)] == ["contradiction"]
        cli.ok("doctor", "--repair")
        assert (cli.job("x")["exit"], findings(cli)) == ("cancelled", [])
        cli.ok("retry", "x")
        wait_for_all(cli, 3)
    assert (cli.cwd / "runs").read_text() == "run\n"


def test_everything_that_is_shuffled_by_hand_while_workers_run_is_one_job_each_in_the_end(cli: Cli) -> None:
    names = [f"j{number}" for number in range(40)]
    cli.enqueue_all(*({"command": "sleep 0.02; echo run >>runs.$QUEUECTL_JOB_ID", "id": id} for id in names))
    with cli.workers("--count", "2"):
        for _ in range(15):
            sh(cli, "mv pending/* failed/ 2>/dev/null || true; mv failed/* dead/ 2>/dev/null || true")
            sh(cli, "mv dead/* pending/ 2>/dev/null || true; rm -f logs/*")
        wait_for_all(cli, 40)
    assert sorted(cli.jobs("completed")) == sorted(names)
    assert [(cli.cwd / f"runs.{id}").read_text() for id in names] == ["run\n"] * 40
    assert findings(cli) == []


# Leftovers.


def test_ten_thousand_drafts_of_living_and_dead_writers_hinder_nobody(cli: Cli) -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    stamp = clock.stamp(clock.now())
    for number in range(LEFTOVERS):
        (cli.spool / "tmp" / f"{stamp}.{child.pid}.{number:x}").touch()
    living = cli.spool / "tmp" / f"{stamp}.{os.getpid()}.living"
    living.touch()
    cli.put("one", "true")
    cli.drain()
    assert (cli.state("one"), findings(cli), len(cli.files("tmp"))) == ("completed", [], LEFTOVERS + 1)
    # Two hours later the next start sweeps those whose writer is gone.
    assert recovery.sweep(Spool(cli.spool), clock.now() + 7_200_000) == LEFTOVERS
    assert cli.files("tmp") == [living]


# Beside workers.


def test_repairs_beside_workers_that_run_and_retry_and_bury_change_nothing(cli: Cli) -> None:
    ends = ["true", "false", "[ $QUEUECTL_ATTEMPT = 2 ]", "exit 3"]
    cli.configure(backoff_base=0, max_retries=1, poll_interval_sec=0.1)
    jobs = [{"command": f"echo run >>runs.$QUEUECTL_JOB_ID; {ends[n % 4]}", "id": f"j{n}"} for n in range(200)]
    cli.enqueue_all(*jobs)
    rounds = 0
    with cli.workers("--count", "3"):
        while cli.counts()["completed"] + cli.counts()["dead"] < 200:
            assert [line for line in cli.run("doctor", "--repair").stdout.splitlines() if "reboot" not in line] == []
            rounds += 1
    assert rounds
    runs = [(cli.cwd / f"runs.j{n}").read_text().count("run") for n in range(200)]
    assert runs == [1 if n % 4 == 0 else 2 for n in range(200)]
    assert sum(cli.counts().values()) == 200
    assert set(cli.counts()) == set(STATES)
