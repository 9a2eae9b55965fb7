"""Jobs that use what they are given against their worker: they daemonise, fork, ignore, flood and let go."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest
from helpers import Cli, is_alive, wait_until

CHILDREN = 40
PROLOGUE = "import os, signal, sys, time\n"


@pytest.fixture
def cli(cli: Cli) -> Iterator[Cli]:
    """A spool whose workers end jobs quickly; whatever runs is ended afterwards."""
    cli.configure(backoff_base=0, kill_grace_sec=0.3, max_retries=0, poll_interval_sec=0.1)
    cli.cwd.chmod(0o777)
    yield cli
    (cli.cwd / "go").touch()
    for pid in pids(cli):
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
    cli.kill_all()


def python(source: str) -> list[str]:
    return [sys.executable, "-c", PROLOGUE + source]


def pids(cli: Cli) -> list[int]:
    """Return the pids that a job has noted."""
    return [int(path.name.removeprefix("pid.")) for path in cli.cwd.glob("pid.*")]


NOTE = "open(f'pid.{os.getpid()}', 'w').close()\n"
# Forks until the system gives no more; all children are deaf to TERM and hold the job's lock and log.
FORKS = f"""
import resource
if os.getuid() == 0:
    os.setgid(65534); os.setgroups([]); os.setuid(65534)  # root has no limit
    resource.setrlimit(resource.RLIMIT_NPROC, ({CHILDREN}, {CHILDREN}))
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range({CHILDREN * 2}):
    try:
        child = os.fork()
    except BlockingIOError:
        open("full", "w").close()
        break
    if child == 0:
        {NOTE.strip()}
        time.sleep(600)
time.sleep(600)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="the limit of a user with other processes is not ours to reach")
def test_a_job_that_forks_until_its_limit_is_ended_whole_by_its_timeout(cli: Cli) -> None:
    cli.cwd.parent.chmod(0o755)
    cli.put("forks", python(FORKS), timeout=2, cwd=str(cli.cwd))
    with cli.workers():
        wait_until(lambda: cli.state("forks") == "dead")
        assert (cli.cwd / "full").exists()
        assert cli.job("forks")["exit"] == "timeout"
        wait_until(lambda: not any(map(is_alive, pids(cli))), what="the end of all its children")
        cli.put("after", "true")
        wait_until(lambda: cli.state("after") == "completed")


# Daemonises as a book tells it, ignores TERM, and lets go of all that it inherited.
DAEMON = f"""
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.closerange(0, 1024)
        {NOTE.strip()}
        time.sleep(600)
    os._exit(0)
os.wait()
while not [name for name in os.listdir(".") if name.startswith("pid.")]:
    time.sleep(0.01)
"""


def test_a_job_that_leaves_a_deaf_daemon_without_descriptors_is_over_when_its_command_is(cli: Cli) -> None:
    cli.put("daemon", python(DAEMON))
    with cli.workers():
        wait_until(lambda: cli.state("daemon") == "completed")
        (pid,) = pids(cli)
        assert is_alive(pid)
    assert cli.run("doctor", "--repair").stdout.count("\topen\t") == cli.run("doctor").stdout.count("reboot")
    assert cli.job("daemon")["attempts"] == 1


@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_a_job_whose_daemon_is_deaf_and_elsewhere_is_ended_without_it(cli: Cli, how: str) -> None:
    """The daemon has left the process group, and what has left it is not the job's any more."""
    cli.put("daemon", python(DAEMON + "time.sleep(600)"), timeout=1 if how == "timeout" else 0)
    with cli.workers():
        if how == "cancel":
            wait_until(lambda: pids(cli))
            cli.ok("cancel", "daemon")
        wait_until(lambda: cli.state("daemon") == "dead")
        (pid,) = pids(cli)
        assert (cli.job("daemon")["exit"], is_alive(pid)) == ({"cancel": "cancelled"}.get(how, how), True)


def test_a_flood_that_nobody_limits_hinders_no_other_worker_and_can_be_cancelled(cli: Cli) -> None:
    cli.put("flood", "trap '' TERM; echo up >up; while [ ! -e go ]; do echo $$ $$ $$ $$; done")
    with cli.workers("--count", "2"):
        wait_until((cli.cwd / "up").exists)
        for number in range(10):
            cli.put(f"other-{number}", "true")
        wait_until(lambda: cli.counts()["completed"] == 10)
        cli.ok("cancel", "flood")
        assert cli.state("flood") == "dead"


def test_a_flood_into_a_log_that_is_deleted_under_it_is_still_ended_by_its_limit(cli: Cli) -> None:
    cli.configure(max_log_bytes=2_000_000, max_retries=0, kill_grace_sec=0.3)
    cli.put("flood", "echo up >up; until [ -e go ]; do sleep 0.02; done; while :; do echo $$ $$ $$ $$; done")
    with cli.workers():
        wait_until((cli.cwd / "up").exists)
        (cli.spool / "logs" / "flood.log").unlink()
        (cli.cwd / "go").touch()
        wait_until(lambda: cli.state("flood") == "dead")
    assert cli.job("flood")["exit"] == "sig25"


UNLOCKS = """
import fcntl
for name in os.listdir("/proc/self/fd"):
    try:
        fcntl.flock(int(name), fcntl.LOCK_UN)
    except OSError:
        pass
open("up", "w").close()
while not os.path.exists("go"):
    time.sleep(0.02)
open("runs", "a").write("run\\n")
"""


def test_a_job_that_unlocks_what_it_inherited_is_not_lost_by_its_own_worker(cli: Cli) -> None:
    """Its lock is gone, so others may take it for an orphan; what they decide is kept, and its worker says so."""
    cli.put("one", python(UNLOCKS), max_retries=0)
    with cli.workers("--count", "1"):
        wait_until((cli.cwd / "up").exists)
        cli.ok("doctor", "--repair")
        (cli.cwd / "go").touch()
        wait_until(lambda: (cli.cwd / "runs").exists())
        cli.put("after", "true")
        wait_until(lambda: cli.state("after") == "completed")
    assert len(cli.names("one")) == 1
    assert (cli.state("one"), cli.job("one")["exit"], (cli.cwd / "runs").read_text()) == ("dead", "lost", "run\n")
