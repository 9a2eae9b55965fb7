"""Stopping workers, kindly and at once; what a supervisor does when a worker ends, and workers when it does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import PATIENCE_S, Cli, come_to_rest, command, cpu_ticks, end, environment, family, told, wait_until

# Runs until the file `go` appears, and says by `up.<id>` that it has begun.
HOLD = "touch up.$QUEUECTL_JOB_ID; until [ -e go ]; do sleep 0.02; done; echo held"
# The same, and tells in its log that it was asked to end.
HOLD_OR_TERM = f"exec 2>/dev/null; trap 'echo asked; exit 1' TERM; {HOLD}"


@pytest.fixture
def cli(cli: Cli) -> Iterator[Cli]:
    """A spool with a short grace period; whatever runs is ended afterwards."""
    cli.configure(backoff_base=0, kill_grace_sec=0.3, poll_interval_sec=0.2)
    yield cli
    cli.end_all()


def release(cli: Cli) -> None:
    """Let the jobs that hold end."""
    (cli.cwd / "go").touch()


def runs(cli: Cli, *ids: str) -> None:
    """Wait until these jobs' commands run."""
    wait_until(lambda: all((cli.cwd / f"up.{id}").exists() for id in ids), what=f"{ids} to run")


def group(process: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to the process group, as a terminal does."""
    os.killpg(process.pid, number)


def alone(process: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to the supervisor alone, as kill(1) does."""
    process.send_signal(number)


def parent(pid: int) -> int:
    """Return the pid of a process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def pipes(pid: int) -> set[str]:
    """Return the names of a process's pipes, but for its standard streams."""
    ends = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir() if int(fd.name) > 2]
    return {name for name in ends if name.startswith("pipe:")}


# Kindly.

KIND = [
    pytest.param(group, signal.SIGINT, 130, id="ctrl-c"),
    pytest.param(alone, signal.SIGTERM, 143, id="sigterm"),
    pytest.param(group, signal.SIGTERM, 143, id="sigterm-to-all"),
    pytest.param(group, signal.SIGHUP, 143, id="hangup"),
]
Send = Callable[[subprocess.Popen[bytes], int], None]


@pytest.mark.parametrize(("send", "number", "code"), KIND)
def test_a_signal_lets_running_jobs_finish_and_takes_nothing_new(cli: Cli, send: Send, number: int, code: int) -> None:
    cli.put("one", HOLD)
    cli.put("two", HOLD)
    with cli.workers("--count", "2") as supervisor:
        runs(cli, "one", "two")
        cli.put("three", "true")
        send(supervisor, number)
        told(supervisor, "Stopping when the running jobs have ended")
        assert cli.counts()["processing"] == 2
        release(cli)
        assert supervisor.wait(PATIENCE_S) == code
    assert {id: cli.state(id) for id in ("one", "two", "three")} == {
        "one": "completed",
        "two": "completed",
        "three": "pending",
    }


@pytest.mark.parametrize(("send", "number", "code"), KIND)
def test_idle_workers_go_at_once(cli: Cli, send: Send, number: int, code: int) -> None:
    cli.configure(poll_interval_sec=3600)
    with cli.workers("--count", "2") as supervisor:
        come_to_rest(supervisor, 2)
        send(supervisor, number)
        assert supervisor.wait(PATIENCE_S) == code
    wait_until(lambda: not cli.holders(), what="all processes to be gone")


def test_a_drain_that_is_interrupted_says_so_by_its_exit_code(cli: Cli) -> None:
    cli.put("one", HOLD)
    cli.put("two", "true")
    with cli.workers("--drain") as supervisor:
        runs(cli, "one")
        group(supervisor, signal.SIGINT)
        told(supervisor, "Stopping")
        release(cli)
        assert supervisor.wait(PATIENCE_S) == 130
    assert (cli.state("one"), cli.state("two")) == ("completed", "pending")


def test_worker_stop_returns_when_the_running_jobs_have_finished_and_all_are_gone(cli: Cli) -> None:
    cli.put("one", HOLD)
    cli.put("two", "true")
    with cli.workers() as supervisor:
        runs(cli, "one")
        stop = cli.start("worker", "stop")
        told(supervisor, "Stopping when the running jobs have ended")
        assert stop.poll() is None
        release(cli)
        assert stop.wait(PATIENCE_S) == 0
        assert not cli.worker_pids()
        assert supervisor.wait(PATIENCE_S) == 143
        end(stop)
    assert (cli.state("one"), cli.state("two")) == ("completed", "pending")


