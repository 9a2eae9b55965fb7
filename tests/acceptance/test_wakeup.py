"""Idle workers sleep until something arrives: a drop, a resume, a setting, a due time. The poll is only the safety net.

In these tests the poll comes once an hour, so that a lost wake-up is seen as a job that does not run.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import Cli, asleep, command, cpu_ticks, end, environment, family, idle_workers, switches, wait_until

# In this user namespace, and in no other process, inotify_init(2) fails with EMFILE.
WITHOUT_INOTIFY = ["unshare", "--user", "--map-root-user", "sh", "-ec"]
DENY = 'echo 0 > /proc/sys/user/max_inotify_instances; exec "$@"'
# Where namespaces are not to be had: the same answer from a C library that is asked by way of ctypes.
DENYING_MODULE = """
import ctypes, errno
def init(*_):
    ctypes.set_errno(errno.EMFILE)
    return -1
class Library(ctypes.CDLL):
    def __getattr__(self, name):
        return init if name.startswith("inotify_init") else super().__getattr__(name)
ctypes.CDLL = Library
"""


def done(cli: Cli, count: int) -> None:
    """Wait until so many jobs have completed."""
    wait_until(lambda: len(cli.files("completed")) >= count, what=f"{count} completed jobs")


def ended(cli: Cli, id: str, state: str = "completed") -> bool:
    """Say whether a job has got as far as this state."""
    return any(path.name.endswith(f".{id}.json") for path in cli.files(state))


@pytest.mark.parametrize("count", [1, 3])
def test_each_of_a_row_of_drops_wakes_idle_workers_without_a_poll(cli: Cli, count: int) -> None:
    with idle_workers(cli, count):
        for number in range(40):
            cli.drop(f"{number}.json", {"command": "true"})
            done(cli, number + 2)


def test_a_file_that_is_written_in_place_wakes_idle_workers_when_it_is_closed(cli: Cli) -> None:
    (cli.cwd / "job.json").write_text('{"command": "true"}')
    scripts = ['cp job.json "$1"', 'cat job.json > "$1"', 'printf %s "$(cat job.json)" >> "$1"', 'tee "$1" < job.json']
    with idle_workers(cli, 2):
        for number, script in enumerate(scripts):
            target = str(cli.spool / "pending" / f"{number}.json")
            subprocess.run(["sh", "-euc", script, "sh", target], cwd=cli.cwd, check=True, stdout=subprocess.DEVNULL)
            done(cli, number + 2)


def test_a_file_that_is_linked_into_pending_wakes_idle_workers(cli: Cli) -> None:
    outside = cli.cwd / "job.json"
    outside.write_text('{"id": "linked", "command": "true"}')
    with idle_workers(cli, 2):
        os.link(outside, cli.spool / "pending" / "job.json")
        done(cli, 2)
    assert ended(cli, "linked")


# One worker that is busy for longer than a tenth of a second has no watch, and gets it back when its job has ended.
@pytest.mark.parametrize(("count", "job_s"), [(1, 0.2), (2, 0.05)])
def test_a_drop_that_comes_just_as_a_worker_gets_idle_is_not_lost(cli: Cli, count: int, job_s: float) -> None:
    with idle_workers(cli, count):
        for number in range(30):
            cli.drop(f"a{number}.json", {"command": f"sleep {job_s}"})
            pause = time.monotonic() + job_s + (number % 7 - 3) * 0.02
            wait_until(lambda until=pause: time.monotonic() >= until)
            cli.drop(f"b{number}.json", {"command": "true"})
            done(cli, 2 * number + 3)


def test_several_drops_at_once_wake_several_workers(cli: Cli) -> None:
    met = "touch $QUEUECTL_JOB_ID; until [ -e a ] && [ -e b ] && [ -e c ]; do sleep 0.02; done"
    with idle_workers(cli, 3):
        for id in "abc":
            cli.put(id, met, cwd=str(cli.cwd))
        done(cli, 4)


def test_jobs_enqueued_by_one_command_wake_several_workers(cli: Cli) -> None:
    met = "touch $QUEUECTL_JOB_ID; until [ -e a ] && [ -e b ] && [ -e c ]; do sleep 0.02; done"
    with idle_workers(cli, 3):
        lines = "".join(f'{{"command": "{met}", "id": "{id}"}}\n' for id in "abc")
        cli.ok("enqueue", "-q", "-f", "-", stdin=lines)
        done(cli, 4)


def test_jobs_that_wait_for_resume_wake_several_workers(cli: Cli) -> None:
    met = "touch $QUEUECTL_JOB_ID; until [ -e a ] && [ -e b ] && [ -e c ]; do sleep 0.02; done"
    with idle_workers(cli, 3) as process:
        cli.ok("pause")
        cli.enqueue_all(*({"command": met, "id": id} for id in "abc"))
        wait_until(lambda: asleep(process.pid))
        cli.ok("resume")
        done(cli, 4)


def test_a_drop_wakes_an_idle_worker_while_others_claim_one_job_after_another(cli: Cli) -> None:
    chain = cli.cwd / "chain.sh"
    chain.write_text(
        f'cat "{cli.cwd}/link.json" > "{cli.cwd}/$QUEUECTL_JOB_ID.tmp"\n'
        f'[ -e "{cli.cwd}/stop" ] || mv "{cli.cwd}/$QUEUECTL_JOB_ID.tmp" "{cli.spool}/pending/$QUEUECTL_JOB_ID.json"\n'
    )
    (cli.cwd / "link.json").write_text(f'{{"command": ["sh", "{chain}"], "priority": 0}}')
    with idle_workers(cli, 3):
        for number in range(2):
            cli.drop(f"chain{number}.json", (cli.cwd / "link.json").read_bytes())
        for number in range(40):
            cli.put(f"drop-{number}", "true")
            wait_until(lambda id=f"drop-{number}": ended(cli, id))
        assert len(cli.files("completed")) > 60  # the chains went on meanwhile
        (cli.cwd / "stop").touch()


def test_a_drop_wakes_an_idle_worker_while_the_other_runs_a_long_job(cli: Cli) -> None:
    go = cli.cwd / "go"
    with idle_workers(cli, 2):
        cli.put("long", f"until [ -e '{go}' ]; do sleep 0.02; done")
        wait_until(lambda: cli.files("processing"))
        for number in range(10):
            cli.put(f"short-{number}", "true")
            wait_until(lambda id=f"short-{number}": ended(cli, id))
        assert not ended(cli, "long")
        go.touch()
        wait_until(lambda: ended(cli, "long"))


def test_a_drop_that_came_while_all_workers_were_busy_runs_when_one_gets_idle(cli: Cli) -> None:
    go = cli.cwd / "go"
    with idle_workers(cli, 2):
        for id in ("a", "b"):  # no drops: their new names would make the queue be looked at again
            cli.enqueue("--id", id, f"until [ -e '{go}' ]; do sleep 0.02; done")
        wait_until(lambda: cli.counts()["processing"] == 2)
        until = time.monotonic() + 0.5  # the watch is put away meanwhile
        wait_until(lambda: time.monotonic() > until)
        cli.put("late", "true")
        go.touch()
        wait_until(lambda: ended(cli, "late"))


def test_a_retry_wakes_workers_when_it_is_due(cli: Cli) -> None:
    with idle_workers(cli, 2):
        cli.put("x", '[ "$QUEUECTL_ATTEMPT" = 2 ]', backoff_base=1.5)
        wait_until(lambda: ended(cli, "x"))


def test_a_job_scheduled_for_later_wakes_workers_when_it_is_due(cli: Cli) -> None:
    with idle_workers(cli, 2):
        cli.enqueue("--id", "x", "--delay", "2", "true")
        wait_until(lambda: ended(cli, "x"))


def test_a_retry_asked_for_by_hand_wakes_workers(cli: Cli) -> None:
    with idle_workers(cli, 2):
        cli.put("x", "[ -e ready ]", max_retries=0, cwd=str(cli.cwd))
        wait_until(lambda: ended(cli, "x", "dead"))
        (cli.cwd / "ready").touch()
        cli.ok("retry", "x")
        wait_until(lambda: ended(cli, "x"))


def test_resume_wakes_workers(cli: Cli) -> None:
    with idle_workers(cli, 2) as process:
        for number in range(3):
            cli.ok("pause")
            cli.drop(f"{number}.json", {"command": "true"})
            wait_until(lambda: asleep(process.pid))
            assert len(cli.files("completed")) == number + 1
            cli.ok("resume")
            done(cli, number + 2)


def test_a_changed_setting_reaches_idle_workers(cli: Cli) -> None:
    with idle_workers(cli, 2):
        cli.ok("config", "set", "max-job-bytes", "100")
        wait_until(lambda: rejects(cli, b'{"command": "true"}'.ljust(101)))


def rejects(cli: Cli, data: bytes) -> bool:
    """Drop a file and say whether it was rejected rather than run."""
    before, rejected = len(cli.files("completed")), len(cli.files("rejected"))
    cli.drop("sized.json", data)
    wait_until(lambda: len(cli.files("completed")) > before or len(cli.files("rejected")) > rejected + 1)
    return len(cli.files("rejected")) > rejected


def test_a_shorter_poll_interval_holds_at_once(cli: Cli) -> None:
    with idle_workers(cli, 1):
        (cli.cwd / "linked.json").write_bytes(b'{"command": "true"}')
        os.link(cli.cwd / "linked.json", cli.spool / "processing" / "20260101T000000000Z.1.lost.json")
        cli.ok("config", "set", "poll-interval-sec", "0.5")
        # Only a poll looks at what dead workers left.
        wait_until(lambda: ended(cli, "lost", "failed"))


def test_a_setting_that_cannot_be_read_is_told_and_the_old_one_holds(cli: Cli, tmp_path: Path) -> None:
    cli.ok("config", "set", "poll-interval-sec", "3600")
    with open(tmp_path / "stderr", "wb") as stderr, cli.workers("--count", "1", stderr=stderr) as process:
        wait_until(lambda: len(family(process.pid)) == 3)
        cli.configure(max_job_bytes="nonsense")
        wait_until(lambda: b"Configuration not taken up" in (tmp_path / "stderr").read_bytes())
        cli.drop("x.json", {"command": "true"})
        done(cli, 1)


def test_idle_workers_use_no_processor_time(cli: Cli) -> None:
    cli.enqueue("--run-at", "2099-01-01T00:00:00Z", "true")
    with idle_workers(cli, 4, poll="5") as process:
        before, slept = cpu_ticks(process.pid), switches(process.pid)
        until = time.monotonic() + 6  # what is measured: one poll falls into it
        wait_until(lambda: time.monotonic() > until)
        assert cpu_ticks(process.pid) - before <= 0.05 * os.sysconf("SC_CLK_TCK")
        assert switches(process.pid) - slept <= 60, "woken too often for one poll"
        assert len(family(process.pid)) == 6


def test_an_idle_worker_has_one_thread(cli: Cli) -> None:
    with idle_workers(cli, 2):
        for pid in cli.worker_pids():
            assert len(list(Path(f"/proc/{pid}/task").iterdir())) == 1


def test_the_watch_is_taken_up_again_when_the_process_that_holds_it_dies(cli: Cli) -> None:
    with idle_workers(cli, 2) as process:
        (watcher,) = set(family(process.pid)) - {process.pid} - set(cli.worker_pids())
        os.kill(watcher, signal.SIGKILL)
        for number in range(5):
            cli.drop(f"{number}.json", {"command": "true"})
            done(cli, number + 2)


def test_a_spool_behind_a_symbolic_link_wakes_its_workers(cli: Cli) -> None:
    link = cli.cwd / "link"
    link.symlink_to(cli.spool)
    behind = Cli(link, cli.cwd)
    with idle_workers(behind, 2):
        for number in range(10):
            (cli.drop if number % 2 else behind.drop)(f"{number}.json", {"command": "true"})
            done(cli, number + 2)


def test_a_spool_whose_parent_is_a_symbolic_link_wakes_its_workers(cli: Cli) -> None:
    (cli.cwd / "parent").symlink_to(cli.spool.parent)
    behind = Cli(cli.cwd / "parent" / cli.spool.name, cli.cwd)
    with idle_workers(behind, 1):
        cli.drop("x.json", {"command": "true"})
        done(cli, 2)


# Without notification.


def denied_by_namespace() -> bool:
    """Say whether a process of ours can be denied inotify in a user namespace of its own."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*WITHOUT_INOTIFY, DENY, "sh", "true"], capture_output=True).returncode == 0


