"""Jobs on a real dask cluster: a scheduler and workers on loopback, some of which are killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import network
from clusters.dask import DaskCluster, cluster
from helpers import Cli, is_alive, wait_until

NODES = "--executor", "dask"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with cluster(tmp_path_factory.mktemp("dask"), threads=[2, 2]) as made:
        yield made


@pytest.fixture
def dask(cli: Cli, shared: DaskCluster) -> Cli:
    """The command on a spool whose jobs run on a cluster that nobody kills."""
    return use(cli, shared)


def use(cli: Cli, dask: DaskCluster) -> Cli:
    cli.ok("config", "set", "dask_scheduler", dask.address)
    cli.ok("config", "set", "executor", "dask")
    cli.ok("config", "set", "backoff_base", "0")
    return cli


def runs(cli: Cli, id: str) -> bool:
    return cli.state(id) == "processing"


# What a job is given and what it gives back.


def test_a_job_runs_on_a_node_and_comes_back_whole(dask: Cli) -> None:
    dask.enqueue("--id", "one", "-e", "MINE=a b", "echo $MINE; pwd -P; echo $QUEUECTL_JOB_ID >&2; exit 7")
    dask.ok("config", "set", "max_retries", "0")
    dask.drain()
    job = dask.job("one")
    assert (job["state"], job["exit_code"], job["last_error"]) == ("dead", 7, "exit 7")
    assert dask.ok("logs", "one") == f"a b\n{dask.cwd}\none\n"
    (run,) = job["history"]
    assert run["host"] == os.uname().nodename
    assert run["log_end"] == len(f"a b\n{dask.cwd}\none\n")


def test_output_of_every_kind_and_size_arrives_complete(dask: Cli) -> None:
    data = os.urandom(3_000_000)
    (dask.cwd / "data").write_bytes(data)
    for number in range(4):
        dask.enqueue("--id", f"job{number}", "cat data; echo end")
    dask.drain()
    for number in range(4):
        assert (dask.spool / "logs" / f"job{number}.log").read_bytes() == data + b"end\n"


def test_output_can_be_followed_while_a_job_runs(dask: Cli) -> None:
    dask.enqueue("--id", "one", f"echo first; until [ -e {dask.cwd}/go ]; do sleep 0.05; done; echo last")
    log = dask.spool / "logs" / "one.log"
    with dask.workers():
        wait_until(lambda: log.exists() and log.read_bytes() == b"first\n", what="the first line")
        (dask.cwd / "go").touch()
        wait_until(lambda: dask.state("one") == "completed")
    assert log.read_bytes() == b"first\nlast\n"


def test_the_node_ends_a_job_whose_time_is_up(dask: Cli) -> None:
    deaf = "trap '' TERM; echo $$; sh -c 'trap \"\" TERM; echo $$; sleep 300' & wait; sleep 300"
    dask.enqueue("--id", "one", "--timeout", "0.5", "--max-retries", "0", deaf)
    dask.ok("config", "set", "kill_grace_sec", "0.3")
    dask.drain()
    job = dask.job("one")
    assert (job["state"], job["exit"], job["last_error"]) == ("dead", "timeout", "timeout after 0.5 s")
    pids = [int(line) for line in dask.ok("logs", "one").split()]
    assert len(pids) == 2
    wait_until(lambda: not any(map(is_alive, pids)), what="the whole tree to end")


def test_a_running_job_can_be_cancelled(dask: Cli) -> None:
    dask.enqueue("--id", "one", "echo $$; exec sleep 300")
    with dask.workers():
        pid = int(wait_until(lambda: runs(dask, "one") and dask.ok("logs", "one")))
        dask.ok("cancel", "one")
        wait_until(lambda: dask.state("one") == "dead")
    assert dask.job("one")["exit"] == "cancelled"
    assert not is_alive(pid)


def test_stopping_at_once_puts_the_jobs_back_and_ends_their_commands(dask: Cli) -> None:
    for id in ("one", "two"):
        dask.enqueue("--id", id, "echo $$; exec sleep 300")
    with dask.workers():
        wait_until(lambda: all(runs(dask, id) and dask.ok("logs", id) for id in ("one", "two")))
        pids = [int(dask.ok("logs", id)) for id in ("one", "two")]
        dask.ok("worker", "stop", "--now")
    assert [(dask.state(id), dask.job(id)["attempts"]) for id in ("one", "two")] == [("pending", 0)] * 2
    assert not any(map(is_alive, pids))


def test_no_more_jobs_are_claimed_than_the_cluster_has_places_for_and_the_urgent_ones_first(dask: Cli) -> None:
    hold = f"until [ -e {dask.cwd}/go ]; do sleep 0.05; done"
    for number in range(12):
        dask.enqueue("--id", f"job{number:02}", "--priority", "9" if number >= 8 else "5", hold)
    with dask.workers():
        wait_until(lambda: len(dask.files("processing")) == 4)
        dask.ok("cancel", "job00")
        assert {dask.state(f"job{number:02}") for number in range(8, 12)} == {"processing"}
        assert len(dask.files("pending")) == 7
        (dask.cwd / "go").touch()
        wait_until(lambda: len(dask.files("completed")) == 11)


def test_status_and_show_name_the_node_that_runs_a_job(dask: Cli) -> None:
    dask.enqueue("--id", "one", f"until [ -e {dask.cwd}/go ]; do sleep 0.05; done")
    node = os.uname().nodename
    with dask.workers():
        wait_until(lambda: runs(dask, "one"))
        wait_until(lambda: f"running_on\t{node}\n" in dask.ok("show", "one"))
        assert f"Running on: {node} (1)\n" in dask.ok("status")
        (worker,) = dask.json("worker", "list")
        assert (worker["executor"], worker["elsewhere"]) == ("dask", {"one": node})
        (dask.cwd / "go").touch()
        wait_until(lambda: dask.state("one") == "completed")
        wait_until(lambda: dask.json("worker", "list")[0]["elsewhere"] == {})


def test_a_job_that_has_no_place_yet_is_put_back_when_its_worker_stops(dask: Cli) -> None:
    dask.enqueue("--id", "one", "--resource", "gpus=2", "true")
    with dask.workers():
        wait_until(lambda: runs(dask, "one"))
        dask.ok("worker", "stop")
    assert (dask.state("one"), dask.job("one")["attempts"]) == ("pending", 0)


def test_a_stranger_on_the_line_is_not_listened_to(dask: Cli) -> None:
    dask.enqueue("--id", "one", f"until [ -e {dask.cwd}/go ]; do sleep 0.05; done")
    with dask.workers():
        wait_until(lambda: runs(dask, "one"))
        (dispatcher,) = dask.worker_pids()
        for said in (
            b"h\0\0\0\2{}",
            b'h\0\0\0\x0d{"token": "x"}',
            b"d\xff\xff\xff\xff" + b"x" * 9000,
            b"e\0\0\0\4null",
        ):
            with socket.create_connection(("127.0.0.1", listening(dispatcher)), 10) as stranger:
                stranger.sendall(said)
                with contextlib.suppress(ConnectionResetError):
                    assert stranger.recv(1) == b""
        (dask.cwd / "go").touch()
        wait_until(lambda: dask.state("one") == "completed")


def listening(pid: int) -> int:
    """Return the port on which a process listens."""
    inodes = {
        os.readlink(fd)[8:-1] for fd in Path(f"/proc/{pid}/fd").iterdir() if os.readlink(fd).startswith("socket:")
    }
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (port,) = {int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A" and row[9] in inodes}
    return port


def test_an_amount_that_no_node_has_ends_the_attempt_in_time(dask: Cli) -> None:
    dask.ok("config", "set", "dask_wait_sec", "0.5")
    dask.enqueue("--id", "one", "--resource", "gpus=2", "--max-retries", "0", "true")
    dask.drain()
    job = dask.job("one")
    assert (job["state"], job["exit"]) == ("dead", "lost")
    assert job["last_error"] == "no node with gpus=2 took it in time"


def test_a_job_goes_to_the_node_that_has_what_it_asks_for(cli: Cli, tmp_path: Path) -> None:
    with cluster(tmp_path / "dask", threads=[1]) as dask:
        rich = dask.add_worker("--resources", "gpus=2")
        use(cli, dask)
        for number in range(4):
            cli.enqueue("--id", f"job{number}", "--resource", "gpus=1", "cat /proc/$PPID/stat")
        cli.drain()
        for number in range(4):
            keeper = int(cli.ok("logs", f"job{number}").rpartition(")")[2].split()[1])
            assert keeper == rich.pid


# What may be lost.


def test_five_hundred_jobs_complete_although_a_worker_is_killed(cli: Cli, tmp_path: Path) -> None:
    # A killed attempt leaves its file behind; the next one must find its process gone. The link makes the file appear
    # with the pid in it, since an attempt may be killed at any instant.
    body = (
        "d=in-$QUEUECTL_JOB_ID; echo $$ > $d.$$; if ! ln $d.$$ $d 2>/dev/null; then "
        'if kill -0 "$(cat $d)" 2>/dev/null; then echo $QUEUECTL_JOB_ID >> overlaps; exit 1; fi; mv $d.$$ $d; fi; '
        "echo out $QUEUECTL_JOB_ID; sleep 0.05; seq 200; rm -f $d $d.$$"
    )
    with cluster(tmp_path / "dask", threads=[4, 4]) as dask:
        use(cli, dask)
        cli.enqueue_all(*({"command": body, "id": f"job{number:03}", "cwd": str(cli.cwd)} for number in range(500)))
        with cli.workers():
            wait_until(lambda: len(cli.files("completed")) > 150, timeout=60)
            dask.workers[0].kill()
            wait_until(lambda: len(cli.files("completed")) == 500, timeout=60)
    assert not (cli.cwd / "overlaps").exists()
    lost, jobs = 0, cli.json("list")
    assert len(jobs) == 500
    for job in jobs:
        lost += len(job["history"]) - 1
        assert all(run["error"] is None or "was lost" in run["error"] for run in job["history"])
        log = (cli.spool / "logs" / f"{job['id']}.log").read_text()[job["history"][-1]["log_start"] :]
        assert log == f"out {job['id']}\n" + "".join(f"{line}\n" for line in range(1, 201))
    assert 1 <= lost <= 4


def test_a_lost_node_costs_an_attempt_and_ends_the_command(cli: Cli, tmp_path: Path) -> None:
    with cluster(tmp_path / "dask", threads=[1]) as dask:
        use(cli, dask)
        cli.enqueue("--id", "one", "--max-retries", "0", "echo $$; sleep 300 & echo $!; wait")
        with cli.workers():
            pids = wait_until(lambda: runs(cli, "one") and len(p := cli.ok("logs", "one").split()) == 2 and p)
            dask.workers[0].kill()
            wait_until(lambda: cli.state("one") == "dead")
            assert not any(is_alive(int(pid)) for pid in pids)
    job = cli.job("one")
    assert (job["exit"], job["attempts"]) == ("lost", 1)
    assert job["last_error"] == f"node {os.uname().nodename} was lost"


def test_without_a_node_jobs_wait_in_the_queue_and_may_be_cancelled(cli: Cli, tmp_path: Path) -> None:
    with cluster(tmp_path / "dask", threads=[]) as dask:
        use(cli, dask)
        for id in ("one", "two"):
            cli.enqueue("--id", id, "true")
        with cli.workers():
            cli.ok("cancel", "one")
            assert [cli.state("one"), cli.state("two")] == ["dead", "pending"]
            dask.add_worker()
            wait_until(lambda: cli.state("two") == "completed")
        assert cli.job("two")["attempts"] == 1


def test_a_killed_dispatcher_loses_nothing_and_nothing_overlaps(cli: Cli, shared: DaskCluster) -> None:
    use(cli, shared)
    cli.enqueue("--id", "one", f"echo $$; echo run >> {cli.cwd}/runs; test $QUEUECTL_ATTEMPT = 2 || exec sleep 300")
    with cli.workers():
        pid = int(wait_until(lambda: runs(cli, "one") and cli.ok("logs", "one")))
        (dispatcher,) = cli.worker_pids()
        os.kill(dispatcher, signal.SIGKILL)
        wait_until(lambda: not is_alive(pid), what="the command on the node to end")
        wait_until(lambda: cli.state("one") == "completed", timeout=60)
    job = cli.job("one")
    assert [run["error"] for run in job["history"]] == ["worker lost", None]
    assert (cli.cwd / "runs").read_text() == "run\nrun\n"


def test_a_killed_keeper_takes_the_whole_group_with_it(cli: Cli, shared: DaskCluster) -> None:
    use(cli, shared)
    cli.enqueue("--id", "one", "--max-retries", "0", "echo $PPID $$; sleep 300 & echo $!; wait")
    with cli.workers():
        words = wait_until(lambda: runs(cli, "one") and len(p := cli.ok("logs", "one").split()) == 3 and p)
        keeper, *group = map(int, words)
        os.kill(keeper, signal.SIGKILL)
        wait_until(lambda: cli.state("one") == "dead")
        assert not any(map(is_alive, group))
    assert cli.job("one")["exit"] == "lost"


def test_a_job_on_a_node_that_is_cut_off_stays_locked_beyond_its_dispatchers_death(cli: Cli, tmp_path: Path) -> None:
    if lacking := network.lacking():
        pytest.skip(lacking)
    with network.machines() as two, cluster(tmp_path / "dask", [], two.address, two.here) as dask:
        dask.add_worker(within=two.there)
        use(cli, dask)
        cli.ok("config", "set", "poll_interval_sec", "0.2")
        cli.enqueue("--id", "one", "echo $$; exec sleep 300")
        with cli.workers(within=two.here):
            pid = int(wait_until(lambda: runs(cli, "one") and cli.ok("logs", "one")))
            two.cut()
            (dispatcher,) = cli.worker_pids()
            os.kill(dispatcher, signal.SIGKILL)
            wait_until(lambda: not runs(cli, "one"), timeout=60, what="the job to be recovered")
            assert not is_alive(pid)
            assert cli.job("one")["history"][0]["error"] == "worker lost"


def test_a_node_that_is_cut_off_has_killed_its_command_when_the_attempt_counts_as_lost(
    cli: Cli, tmp_path: Path
) -> None:
    if lacking := network.lacking():
        pytest.skip(lacking)
    with network.machines() as two, cluster(tmp_path / "dask", [], two.address, two.here) as dask:
        dask.add_worker(within=two.there)
        use(cli, dask)
        cli.enqueue("--id", "one", "echo $$; exec sleep 300")
        with cli.workers(within=two.here):
            pid = int(wait_until(lambda: runs(cli, "one") and cli.ok("logs", "one")))
            two.cut()
            assert is_alive(pid)
            wait_until(lambda: not runs(cli, "one"), timeout=60, what="the attempt to be lost")
            assert not is_alive(pid)
            assert cli.job("one")["history"][0]["error"] == f"node {os.uname().nodename} was lost"


# What is not there.


def test_a_scheduler_that_cannot_be_reached_is_one_line_and_exit_code_6(cli: Cli) -> None:
    cli.enqueue("--id", "one", "true")
    cli.ok("config", "set", "dask_scheduler", "tcp://127.0.0.1:1")
    for detached in ([], ["--detach"]):
        done = cli.run("worker", "start", "--count", "2", *NODES, *detached)
        assert done.returncode == 6
        assert "cannot reach the dask scheduler tcp://127.0.0.1:1" in done.stderr
        assert len([line for line in done.stderr.splitlines() if "cannot reach" in line]) == 1
        assert cli.state("one") == "pending"


def test_an_executor_that_is_not_installed_is_one_line_and_exit_code_6(cli: Cli) -> None:
    cli.enqueue("--id", "one", "true")
    hidden = cli.cwd / "hidden"
    hidden.mkdir()
    (hidden / "distributed.py").write_text("raise ModuleNotFoundError('gone', name='distributed')")
    done = cli.run("worker", "start", *NODES, env={"PYTHONPATH": str(hidden)})
    assert done.returncode == 6
    assert done.stderr == "error: distributed is not installed (pip install 'queuectl[dask]')\n"
    assert cli.state("one") == "pending"


def test_a_cluster_of_its_own_runs_jobs_on_this_machine(cli: Cli) -> None:
    cli.ok("config", "set", "dask_scheduler", "local")
    cli.enqueue("--id", "one", "echo ran")
    done = cli.run("worker", "start", "--drain", *NODES)
    assert done.returncode == 0, done.stderr
    assert cli.ok("logs", "one") == "ran\n"


def test_a_scheduler_file_leads_to_the_cluster(cli: Cli, shared: DaskCluster) -> None:
    cli.ok("config", "set", "dask_scheduler", str(shared.file))
    cli.enqueue("--id", "one", "echo ran")
    assert cli.run("worker", "start", "--drain", *NODES).returncode == 0
    assert cli.ok("logs", "one") == "ran\n"