def test_worker_stop_without_workers_does_nothing_and_says_so(cli: Cli) -> None:
    done = cli.run("worker", "stop")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "No workers are running\n")


# Workers that somebody stops while their supervisor still looks through the spool.
STOPPED_AT_THE_START = """
import signal, subprocess, sys, time
from queuectl import recovery, supervisor
heard, take, settle = [], signal.signal, recovery.settle_twins
signal.signal = lambda number, _: take(number, lambda *_: heard.append(number))
def look(*args):
    stop = subprocess.Popen(sys.argv[2:])
    while not heard and stop.poll() is None:
        time.sleep(0.01)
    return settle(*args)
recovery.settle_twins = look
sys.exit(supervisor.run(sys.argv[1], count=1, drain=True).exit_code)
"""


def test_worker_stop_stops_workers_that_are_just_being_started(cli: Cli) -> None:
    cli.put("one", "true")
    stop = [*command(), "--spool", str(cli.spool), "worker", "stop"]
    words = [sys.executable, "-c", STOPPED_AT_THE_START, str(cli.spool), *stop]
    done = subprocess.run(words, cwd=cli.cwd, env=environment(), capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (143, b"Stopped a supervisor that had no workers yet\n")
    assert (cli.state("one"), cli.files("workers")) == ("pending", [])


def test_a_supervisor_that_waits_for_its_jobs_to_end_uses_no_cpu(cli: Cli) -> None:
    cli.put("one", "touch up.one; exec sleep 60")
    with cli.workers() as supervisor:
        runs(cli, "one")
        supervisor.send_signal(signal.SIGTERM)
        told(supervisor, "Stopping")
        before = cpu_ticks(supervisor.pid)
        with contextlib.suppress(subprocess.TimeoutExpired):
            supervisor.wait(1.5)
        assert cpu_ticks(supervisor.pid) - before < 15  # hundredths of a second


def test_for_stops_after_its_time_with_exit_0_and_lets_the_running_job_finish(cli: Cli) -> None:
    cli.put("one", "sleep 3.5; echo whole")
    cli.put("two", "true")
    done = cli.run("worker", "start", "--for", "2.5s")
    assert (done.returncode, cli.log("one")) == (0, b"whole\n")
    assert (cli.state("one"), cli.state("two")) == ("completed", "pending")


def test_start_takes_the_time_as_timeout_in_seconds_too(cli: Cli) -> None:
    assert cli.run("start", "--count", "2", "--timeout", "0.5").returncode == 0


def test_workers_stop_kindly_while_the_queue_is_paused(cli: Cli) -> None:
    cli.ok("pause")
    cli.put("one", "true")
    with cli.workers() as supervisor:
        cli.ok("worker", "stop")
        assert supervisor.wait(PATIENCE_S) == 143
    assert cli.state("one") == "pending"


# At once.


def ctrl_c_twice(cli: Cli, supervisor: subprocess.Popen[bytes]) -> int:
    """Interrupt from the terminal two times, and return the exit code."""
    group(supervisor, signal.SIGINT)
    told(supervisor, "Ctrl-C again ends them")
    group(supervisor, signal.SIGINT)
    return supervisor.wait(PATIENCE_S)


def stop_now(cli: Cli, supervisor: subprocess.Popen[bytes]) -> int:
    """Stop from another terminal, and return the exit code."""
    cli.ok("worker", "stop", "--now")
    assert not cli.worker_pids()
    return supervisor.wait(PATIENCE_S)


def stop_now_after_a_kind_stop(cli: Cli, supervisor: subprocess.Popen[bytes]) -> int:
    """Stop kindly, and then lose patience."""
    supervisor.send_signal(signal.SIGTERM)
    told(supervisor, "Stopping")
    return stop_now(cli, supervisor)


HASTY = pytest.mark.parametrize(
    ("hasten", "code"), [(ctrl_c_twice, 130), (stop_now, 143), (stop_now_after_a_kind_stop, 143)]
)
Hasten = Callable[[Cli, "subprocess.Popen[bytes]"], int]


@HASTY
def test_in_haste_the_jobs_are_ended_and_put_back_uncounted(cli: Cli, hasten: Hasten, code: int) -> None:
    cli.put("one", HOLD_OR_TERM)
    with cli.workers() as supervisor:
        runs(cli, "one")
        assert hasten(cli, supervisor) == code
    job = cli.job("one")
    assert cli.log("one") == b"asked\n"
    assert (cli.state("one"), job["state"], job["attempts"], job["history"]) == ("pending", "pending", 0, [])


@HASTY
def test_in_haste_a_job_that_ignores_term_is_killed_with_its_children(cli: Cli, hasten: Hasten, code: int) -> None:
    cli.put("one", "trap '' TERM; sleep 60 & touch up.one; wait; sleep 60")
    with cli.workers() as supervisor:
        runs(cli, "one")
        assert hasten(cli, supervisor) == code
    wait_until(lambda: not cli.holders(), what="the job's processes to be gone")
    assert (cli.state("one"), cli.job("one")["attempts"]) == ("pending", 0)


def test_a_job_that_was_put_back_runs_again_with_the_same_attempt(cli: Cli) -> None:
    cli.put("one", f"echo attempt $QUEUECTL_ATTEMPT; {HOLD}")
    with cli.workers() as supervisor:
        runs(cli, "one")
        stop_now(cli, supervisor)
    release(cli)
    cli.drain()
    assert cli.log("one") == b"attempt 1\nattempt 1\nheld\n"
    assert (cli.state("one"), cli.job("one")["attempts"]) == ("completed", 1)


def test_a_retry_that_was_put_back_keeps_the_attempts_it_has_had(cli: Cli) -> None:
    cli.put("one", f"[ $QUEUECTL_ATTEMPT = 1 ] && exit 1; {HOLD}")
    with cli.workers() as supervisor:
        runs(cli, "one")
        stop_now(cli, supervisor)
    assert (cli.state("one"), cli.job("one")["attempts"]) == ("pending", 1)
    release(cli)
    cli.drain()
    assert (cli.job("one")["attempts"], len(cli.job("one")["history"])) == (2, 2)


def test_in_haste_the_jobs_of_all_workers_are_put_back(cli: Cli) -> None:
    for id in ("one", "two", "three"):
        cli.put(id, HOLD)
    with cli.workers("--count", "3") as supervisor:
        runs(cli, "one", "two", "three")
        assert ctrl_c_twice(cli, supervisor) == 130
    assert cli.counts() == {"pending": 3, "processing": 0, "completed": 0, "failed": 0, "dead": 0}


# A worker that ends.


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_worker_that_ends_is_replaced_and_jobs_go_on(cli: Cli, number: int) -> None:
    with cli.workers() as supervisor:
        (first,) = cli.worker_pids()
        os.kill(first, number)
        told(supervisor, "Worker 1 has ended")
        cli.put("one", "echo $PPID")
        wait_until(lambda: cli.state("one") == "completed")
        assert int(cli.log("one")) != first
        assert cli.worker_pids() == [int(cli.log("one"))]


def test_a_worker_that_gets_sigterm_finishes_its_job_first(cli: Cli) -> None:
    cli.put("one", f"echo $PPID; {HOLD}")
    with cli.workers() as supervisor:
        runs(cli, "one")
        (first,) = cli.worker_pids()
        os.kill(first, signal.SIGTERM)
        cli.put("two", "echo $PPID")
        until = time.monotonic() + 0.5  # it has heard it by then, and the job still runs
        wait_until(lambda: time.monotonic() > until)
        release(cli)
        told(supervisor, "Worker 1 has ended (exit 0)")
        wait_until(lambda: cli.state("two") == "completed")
    assert (cli.state("one"), cli.job("one")["attempts"]) == ("completed", 1)
    assert cli.log("one") == b"%d\nheld\n" % first  # one run, to its end
    assert int(cli.log("two")) != first


# Each process that is forked is interrupted as soon as it is there, as by a Ctrl-C that goes to the whole group.
INTERRUPTED = """
import os, signal, sys
from queuectl import supervisor
fork = os.fork
def interrupted():
    pid = fork()
    if pid == 0:
        os.kill(os.getpid(), signal.SIGINT)
    return pid
os.fork = interrupted
print(supervisor.run(sys.argv[1], count=2, drain=True).exit_code)
"""


def test_an_interrupt_that_reaches_what_is_just_being_forked_is_not_the_supervisors(cli: Cli) -> None:
    words = [sys.executable, "-c", INTERRUPTED, str(cli.spool)]
    done = subprocess.run(words, cwd=cli.cwd, env=environment(), capture_output=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == (b"0\n", b"")


# Workers of which the first is told to end as soon as others can see it.
TOLD_AT_ONCE = """
import os, signal, sys
from queuectl import registry, supervisor
register = registry.register
def told(tree, role, *rest):
    lock = register(tree, role, *rest)
    if role == registry.WORKER and not os.path.exists("told"):
        open("told", "w").close()
        os.kill(os.getpid(), signal.SIGTERM)
    return lock
registry.register = told
supervisor.run(sys.argv[1], count=1, drain=True)
"""


def test_a_worker_hears_signals_from_the_moment_at_which_it_is_listed(cli: Cli) -> None:
    words = [sys.executable, "-c", TOLD_AT_ONCE, str(cli.spool)]
    done = subprocess.run(words, cwd=cli.cwd, env=environment(), capture_output=True, timeout=60, check=True)
    assert b"Worker 1 has ended (exit 0)" in done.stderr


def test_the_other_workers_go_on_while_one_is_replaced(cli: Cli) -> None:
    cli.put("one", HOLD)
    with cli.workers("--count", "2"):
        runs(cli, "one")
        busy = next(pid for pid in cli.worker_pids() if len(family(pid)) > 1)
        (idle,) = set(cli.worker_pids()) - {busy}
        os.kill(idle, signal.SIGKILL)
        cli.put("two", "true")
        wait_until(lambda: cli.state("two") == "completed")
        assert cli.state("one") == "processing"


def test_a_listener_that_is_killed_is_replaced(cli: Cli) -> None:
    """With polls an hour apart, only a listener brings the jobs that come later."""
    cli.configure(poll_interval_sec=3600)
    with cli.workers() as supervisor:
        cli.put("first", "true")
        wait_until(lambda: cli.state("first") == "completed")

        def listener() -> set[int]:
            return set(family(supervisor.pid)) - {supervisor.pid, *cli.worker_pids()}

        wait_until(listener, what="the listener")
        for pid in listener():
            os.kill(pid, signal.SIGKILL)
        cli.put("second", "true")
        wait_until(lambda: cli.state("second") == "completed")
        wait_until(listener, what="another listener")
        cli.put("third", "true")
        wait_until(lambda: cli.state("third") == "completed")


# What is told of them.


def test_worker_list_and_status_name_the_workers_that_live(cli: Cli) -> None:
    with cli.workers("--count", "3") as supervisor:
        wait_until(lambda: len(cli.worker_pids()) == 3)
        listed = cli.json("worker", "list")
        assert sorted(info["pid"] for info in listed) == sorted(cli.worker_pids())
        assert {info["supervisor"] for info in listed} == {supervisor.pid}
        assert [parent(info["pid"]) for info in listed] == [supervisor.pid] * 3
        assert cli.json("status")["workers_active"] == 3
        assert "Workers active: 3\n" in cli.ok("status")


def test_workers_that_were_killed_are_not_listed(cli: Cli) -> None:
    with cli.workers("--count", "2") as supervisor:
        wait_until(lambda: len(cli.worker_pids()) == 2)
        os.kill(supervisor.pid, signal.SIGSTOP)  # so that it replaces none
        os.kill(cli.worker_pids()[0], signal.SIGKILL)
        wait_until(lambda: len(cli.json("worker", "list")) == 1)
        cli.kill_all()
        assert cli.json("worker", "list") == []
        assert cli.json("status")["workers_active"] == 0


def test_a_replaced_worker_is_listed_in_place_of_the_first(cli: Cli) -> None:
    with cli.workers():
        (first,) = cli.worker_pids()
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: cli.worker_pids() not in ([], [first]))
        assert [info["pid"] for info in cli.json("worker", "list")] == cli.worker_pids()


def test_after_a_stop_no_worker_is_listed_and_no_file_of_one_is_left(cli: Cli) -> None:
    with cli.workers("--count", "2"):
        cli.ok("worker", "stop")
    assert cli.json("worker", "list") == []
    assert cli.files("workers") == []


# A supervisor that dies.


def test_workers_whose_supervisor_was_killed_finish_their_jobs_and_go(cli: Cli) -> None:
    cli.put("one", HOLD)
    cli.put("two", HOLD)
    with cli.workers("--count", "3") as supervisor:
        runs(cli, "one", "two")
        wait_until(lambda: len(family(supervisor.pid)) >= 1 + 3 + 1 + 2, what="workers, listener and jobs")
        supervisor.kill()
        supervisor.wait(PATIENCE_S)
        wait_until(lambda: len(cli.worker_pids()) == 2, what="the idle worker to go")
        cli.put("three", "true")
        release(cli)
        wait_until(lambda: not cli.holders(), what="workers and listener to be gone")
    assert [cli.state(id) for id in ("one", "two", "three")] == ["completed", "completed", "pending"]


def test_workers_hold_no_pipe_of_one_another(cli: Cli) -> None:
    """One that did would hide the supervisor's death from another."""
    with cli.workers("--count", "3"):
        wait_until(lambda: len(cli.json("worker", "list")) == 3)
        cli.put("one", "true")
        wait_until(lambda: cli.state("one") == "completed")
        first, second, third = (pipes(pid) for pid in cli.worker_pids())
    assert first
    assert not first & second | second & third | first & third


def test_a_worker_that_is_started_later_holds_no_pipe_of_the_listener(cli: Cli) -> None:
    """It would keep the listener alive when the supervisor has died."""
    with cli.workers() as supervisor:
        (first,) = cli.worker_pids()
        wait_until(lambda: len(family(supervisor.pid)) == 3, what="the listener")
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: cli.worker_pids() not in ([], [first]))
        (second,) = cli.worker_pids()
        (listener,) = set(family(supervisor.pid)) - {supervisor.pid, second}
        held = pipes(listener)
        assert held
        assert not held & pipes(second)


