"""Jobs through a launcher: the prefix, what fills it, and the launchers that this machine can run."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import slurm, ssh
from helpers import Cli, is_alive, wait_until


@pytest.fixture
def launched(cli: Cli) -> Cli:
    """The command on a spool whose jobs go through a launcher that prints what it was given."""
    cli.ok("config", "set", "executor", "launcher")
    cli.ok("config", "set", "launcher", "env LAUNCHED=cpus={cpus},mem={mem},gpus={gpus},id={id}")
    cli.ok("config", "set", "max_retries", "0")
    return cli


def run(cli: Cli, *args: str, **kwargs: str) -> dict[str, object]:
    """Run one job to its end and return it."""
    cli.enqueue("--id", "one", *args)
    cli.drain(**kwargs)
    return cli.job("one")


# The prefix.


def test_resources_fill_the_prefix_and_the_configuration_what_a_job_leaves_out(launched: Cli) -> None:
    run(launched, "--resource", "cpus=4", "--resource", "mem=2G", "echo $LAUNCHED; pwd -P")
    assert launched.ok("logs", "one") == f"cpus=4,mem=2G,gpus=0,id=one\n{launched.cwd}\n"


def test_a_job_file_says_what_it_needs(launched: Cli) -> None:
    resources = {"cpus": 2, "zone": "eu-1", "share": 0.5}
    launched.ok("config", "set", "launcher", "env WHERE={zone}/{share}/{cpus}")
    launched.drop("any.json", {"command": "echo $WHERE", "id": "one", "resources": resources})
    launched.drain()
    assert launched.ok("logs", "one") == "eu-1/0.5/2\n"
    assert launched.job("one")["resources"] == resources


def test_a_prefix_that_cannot_be_filled_is_a_failed_attempt_that_says_so(launched: Cli) -> None:
    launched.ok("config", "set", "launcher", "env WHERE={zone}")
    job = run(launched, "true")
    assert (job["exit"], job["state"]) == ("nostart", "dead")
    assert job["last_error"] == "the launcher wants {zone}, which neither the job nor the configuration gives"


@pytest.mark.parametrize("value", ["a b", "\x01", "", "x" * 201])
def test_a_resource_that_no_prefix_could_hold_is_refused(launched: Cli, value: str) -> None:
    done = launched.run("enqueue", f'{{"command": "true", "resources": {{"zone": "{value}"}}}}')
    assert done.returncode == 2
    assert launched.json("status")["counts"]["pending"] == 0


def test_what_the_command_line_overrides_is_run_here(launched: Cli) -> None:
    launched.enqueue("--id", "one", "echo ${LAUNCHED-here}")
    assert launched.run("worker", "start", "--drain", "--executor", "local").returncode == 0
    assert launched.ok("logs", "one") == "here\n"


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("launcher", "", "no launcher is set (queuectl config set launcher 'srun -n1 …')"),
        ("launcher", "no-such -n1", "the launcher cannot be used: cannot start no-such: no such program in PATH"),
        ("launcher_signal", "no-such", "the launcher cannot be used: cannot start no-such: no such program in PATH"),
    ],
)
def test_a_launcher_that_is_not_there_is_one_line_and_exit_code_6(
    launched: Cli, key: str, value: str, why: str
) -> None:
    launched.ok("config", "set", key, value)
    launched.enqueue("--id", "one", "true")
    done = launched.run("worker", "start", "--count", "3")
    assert (done.returncode, done.stderr) == (6, f"error: {why}\n")
    assert launched.state("one") == "pending"


def test_quotes_in_a_prefix_survive_the_configuration_file(launched: Cli) -> None:
    prefix = """env 'A=it is' "B=\\"quoted\\"" C=back\\\\slash"""
    for _ in range(2):
        launched.ok("config", "set", "launcher", prefix)
    assert launched.ok("config", "get", "launcher") == f"{prefix}\n"
    run(launched, 'echo "$A $B $C"')
    assert launched.ok("logs", "one") == 'it is "quoted" back\\slash\n'


def test_a_line_for_a_remote_shell_carries_directory_and_variables(launched: Cli) -> None:
    launched.ok("config", "set", "launcher", "sh -c 'cd /; exec env -i PATH=$PATH sh -c \"$1\"' remote {command}")
    there = launched.cwd / "it's here"
    there.mkdir()
    run(launched, "--cwd", str(there), "-e", "MINE=a 'b' $c", 'pwd -P; printf "%s|" "$MINE" "$QUEUECTL_JOB_ID"')
    assert launched.ok("logs", "one") == f"{there}\na 'b' $c|one|"


# Signals and hosts.


def test_the_launchers_own_program_passes_signals_on(launched: Cli) -> None:
    # A launcher that is deaf itself; its command hears only what is sent by name.
    deaf = launched.cwd / "deaf"
    deaf.write_text(
        f'#!/bin/sh\nid=$1; shift\ntrap : TERM\nsetsid "$@" &\n'
        f"echo $! > {launched.cwd}/$id\nwhile kill -0 $! 2>/dev/null; do wait $!; done\n"
    )
    tell = launched.cwd / "tell"
    tell.write_text(f"#!/bin/sh\necho told $1 >> {launched.cwd}/told\nkill -$1 -$(cat {launched.cwd}/$2)\n")
    for script in (deaf, tell):
        script.chmod(0o755)
    launched.ok("config", "set", "launcher", f"{deaf} {{id}}")
    launched.ok("config", "set", "launcher_signal", f"{tell} {{signal}} {{id}}")
    launched.enqueue("--id", "one", "trap 'echo tidied; exit 3' TERM; echo ready; while :; do sleep 0.05; done")
    with launched.workers():
        wait_until(lambda: (launched.spool / "logs" / "one.log").exists() and launched.ok("logs", "one") == "ready\n")
        launched.ok("cancel", "one")
        wait_until(lambda: launched.state("one") == "dead")
    assert "tidied" in launched.ok("logs", "one")
    assert (launched.cwd / "told").read_text() == "told TERM\n"


def test_a_job_whose_worker_was_killed_is_recovered_when_its_launcher_has_ended(launched: Cli) -> None:
    launched.ok("config", "set", "max_retries", "1")
    launched.ok("config", "set", "backoff_base", "0")
    go = launched.cwd / "go"
    launched.enqueue("--id", "one", f"echo run >> {launched.cwd}/runs; until [ -e {go} ]; do sleep 0.05; done")
    with launched.workers():
        wait_until(lambda: (launched.cwd / "runs").exists())
        (worker,) = launched.worker_pids()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: launched.worker_pids() not in ([], [worker]), what="another worker")
        assert launched.state("one") == "processing"
        go.touch()
        wait_until(lambda: launched.state("one") == "completed")
    assert [run["error"] for run in launched.job("one")["history"]] == ["worker lost", None]
    assert (launched.cwd / "runs").read_text() == "run\nrun\n"


def test_the_host_of_an_attempt_is_what_the_launcher_says(launched: Cli) -> None:
    launched.ok("config", "set", "launcher_host", "echo the node is node-{id}")
    (attempt,) = run(launched, "true")["history"]  # type: ignore[misc]
    assert attempt["host"] == "node-one"
    assert "node-one" in launched.ok("show", "one")


# Slurm.


@pytest.fixture(scope="module")
def one_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    if lacking := slurm.lacking():
        pytest.skip(lacking)
    with slurm.slurm(tmp_path_factory.mktemp("slurm")) as env:
        yield env


@pytest.fixture
def on_slurm(launched: Cli) -> Cli:
    launched.ok("config", "set", "launcher", "srun -Q -n1 -c{cpus} --mem={mem} -J {id}")
    launched.ok("config", "set", "launcher_signal", "scancel -s {signal} -n {id}")
    launched.ok("config", "set", "launcher_host", "squeue -h -t all -n {id} -o %N")
    launched.ok("config", "set", "resources", "cpus=1 mem=64")
    return launched


def test_a_hundred_jobs_run_through_slurm(on_slurm: Cli, one_node: dict[str, str]) -> None:
    command = "echo $SLURM_JOB_NAME on $SLURMD_NODENAME; test $QUEUECTL_JOB_ID != job042"
    on_slurm.enqueue_all(*({"command": command, "id": f"job{number:03}"} for number in range(100)))
    on_slurm.drain(8, env=one_node, timeout=120)
    host = os.uname().nodename.split(".")[0]
    jobs = on_slurm.json("list")
    assert len(jobs) == 100
    for job in jobs:
        log = (on_slurm.spool / "logs" / f"{job['id']}.log").read_text()
        assert f"{job['id']} on {host}" in log.splitlines()  # srun's own word on job042 may stand before it
        assert job["history"][0]["host"] == host
        assert job["exit_code"] == (1 if job["id"] == "job042" else 0)


def test_a_soft_kill_reaches_the_command_on_the_node(on_slurm: Cli, one_node: dict[str, str]) -> None:
    on_slurm.enqueue("--id", "one", "trap 'echo tidied; exit 3' TERM; echo $$; while :; do sleep 0.05; done")
    log = on_slurm.spool / "logs" / "one.log"
    with on_slurm.workers(env=one_node):
        pid = int(wait_until(lambda: log.exists() and log.read_text()))
        on_slurm.ok("cancel", "one")
        wait_until(lambda: on_slurm.state("one") == "dead")
    assert "tidied" in log.read_text()
    assert not is_alive(pid)


def test_a_command_that_is_deaf_is_killed_on_the_node(on_slurm: Cli, one_node: dict[str, str]) -> None:
    on_slurm.ok("config", "set", "kill_grace_sec", "0.5")
    on_slurm.enqueue("--id", "one", "--timeout", "2", "trap '' TERM; echo $$; while :; do sleep 0.05; done")
    on_slurm.drain(env=one_node)
    assert on_slurm.job("one")["exit"] == "timeout"
    pid = int(on_slurm.ok("logs", "one").split()[0])
    wait_until(lambda: not is_alive(pid), what="the command to be gone")


# ssh.


def test_jobs_run_through_ssh(launched: Cli, tmp_path: Path) -> None:
    if lacking := ssh.lacking():
        pytest.skip(lacking)
    with ssh.server(tmp_path / "ssh") as reach:
        launched.ok("config", "set", "launcher", f"{reach} {{command}}")
        launched.enqueue("--id", "one", "-e", "MINE=a 'b'", 'pwd -P; echo "$MINE"; echo "${SSH_CONNECTION:+there}"')
        launched.enqueue("--id", "two", "--", "printf", "%s\\n", "a b", "$HOME")
        launched.enqueue("--id", "three", "exit 7")
        launched.drain(2)
        left = tmp_path / "left-{id}"
        launched.ok("config", "set", "launcher", f"{reach} 'echo $$ > {left}; {{command}}'")
        launched.ok("config", "set", "launcher_signal", f"{reach} 'kill -{{signal}} -- -$(cat {left})'")
        launched.enqueue("--id", "four", "trap 'echo tidied; exit 3' TERM; echo $$; while :; do sleep 0.05; done")
        log = launched.spool / "logs" / "four.log"
        with launched.workers():
            pid = int(wait_until(lambda: log.exists() and log.read_text()))
            launched.ok("cancel", "four")
            wait_until(lambda: launched.state("four") == "dead")
        assert "tidied" in log.read_text()
        assert not is_alive(pid)
    assert launched.ok("logs", "one") == f"{launched.cwd}\na 'b'\nthere\n"
    assert launched.ok("logs", "two") == "a b\n$HOME\n"
    assert launched.job("three")["exit_code"] == 7