@contextlib.contextmanager
def deaf_workers(cli: Cli, stderr: Path, *args: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run workers on a system that has no file notification left to give."""
    prefix: list[str] = []
    extra: dict[str, str] = {}
    if denied_by_namespace():
        prefix = [*WITHOUT_INOTIFY, DENY, "sh"]
    else:
        (cli.cwd / "sitecustomize.py").write_text(DENYING_MODULE)
        extra["PYTHONPATH"] = str(cli.cwd)
    with open(stderr, "wb") as out:
        process = subprocess.Popen(
            [*prefix, *command(), "--spool", cli.spool, "worker", "start", *args],
            env=environment(extra),
            cwd=cli.cwd,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=out,
        )
        try:
            yield process
        finally:
            end(process)


def test_without_notification_workers_say_so_once_and_find_each_drop_by_polling(cli: Cli, tmp_path: Path) -> None:
    cli.ok("config", "set", "poll-interval-sec", "3600")
    with deaf_workers(cli, tmp_path / "stderr", "--count", "2"):
        for number in range(4):
            cli.drop(f"{number}.json", {"command": "true"})
            done(cli, number + 1)
        wait_until(lambda: (tmp_path / "stderr").read_text())
        for number in (5, 6):  # the first poll, which comes anyway, finds one of them at most
            cli.drop(f"{number}.json", {"command": "true"})
            done(cli, number)
    told = [line for line in (tmp_path / "stderr").read_text().splitlines() if not line.startswith("Ending")]
    assert len(told) == 1, told
    assert "notification" in told[0]


def test_without_notification_resume_and_settings_are_found_by_polling(cli: Cli, tmp_path: Path) -> None:
    with deaf_workers(cli, tmp_path / "stderr"):
        cli.ok("pause")
        cli.ok("config", "set", "max-job-bytes", "100")
        cli.drop("x.json", b'{"command": "true"}'.ljust(90))
        cli.ok("resume")
        done(cli, 1)
        wait_until(lambda: rejects(cli, b'{"command": "true"}'.ljust(101)))


def test_without_notification_a_drain_runs_everything(cli: Cli, tmp_path: Path) -> None:
    cli.ok("config", "set", "poll-interval-sec", "3600")
    for number in range(20):
        cli.drop(f"{number}.json", {"command": "true"})
    cli.ok("pause")  # until it is known that there is no notification, or the drain would be faster
    with deaf_workers(cli, tmp_path / "stderr", "--count", "2", "--drain") as process:
        wait_until(lambda: "notification" in (tmp_path / "stderr").read_text() or process.poll() is not None)
        late = cli.drop("late.json", {"command": "true"})
        wait_until(lambda: not late.exists())  # the first poll, which comes anyway, has given it another name
        cli.ok("resume")
        assert process.wait(30) == 0
    assert len(cli.files("completed")) == 21