def test_worker_stop_now_reaches_workers_that_have_lost_their_supervisor(cli: Cli) -> None:
    cli.put("one", HOLD_OR_TERM)
    with cli.workers() as supervisor:
        runs(cli, "one")
        supervisor.kill()
        supervisor.wait(PATIENCE_S)
        assert cli.ok("worker", "stop", "--now") == "Stopped 1 worker\n"
        assert not cli.holders()
    assert (cli.state("one"), cli.job("one")["attempts"]) == ("pending", 0)


# In the background.


def test_detached_workers_run_after_the_command_has_returned(cli: Cli) -> None:
    told = cli.ok("worker", "start", "--detach", "--count", "2")
    supervisor = int(told.split()[2].rstrip(","))
    assert {info["supervisor"] for info in cli.json("worker", "list")} == {supervisor}
    cli.put("one", "echo ran")
    wait_until(lambda: cli.state("one") == "completed")
    assert len(cli.worker_pids()) == 2


def test_a_detached_start_returns_when_all_its_workers_are_there(cli: Cli) -> None:
    cli.ok("worker", "start", "--detach", "--count", "8")
    assert len(cli.worker_pids()) == 8


def test_a_detached_start_with_nothing_to_do_returns_although_its_workers_have_gone(cli: Cli) -> None:
    cli.ok("worker", "start", "--detach", "--drain", "--count", "2")
    wait_until(lambda: not cli.holders(), what="all processes to be gone")


