from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import wait_until

from queuectl import clock, registry
from queuectl.errors import TimedOut
from queuectl.spool import Spool

NOW = 1_800_000_000_000
PROCESS = """
import os, signal, sys
from queuectl import clock, registry
from queuectl.spool import Spool

spool, role, deaf = Spool(sys.argv[1]), sys.argv[2], sys.argv[3] == "deaf"
if deaf:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
registry.register(spool, role, int(sys.argv[4]) or os.getpid(), clock.now())
while True:
    signal.pause()
"""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(spool: Spool) -> Iterator[Start]:
    """Start a process that enters itself and then waits for signals."""
    started: list[subprocess.Popen[bytes]] = []

    def start_one(role: str = registry.WORKER, supervisor: int = 0, deaf: bool = False) -> subprocess.Popen[bytes]:
        words = [str(spool.path), role, "deaf" if deaf else "", str(supervisor)]
        started.append(subprocess.Popen([sys.executable, "-c", PROCESS, *words]))
        pid = started[-1].pid
        wait_until(lambda: pid in [info.pid for info in registry.live(spool)], what="the process to enter itself")
        return started[-1]

    yield start_one
    for process in started:
        process.kill()
        process.wait()


def files(spool: Spool) -> list[str]:
    return [path.name for path in (spool.path / "workers").iterdir()]


def test_a_process_that_has_entered_itself_lives(spool: Spool) -> None:
    fd = registry.register(spool, registry.WORKER, 7, NOW)
    (info,) = registry.live(spool)
    assert (info.worker, info.pid, info.supervisor, info.role) == (
        f"{registry.host()}.{os.getpid()}",
        os.getpid(),
        7,
        "worker",
    )
    assert (info.host, info.started_at) == (registry.host(), clock.iso(NOW))
    os.close(fd)


def test_the_name_of_a_workers_file_tells_who_it_is(spool: Spool) -> None:
    fd = registry.register(spool, registry.WORKER, 7, NOW)
    assert files(spool) == [f"{registry.host()}.{os.getpid()}.{clock.stamp(NOW)}.json"]
    os.close(fd)


def test_a_process_that_has_closed_its_entry_lives_no_more_and_its_file_is_deleted(spool: Spool) -> None:
    os.close(registry.register(spool, registry.WORKER, 7, NOW))
    assert (registry.live(spool), files(spool)) == ([], [])


def test_a_process_that_was_killed_lives_no_more(spool: Spool, start: Start) -> None:
    process = start()
    process.kill()
    process.wait()
    assert (registry.live(spool), files(spool)) == ([], [])


def test_processes_are_listed_in_the_order_of_their_start(spool: Spool) -> None:
    fds = [registry.register(spool, registry.WORKER, number, NOW + at) for number, at in ((1, 30), (2, 10), (3, 20))]
    assert [info.supervisor for info in registry.live(spool)] == [2, 3, 1]
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize("data", [b"", b"{}", b"null", b"\xff", b'{"pid": "x"}'])
def test_an_entry_that_cannot_be_read_is_passed_over(spool: Spool, data: bytes) -> None:
    fd = registry.register(spool, registry.WORKER, 7, NOW)
    (spool.path / "workers" / files(spool)[0]).write_bytes(data)
    assert registry.live(spool) == []
    os.close(fd)


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "other"])
def test_what_is_no_entry_is_left_alone(spool: Spool, kind: str) -> None:
    path = spool.path / "workers" / ("README" if kind == "other" else "x.json")
    {
        "link": lambda: path.symlink_to("/etc/passwd"),
        "fifo": lambda: os.mkfifo(path),
        "directory": path.mkdir,
        "other": path.touch,
    }[kind]()
    assert registry.live(spool) == []
    assert files(spool) == [path.name]


def test_the_hosts_name_may_stand_in_a_file_name() -> None:
    assert registry.host().replace("-", "").replace("_", "").isalnum()
    assert len(registry.host()) <= 64


def test_a_process_of_this_machine_is_alive_until_it_has_been_collected() -> None:
    child = subprocess.Popen(["true"])
    assert registry.is_alive(child.pid)
    child.wait()
    assert not registry.is_alive(child.pid)


def test_a_process_of_another_user_is_alive() -> None:
    if os.geteuid() == 0:
        pytest.skip("root may signal every process")
    with pytest.raises(PermissionError):
        os.kill(1, 0)
    assert registry.is_alive(1)


@pytest.mark.parametrize("pid", [0, 2**22 + 1])
def test_no_process_has_the_pid_0_or_one_beyond_the_last(pid: int) -> None:
    assert not registry.is_alive(pid)


# Stopping.


def test_stopping_returns_when_the_workers_are_gone_and_tells_who_they_were(spool: Spool, start: Start) -> None:
    process = start()
    stopped = registry.stop(spool, now=False, timeout=30, progress=None)
    assert [info.pid for info in stopped] == [process.pid]
    assert registry.live(spool) == []
    assert process.wait(30) == -signal.SIGTERM


def test_stopping_at_once_sends_another_signal(spool: Spool, start: Start) -> None:
    process = start()
    registry.stop(spool, now=True, timeout=30, progress=None)
    assert process.wait(30) == -signal.SIGQUIT


def test_a_worker_hears_it_from_its_supervisor_and_not_from_us(spool: Spool, start: Start) -> None:
    supervisor = start(registry.SUPERVISOR)
    worker = start(registry.WORKER, supervisor.pid)
    with pytest.raises(TimedOut, match="processes had not stopped"):
        registry.stop(spool, now=False, timeout=0.2, progress=None)
    assert (supervisor.wait(30), worker.poll()) == (-signal.SIGTERM, None)


def test_a_worker_that_has_lost_its_supervisor_is_told_itself(spool: Spool, start: Start) -> None:
    worker = start(registry.WORKER, 2**22 + 1)
    registry.stop(spool, now=False, timeout=30, progress=None)
    assert worker.wait(30) == -signal.SIGTERM


def test_stopping_gives_up_after_its_time(spool: Spool, start: Start) -> None:
    process = start(deaf=True)
    with pytest.raises(TimedOut, match=r"1 processes had not stopped after 0\.05 s"):
        registry.stop(spool, now=False, timeout=0.05, progress=None)
    assert process.poll() is None


def test_stopping_tells_how_many_workers_are_left(spool: Spool, start: Start) -> None:
    process = start(deaf=True)
    told: list[int] = []

    def progress(left: int) -> None:
        told.append(left)
        process.kill()
        process.wait()

    registry.stop(spool, now=False, timeout=30, progress=progress)
    assert told == [1]


def test_stopping_where_nobody_works_returns_at_once(spool: Spool) -> None:
    assert registry.stop(spool, now=False, timeout=None, progress=None) == []


def test_the_worker_of_another_machine_is_not_stopped(spool: Spool, start: Start) -> None:
    process = start()
    path = next(Path(spool.path / "workers").iterdir())
    info = json.loads(path.read_bytes())
    path.write_bytes(json.dumps({**info, "host": "elsewhere", "worker": f"elsewhere.{process.pid}"}).encode())
    assert registry.stop(spool, now=True, timeout=30, progress=None) == []
    assert process.poll() is None
