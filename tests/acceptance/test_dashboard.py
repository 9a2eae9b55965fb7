"""The command `queuectl dashboard`, as a process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from helpers import Cli, environment, next_line, wait_until
from serving import Dashboard, dashboard

pytest.importorskip("uvicorn", reason="the dashboard's extra is missing: pip install 'queuectl[test]'")


def ask(served: Dashboard, path: str, **headers: str) -> tuple[int, Any]:
    """Get something, and return the status and the JSON."""
    connection = HTTPConnection("127.0.0.1", served.port, timeout=30)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, json.loads(body)


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment in which the packages of the extra cannot be imported."""
    (tmp_path / "bare").mkdir()
    for name in ("starlette", "uvicorn", "anyio"):
        text = f"raise ModuleNotFoundError('No module named {name}', name='{name}')\n"
        (tmp_path / "bare" / f"{name}.py").write_text(text)
    return {"PYTHONPATH": str(tmp_path / "bare")}


def test_the_command_says_where_it_serves_and_does(cli: Cli) -> None:
    cli.enqueue("true")
    with dashboard(cli) as served:
        assert served.url == f"http://127.0.0.1:{served.port}/dashboard"
        assert ask(served, "/api/v1/counts")[1]["pending"] == 1


def test_the_module_is_the_same_as_the_command(cli: Cli) -> None:
    words = [sys.executable, "-P", "-m", "queuectl.api", "--spool", str(cli.spool), "--port", "0"]
    process = subprocess.Popen(words, cwd=cli.cwd, env=environment(), stdout=subprocess.PIPE)
    try:
        assert next_line(process.stdout).startswith("Dashboard: http://127.0.0.1:")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        assert process.stdout
        process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_open_stream_does_not_hold_up_the_end(cli: Cli, number: signal.Signals) -> None:
    with dashboard(cli) as served:
        connection = HTTPConnection("127.0.0.1", served.port, timeout=30)
        connection.request("GET", "/api/v1/events")
        stream = connection.getresponse()
        assert stream.readline() == b"retry: 1000\n"
        served.process.send_signal(number)
        assert served.process.wait(30) in (128 + number, -number)
        assert served.process.stderr
        assert served.process.stderr.read() == b""
        connection.close()


def test_a_cancel_that_waits_does_not_hold_up_the_end(cli: Cli) -> None:
    cli.configure(kill_grace_sec=600)
    with cli.workers(), dashboard(cli) as served:
        id = cli.enqueue("trap '' TERM; echo up; while :; do sleep 0.1; done")
        wait_until(lambda: (cli.spool / "logs" / f"{id}.log").exists() and cli.log(id) == b"up\n")
        connection = HTTPConnection("127.0.0.1", served.port, timeout=30)
        connection.request("POST", f"/api/v1/jobs/{id}/cancel")
        wait_until(lambda: list((cli.spool / "cancel").iterdir()))
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(60) == 128 + signal.SIGINT
        connection.close()


def test_without_the_extra_one_line_says_what_to_install(cli: Cli, bare: dict[str, str]) -> None:
    done = cli.run("dashboard", env=bare)
    assert done.returncode == 6
    assert done.stderr.splitlines() == [
        "error: the dashboard needs more than is installed (uvicorn)",
        "hint: pip install 'queuectl[dashboard]'",
    ]


def test_everything_else_works_without_the_extra(cli: Cli, bare: dict[str, str]) -> None:
    cli.ok("enqueue", "true", env=bare)
    assert cli.drain(env=bare).returncode == 0
    assert cli.counts()["completed"] == 1


def test_a_port_that_is_taken_is_named(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = cli.run("dashboard", "--port", str(port))
    assert done.returncode == 6
    assert done.stderr.startswith(f"error: 127.0.0.1:{port}: address already in use\n")


def test_where_there_is_no_spool_nothing_is_served(cli: Cli) -> None:
    done = cli.run("dashboard", "--port", "0", spool=False, cwd=Path("/"))
    assert (done.returncode, done.stdout) == (3, "")


def test_any_other_address_needs_the_token_which_is_shown_once(cli: Cli) -> None:
    with dashboard(cli, "--host", "0.0.0.0") as served:
        token = next_line(served.process.stdout).removeprefix("Token: ").strip()
        assert ask(served, "/api/v1/counts")[0] == 401
        assert ask(served, "/api/v1/counts", Authorization=f"Bearer {token}")[0] == 200
    path = cli.spool / "dashboard.token"
    assert (path.read_text().strip(), path.stat().st_mode & 0o777) == (token, 0o600)
    with dashboard(cli, "--host", "0.0.0.0") as served:
        assert ask(served, "/api/v1/counts", Authorization=f"Bearer {token}")[0] == 200
        served.stop()
        assert served.process.stdout
        assert served.process.stdout.read() == b""


def test_a_further_name_may_be_allowed(cli: Cli) -> None:
    with dashboard(cli, "--allow-host", "queue.example") as served:
        assert ask(served, "/api/v1/counts", Host="queue.example")[0] == 200
        assert ask(served, "/api/v1/counts", Host="other.example")[0] == 421


def test_thousands_of_ended_jobs_are_counted_without_reading_them(cli: Cli) -> None:
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    for number in range(3000):
        (cli.spool / "completed" / f"{stamp}{number % 1000:03}Z.0.job-{number}.json").touch(0o000)
    if os.geteuid() == 0:  # whom modes do not stop: then the files are at least no jobs
        assert not (cli.spool / "completed" / f"{stamp}000Z.0.job-0.json").read_bytes()
    with dashboard(cli) as served:
        assert ask(served, "/metrics")[1]["completed"] == {"jobs": 3000, "avg_time_sec": None}
        assert ask(served, "/api/v1/ids?state=completed")[1]["examined"] == 3000