def test_detached_workers_have_left_their_terminal(cli: Cli) -> None:
    cli.ok("worker", "start", "--detach")
    (worker,) = cli.worker_pids()
    assert os.getsid(parent(worker)) != os.getsid(0)
    assert streams(worker) == {"/dev/null", str(cli.spool / "workers.log")}


def test_worker_stop_ends_detached_workers(cli: Cli) -> None:
    cli.ok("worker", "start", "--detach", "--count", "2")
    assert cli.ok("worker", "stop") == "Stopped 2 workers\n"
    wait_until(lambda: not cli.holders(), what="all processes to be gone")


def test_detached_workers_tell_of_their_jobs_in_a_file(cli: Cli) -> None:
    cli.put("one", "echo output of one")
    cli.ok("worker", "start", "--detach")
    wait_until(lambda: cli.state("one") == "completed")
    cli.ok("worker", "stop")
    told = (cli.spool / "workers.log").read_text()
    assert "[Worker 1] Running job one (attempt 1)\noutput of one\n[Worker 1] Completed job one" in told


def test_a_detached_start_on_an_unsafe_spool_is_refused_to_the_caller(cli: Cli) -> None:
    (cli.spool / "pending").chmod(0o777)
    assert cli.run("worker", "start", "--detach").returncode == 6
    assert not cli.worker_pids()


# Output that nobody reads.


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_goes_away_does_not_end_the_workers(cli: Cli, stream: str) -> None:
    cli.put("one", "echo output", max_retries=0)
    with cli.workers(**{"stdout": subprocess.DEVNULL, stream: subprocess.PIPE}) as supervisor:
        wait_until(lambda: cli.state("one") == "completed")
        workers = cli.worker_pids()
        getattr(supervisor, stream).close()
        cli.put("bad", "echo output; exit 1", max_retries=0)
        cli.drop("not-a-job.json", b"[]")
        cli.put("two", "echo output; echo errors >&2")
        wait_until(lambda: cli.state("two") == "completed" and cli.ended("bad") and cli.files("rejected"))
        assert cli.worker_pids() == workers
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(PATIENCE_S) == 143
    assert cli.log("two") == b"output\nerrors\n"


def start_closed(cli: Cli, *args: str) -> subprocess.Popen[bytes]:
    """Start workers from a shell that has closed stdin, stdout and stderr."""
    words = [*command(), "--spool", str(cli.spool), "worker", "start", *args]
    closed = ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *words]
    return subprocess.Popen(closed, cwd=cli.cwd, env=environment(), start_new_session=True)


def streams(pid: int) -> set[str]:
    """Return what a process has as its stdin, stdout and stderr."""
    return {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)}


def test_workers_that_are_started_with_closed_streams_run_jobs_as_others_do(cli: Cli) -> None:
    for number in range(6):
        cli.put(f"job-{number}", f"echo {number}; echo error {number} >&2")
    cli.drop("not-a-job.json", b"[]")
    assert start_closed(cli, "--drain", "--count", "2").wait(PATIENCE_S) == 0
    assert [cli.log(f"job-{n}") for n in range(6)] == [b"%d\nerror %d\n" % (n, n) for n in range(6)]
    assert [path.read_bytes() for path in cli.files("rejected") if path.suffix != ".why"] == [b"[]"]


def test_no_file_of_the_spool_takes_the_place_of_a_closed_stream(cli: Cli) -> None:
    supervisor = start_closed(cli)
    try:
        (worker,) = wait_until(cli.worker_pids)
        assert streams(worker) == streams(supervisor.pid) == {"/dev/null"}
    finally:
        end(supervisor)


def test_no_file_of_the_spool_takes_the_place_of_a_closed_stream_in_detached_workers(cli: Cli) -> None:
    assert start_closed(cli, "--detach").wait(PATIENCE_S) == 0
    (worker,) = cli.worker_pids()
    assert streams(worker) == {"/dev/null", str(cli.spool / "workers.log")}
    root = [fd.name for fd in Path(f"/proc/{worker}/fd").iterdir() if os.readlink(fd) == str(cli.spool)]
    assert root, "the spool's own directory is not open any more"


# Several supervisors.


def test_two_supervisors_on_one_spool_share_the_work(cli: Cli) -> None:
    with cli.workers(), cli.workers():
        wait_until(lambda: len(cli.worker_pids()) == 2)
        cli.put("one", HOLD)
        cli.put("two", HOLD)
        runs(cli, "one", "two")
        release(cli)
        wait_until(lambda: cli.counts()["completed"] == 2)
    workers = {cli.job(id)["history"][0]["worker"] for id in ("one", "two")}
    assert len(workers) == 2


def test_worker_stop_stops_all_supervisors_of_the_spool(cli: Cli) -> None:
    with cli.workers() as first, cli.workers("--count", "2") as second:
        wait_until(lambda: len(cli.worker_pids()) == 3)
        assert cli.ok("worker", "stop") == "Stopped 3 workers\n"
        assert (first.wait(PATIENCE_S), second.wait(PATIENCE_S)) == (143, 143)


def test_worker_stop_leaves_the_workers_of_another_spool_alone(cli: Cli, tmp_path: Path) -> None:
    other = Cli(tmp_path / "other", cli.cwd)
    other.ok("init", str(other.spool), spool=False)
    with cli.workers(), other.workers() as supervisor:
        cli.ok("worker", "stop")
        assert supervisor.poll() is None
        assert len(other.json("worker", "list")) == 1
