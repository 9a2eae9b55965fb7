"""What every executor must do, whatever it runs commands on. A new one is added to EXECUTORS and to nothing else."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import pytest
from clusters.dask import DaskCluster, cluster
from helpers import is_alive, state_of, wait_until

from queuectl.executors import NOT_STARTED, CannotStart, Cluster, Execution, Executor, Exit, Order, local
from queuectl.executors.dask import DaskExecutor
from queuectl.executors.launcher import LauncherExecutor
from queuectl.executors.local import LocalExecutor

Make = Callable[[pytest.FixtureRequest], Executor]


def local_executor(_request: pytest.FixtureRequest) -> Executor:
    return LocalExecutor()


def local_executor_without_pidfd(request: pytest.FixtureRequest) -> Executor:
    patch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    patch.setattr(local, "_pidfd", lambda _pid: -1)  # as where the kernel has none
    return LocalExecutor()


def launcher_executor(_request: pytest.FixtureRequest) -> Executor:
    return LauncherExecutor("nice -n {cpus}", signal="", host="", resources={"cpus": 1}, environment={"PATH": PATH})


def dask_executor(request: pytest.FixtureRequest) -> Executor:
    return DaskExecutor(request.getfixturevalue("dask_cluster").address, 60.0, {})


EXECUTORS: dict[str, Make] = {
    "local": local_executor,
    "local without pidfd": local_executor_without_pidfd,
    "launcher": launcher_executor,
    "dask": dask_executor,
}
PATH = os.environ.get("PATH", os.defpath)

DESCRIPTORS = """
import os
for fd in range(1024):
    try: print(fd, os.readlink(f"/proc/self/fd/{fd}"))
    except OSError: pass
"""


def but_not(*names: str, because: str) -> pytest.MarkDecorator:
    """Leave some executors out of a test, for a reason that their documentation gives."""
    assert because
    assert set(names) < set(EXECUTORS)
    return pytest.mark.parametrize("bench", [name for name in EXECUTORS if name not in names], indirect=True)


on_this_machine_only = but_not("dask", because="on a node nothing outlives its command")
knows_what_it_starts = but_not("launcher", because="only the launcher itself knows what it cannot start")

needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc here")


class Bench:
    """Starts commands as an attempt does, with a locked job file and a log, and ends whatever is left of them."""

    def __init__(self, executor: Executor, place: Path) -> None:
        self.executor, self.place = executor, place
        self.job = place / "job.json"
        self.log_path = place / "job.log"
        self._started: list[Execution] = []
        self._open: list[int] = []

    def start(
        self, command: str | list[str], cwd: str | Path | None = None, env: Mapping[str, str] | None = None
    ) -> Execution:
        """Start a command with a job file of its own, whose lock is ours to close with `let_go`."""
        self.job = self.place / f"job-{len(self._open)}.json"
        self.lock = os.open(self.job, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._open.append(self.lock)
        fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        log = os.open(self.log_path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._open.append(log)
        given = {"PATH": PATH} if env is None else env
        order = Order(command, None if cwd is None else str(cwd), given, self.lock, log)
        self._started.append(self.executor.start(order))
        return self._started[-1]

    def refusal(
        self, command: str | list[str], cwd: str | Path | None = None, env: Mapping[str, str] | None = None
    ) -> str:
        """Return why a command cannot be started, whether that is known at once or told by a node."""
        try:
            end = ended(self.start(command, cwd, env))
        except CannotStart as error:
            return str(error)
        assert end.reason == NOT_STARTED
        return end.error or ""

    def run(
        self, command: str | list[str], cwd: str | Path | None = None, env: Mapping[str, str] | None = None
    ) -> Exit:
        """Run a command to its end."""
        return ended(self.start(command, cwd, env))

    @property
    def log(self) -> bytes:
        """What the command has printed."""
        if isinstance(self.executor, Cluster):
            self.executor.pump()  # which its worker does all the time
        return self.log_path.read_bytes()

    def wait_for_log(self, text: bytes) -> bytes:
        """Return the log as soon as it holds a text."""
        return wait_until(lambda: self.log if text in self.log else b"", what=f"{text!r} in the log")

    def let_go(self) -> None:
        """Close our own descriptors."""
        while self._open:
            os.close(self._open.pop())

    def is_locked(self) -> bool:
        """Say whether anybody still holds the lock on the last job."""
        fd = os.open(self.job, os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def close(self) -> None:
        """End all commands."""
        for execution in self._started:
            execution.kill()
            ended(execution)
        self.let_go()
        if isinstance(self.executor, Cluster):
            self.executor.close()


def ended(execution: Execution) -> Exit:
    """Wait for the end of a command."""
    end = bare(execution.wait(30, ()))
    assert end is not None, "the command has not ended in time"
    return end


def bare(end: Exit | None) -> Exit | None:
    """Return how a command ended, without the machine and the time, which only some executors know."""
    return end and msgspec.structs.replace(end, host=None, took_s=None)


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def dask_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with cluster(tmp_path_factory.mktemp("dask"), threads=[4]) as made:
        yield made


@pytest.fixture(params=EXECUTORS)
def bench(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    made = Bench(EXECUTORS[request.param](request), tmp_path)
    yield made
    made.close()


# How a command ends.


@pytest.mark.parametrize("command", ["true", ["true"], "exit 0", "/bin/true", "test 1 -eq 1"])
def test_a_command_that_succeeds_has_exit_code_0(bench: Bench, command: str | list[str]) -> None:
    assert bench.run(command) == Exit(0, None)


@pytest.mark.parametrize("code", [1, 2, 7, 75, 100, 126, 127, 128, 137, 255])
def test_an_exit_code_is_reported_as_it_is(bench: Bench, code: int) -> None:
    assert bench.run(f"exit {code}") == Exit(code, None)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGSEGV])
def test_a_signal_is_reported_by_its_number(bench: Bench, number: signal.Signals) -> None:
    assert bench.run(f"ulimit -c 0; kill -{int(number)} $$") == Exit(None, int(number))


def test_the_end_of_a_command_can_be_asked_for_again(bench: Bench) -> None:
    execution = bench.start("exit 7")
    assert ended(execution) == ended(execution) == Exit(7, None)


def test_two_commands_at_once_have_their_own_ends(bench: Bench) -> None:
    one, other = bench.start("exit 3"), bench.start("exit 4")
    assert (ended(other), ended(one)) == (Exit(4, None), Exit(3, None))


# What a command is given.


def test_a_shell_line_is_interpreted_by_the_shell(bench: Bench) -> None:
    bench.run('A=1; for b in 2 3; do printf "%s " $A$b; done | tr 1 x')
    assert bench.log == b"x2 x3 "


def test_a_line_of_plain_words_is_run_as_the_shell_would_run_it(bench: Bench) -> None:
    bench.run("  expr 2\t+  3 ")
    assert bench.log == b"5\n"


def test_a_shell_line_that_begins_with_a_dash_is_no_option_of_the_shell(bench: Bench) -> None:
    script(bench.place / "-x", "#!/bin/sh\necho ran\n")
    bench.run("-x; echo after", env={"PATH": f"{bench.place}:{PATH}"})
    assert bench.log == b"ran\nafter\n"


def test_a_list_is_run_without_a_shell(bench: Bench) -> None:
    bench.run(["printf", "%s|", "$HOME", "a b", "*", ";", "'", "", "ä🌱", "\n"])
    assert bench.log.decode() == "$HOME|a b|*|;|'||ä🌱|\n|"


def test_the_longest_argument_arrives(bench: Bench) -> None:
    bench.run(["printf", "%s", "x" * 131_071])
    assert bench.log == b"x" * 131_071


def test_the_longest_shell_line_arrives(bench: Bench) -> None:
    rest = "printf '%s' ok"
    bench.run(f": {'x' * (131_071 - len(rest) - 3)};{rest}")
    assert bench.log == b"ok"


def test_a_command_reads_nothing_from_standard_input(bench: Bench) -> None:
    assert bench.run("cat; read x; test $? -ne 0") == Exit(0, None)
    assert bench.log == b""


@needs_proc
def test_standard_input_is_the_null_device(bench: Bench) -> None:
    bench.run(["readlink", "/proc/self/fd/0"])
    assert bench.log == b"/dev/null\n"


def test_a_command_has_exactly_the_environment_that_was_ordered(bench: Bench) -> None:
    given = {"PATH": PATH, "EMPTY": "", "TEXT": "a b\nc=d ä🌱", "1": "one", "QUEUECTL_JOB_ID": "x"}
    bench.run(["env", "-0"], env=given)
    lines = bench.log.decode().split("\0")[:-1]
    assert dict(line.split("=", 1) for line in lines) == given


def test_a_program_is_looked_for_in_the_path_of_its_own_environment(bench: Bench) -> None:
    folder = bench.place / "bin"
    folder.mkdir()
    script(folder / "only-here", "#!/bin/sh\necho found\n")
    bench.run(["only-here"], env={"PATH": f"/nowhere:{folder}:{PATH}"})
    assert bench.log == b"found\n"


def test_an_empty_part_of_the_path_is_the_commands_directory(bench: Bench) -> None:
    script(bench.place / "only-here", "#!/bin/sh\necho found\n")
    bench.run(["only-here"], cwd=bench.place, env={"PATH": f"{PATH}:"})
    assert bench.log == b"found\n"


def test_a_directory_in_the_path_is_not_taken_for_a_program(bench: Bench) -> None:
    for part in ("first/tool", "second"):
        (bench.place / part).mkdir(parents=True)
    script(bench.place / "second" / "tool", "#!/bin/sh\necho found\n")
    bench.run(["tool"], env={"PATH": f"{bench.place}/first:{bench.place}/second:{PATH}"})
    assert bench.log == b"found\n"


@pytest.mark.parametrize("command", [["pwd", "-P"], "pwd -P", "/bin/pwd -P"])
def test_a_command_runs_in_the_directory_that_was_ordered(bench: Bench, command: str | list[str]) -> None:
    there = bench.place / "a b ä"
    there.mkdir()
    bench.run(command, cwd=there)
    assert bench.log.decode() == f"{there}\n"


@on_this_machine_only
def test_without_an_order_a_command_runs_where_the_executor_was_made(bench: Bench) -> None:
    bench.run("true", cwd="/")
    bench.run(["pwd", "-P"])
    assert bench.log.decode() == f"{bench.place}/home\n"


def test_a_program_with_a_relative_path_is_looked_for_in_the_commands_directory(bench: Bench) -> None:
    script(bench.place / "tool", "#!/bin/sh\necho found\n")
    bench.run(["./tool"], cwd=bench.place)
    assert bench.log == b"found\n"


@needs_proc
def test_a_command_leads_its_own_session_and_group_without_a_terminal(bench: Bench) -> None:
    bench.run(["cat", "/proc/self/stat"])
    pid, *rest = bench.log.decode().replace("(cat)", "").split()
    group, session, terminal = rest[2:5]
    assert (group, session, terminal) == (pid, pid, "0")


@needs_proc
@on_this_machine_only
def test_a_command_inherits_its_lock_and_its_log_and_nothing_else(bench: Bench) -> None:
    bench.run([sys.executable, "-c", DESCRIPTORS])
    lines = dict(line.split(" ", 1) for line in bench.log.decode().splitlines())
    log = str(bench.log_path)
    assert lines == {"0": "/dev/null", "1": log, "2": log, str(bench.lock): str(bench.job)}


@needs_proc
@but_not("local", "local without pidfd", "launcher", because="there it inherits the lock too")
def test_a_command_elsewhere_inherits_nothing(bench: Bench) -> None:
    bench.run([sys.executable, "-c", DESCRIPTORS])
    lines = dict(line.split(" ", 1) for line in bench.log.decode().splitlines())
    assert set(lines) == {"0", "1", "2"}
    assert lines["0"] == "/dev/null"
    assert lines["1"] == lines["2"]


@needs_proc
def test_what_a_worker_has_inherited_is_not_passed_on(tmp_path: Path) -> None:
    left_open = os.open("/dev/zero", os.O_RDONLY)
    os.set_inheritable(left_open, True)  # as by a script that has locked a file before it started the worker
    bench = Bench(LocalExecutor(), tmp_path)
    try:
        bench.run(["readlink", f"/proc/self/fd/{left_open}"])
        assert bench.log == b""
    finally:
        bench.close()
        os.close(left_open)


@needs_proc
def test_no_signal_is_ignored_or_blocked_in_a_command(bench: Bench) -> None:
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP]
    saved = {number: signal.signal(number, signal.SIG_IGN) for number in (*numbers, signal.SIGPIPE, signal.SIGXFSZ)}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])
    try:
        bench.start(["grep", "^Sig[BI]", "/proc/self/status"])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in saved.items():
            signal.signal(number, handler)
    bench.wait_for_log(b"SigIgn")
    masks = {line.split(":")[0]: int(line.split()[1], 16) for line in bench.log.decode().splitlines()}
    ignored = {number for number in saved if masks["SigIgn"] >> (number - 1) & 1}
    assert (masks["SigBlk"], ignored) == (0, set())


def test_a_pipe_that_breaks_ends_a_command_silently(bench: Bench) -> None:
    assert bench.run("yes | head -n 1") == Exit(0, None)
    assert bench.log == b"y\n"


# What a command prints.


def test_output_and_errors_go_to_the_log_in_their_order(bench: Bench) -> None:
    bench.run("echo one; echo two >&2; echo three; echo four >&2")
    assert bench.log == b"one\ntwo\nthree\nfour\n"


def test_the_bytes_in_the_log_are_those_that_were_printed(bench: Bench) -> None:
    data = bytes(range(256)) * 64
    (bench.place / "data").write_bytes(data)
    bench.run(["cat", str(bench.place / "data")])
    assert bench.log == data


def test_output_is_appended_to_what_is_there(bench: Bench) -> None:
    bench.log_path.write_bytes(b"before\n")
    bench.run("echo one")
    bench.run("echo two")
    assert bench.log == b"before\none\ntwo\n"


def test_output_stands_in_the_log_while_the_command_runs(bench: Bench) -> None:
    execution = bench.start("printf half; printf ' a line' >&2; exec sleep 300")
    assert bench.wait_for_log(b"line") == b"half a line"
    assert execution.wait(0, ()) is None


# What cannot be started.


@knows_what_it_starts
def test_a_program_that_is_not_there_cannot_be_started(bench: Bench) -> None:
    assert bench.refusal(["no-such-program", "x"]) == "cannot start no-such-program: no such program in PATH"


@knows_what_it_starts
def test_a_path_that_is_not_there_cannot_be_started(bench: Bench) -> None:
    assert bench.refusal(["./no-such"], cwd=bench.place) == "cannot start ./no-such: No such file or directory"


@knows_what_it_starts
def test_a_program_that_may_not_be_executed_cannot_be_started(bench: Bench) -> None:
    tool = script(bench.place / "tool", "#!/bin/sh\n")
    tool.chmod(0o644)
    assert bench.refusal([str(tool)]) == f"cannot start {tool}: Permission denied"
    assert bench.refusal(["tool"], env={"PATH": str(bench.place)}) == f"cannot start tool: {tool} is not executable"


@knows_what_it_starts
def test_a_directory_cannot_be_started(bench: Bench) -> None:
    assert bench.refusal(["/"]) == "cannot start /: Permission denied"


@knows_what_it_starts
def test_a_program_whose_interpreter_is_missing_cannot_be_started(bench: Bench) -> None:
    tool = script(bench.place / "tool", "#!/no/such/interpreter\n")
    assert bench.refusal([str(tool)]) == f"cannot start {tool}: No such file or directory"


@knows_what_it_starts
def test_a_file_that_is_no_program_cannot_be_started_without_a_shell(bench: Bench) -> None:
    tool = script(bench.place / "tool", "echo ran\n")
    assert "Exec format error" in bench.refusal([str(tool)])


@but_not("local", "local without pidfd", "dask", because="they know it before they start it")
def test_what_a_launcher_cannot_start_it_says_in_the_log(bench: Bench) -> None:
    assert bench.run(["no-such-program"]) == Exit(127, None)
    assert b"no-such-program" in bench.log


def test_a_script_without_an_interpreter_line_is_run_by_the_shell_line_that_names_it(bench: Bench) -> None:
    tool = script(bench.place / "tool", "echo ran $1\n")
    assert bench.run(f"{tool} well") == Exit(0, None)
    assert bench.log == b"ran well\n"


@pytest.mark.parametrize("line", ["no-such-program x", "no-such-program 'x'"])
def test_a_shell_line_with_an_unknown_program_fails_as_in_a_shell(bench: Bench, line: str) -> None:
    assert bench.run(line) == Exit(127, None)
    assert b"not found" in bench.log


def test_a_shell_line_with_a_program_that_may_not_be_executed_fails_as_in_a_shell(bench: Bench) -> None:
    tool = script(bench.place / "tool", "#!/bin/sh\n")
    tool.chmod(0o644)
    assert bench.run(str(tool)) == Exit(126, None)


@pytest.mark.parametrize("command", ["true", ["true"]])
def test_a_directory_that_is_not_there_is_named(bench: Bench, command: str | list[str]) -> None:
    assert bench.refusal(command, cwd="/no/such") == "cannot enter directory /no/such: No such file or directory"


def test_a_file_is_no_directory_to_run_in(bench: Bench) -> None:
    assert "Not a directory" in bench.refusal("true", cwd=script(bench.place / "tool", ""))


@knows_what_it_starts
def test_too_many_arguments_cannot_be_started(bench: Bench) -> None:
    assert bench.refusal(["true", *["x" * 100_000] * 100]).startswith("cannot start true: Argument list too long")


def test_what_could_not_be_started_leaves_no_lock_behind(bench: Bench) -> None:
    with contextlib.suppress(CannotStart):
        ended(bench.start(["no-such-program"]))
    bench.let_go()
    wait_until(lambda: not bench.is_locked(), what="the lock to be free")


# Waiting.


def test_waiting_gives_up_after_its_time(bench: Bench) -> None:
    execution = bench.start("exec sleep 300")
    assert execution.wait(0.01, ()) is None
    assert execution.group_alive()


def test_a_readable_descriptor_interrupts_a_wait(bench: Bench) -> None:
    read, write = os.pipe()
    execution = bench.start("exec sleep 300")
    os.write(write, b"!")
    assert execution.wait(None, (read,)) is None
    os.close(read)
    os.close(write)


def test_a_descriptor_with_nothing_to_read_interrupts_nothing(bench: Bench) -> None:
    read, write = os.pipe()
    execution = bench.start("exit 5")
    assert bare(execution.wait(30, (read,))) == Exit(5, None)
    os.close(read)
    os.close(write)


def test_a_command_that_has_ended_is_reported_before_an_interrupt(bench: Bench) -> None:
    read, write = os.pipe()
    execution = bench.start("echo done; exit 5")
    bench.wait_for_log(b"done")
    os.write(write, b"!")
    assert wait_until(lambda: bare(execution.wait(None, (read,)))) == Exit(5, None)
    os.close(read)
    os.close(write)


@on_this_machine_only
def test_waiting_is_for_the_command_and_not_for_the_end_of_its_output(bench: Bench) -> None:
    execution = bench.start("sleep 300 & echo $!; exit 3")
    assert ended(execution) == Exit(3, None)
    assert is_alive(int(bench.log))


# Ending a command and all that it has started.


@on_this_machine_only
def test_a_background_child_survives_the_normal_end_of_its_command(bench: Bench) -> None:
    execution = bench.start("sleep 300 & echo $!")
    ended(execution)
    child = int(bench.log)
    assert execution.group_alive()
    assert is_alive(child)
    execution.kill()
    wait_until(lambda: not is_alive(child), what="the child to end")


def test_a_group_without_members_is_not_alive(bench: Bench) -> None:
    execution = bench.start("true")
    ended(execution)
    wait_until(lambda: not execution.group_alive())


def test_term_reaches_every_process_of_the_group(bench: Bench) -> None:
    execution = bench.start("sh -c 'sleep 300 & echo $!; wait' & sleep 300 & echo $!; wait")
    wait_until(lambda: bench.log.count(b"\n") == 2)
    children = [int(pid) for pid in bench.log.split()]
    execution.terminate()
    assert ended(execution) == Exit(None, signal.SIGTERM)
    wait_until(lambda: not any(map(is_alive, children)), what="the children to end")


def test_a_command_may_tidy_up_when_it_is_told_to_end(bench: Bench) -> None:
    execution = bench.start("trap 'echo tidied; exit 9' TERM; echo ready; while :; do sleep 0.01; done")
    bench.wait_for_log(b"ready")
    execution.terminate()
    assert ended(execution) == Exit(9, None)
    assert bench.log.endswith(b"tidied\n")


@needs_proc
def test_a_stopped_command_hears_that_it_is_to_end(bench: Bench) -> None:
    execution = bench.start("trap 'exit 9' TERM; echo $$; kill -STOP $$; while :; do sleep 0.01; done")
    pid = int(bench.wait_for_log(b"\n"))
    wait_until(lambda: state_of(pid) == "T", what="the command to be stopped")
    execution.terminate()
    assert ended(execution) == Exit(9, None)


def test_a_tree_that_ignores_term_is_ended_by_kill(bench: Bench) -> None:
    deaf = "trap '' TERM; "
    execution = bench.start(f"{deaf}sh -c '{deaf} sleep 300 & echo $!; wait' & echo $!; wait; wait; sleep 300")
    wait_until(lambda: bench.log.count(b"\n") == 2)
    children = [int(pid) for pid in bench.log.split()]
    execution.terminate()
    assert execution.wait(0.05, ()) is None
    assert all(map(is_alive, children))
    execution.kill()
    assert ended(execution) == Exit(None, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, children)), what="the children to end")


@but_not("local", "local without pidfd", "launcher", because="what a command leaves in the background lives on here")
def test_what_a_command_leaves_behind_on_a_node_ends_with_it(bench: Bench) -> None:
    assert bench.run("sleep 300 & echo $!; exit 3") == Exit(3, None)
    wait_until(lambda: not is_alive(int(bench.log)), what="the child to end")


@on_this_machine_only
def test_what_is_left_of_a_group_can_be_killed_after_its_command_has_ended(bench: Bench) -> None:
    execution = bench.start("(trap '' TERM; echo ready; while :; do sleep 0.01; done) & echo $!; wait")
    wait_until(lambda: len(bench.log.split()) == 2)
    child = next(int(word) for word in bench.log.split() if word.isdigit())
    execution.terminate()
    ended(execution)
    assert execution.group_alive()
    execution.kill()
    wait_until(lambda: not is_alive(child), what="the child to end")


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_ending_what_has_ended_is_no_error(bench: Bench, how: str) -> None:
    execution = bench.start("true")
    ended(execution)
    getattr(execution, how)()
    assert ended(execution) == Exit(0, None)


# The lock.


def test_a_job_stays_locked_while_its_command_lives_though_we_have_let_go(bench: Bench) -> None:
    execution = bench.start("exec sleep 300")
    bench.let_go()
    assert bench.is_locked()
    execution.kill()
    ended(execution)
    wait_until(lambda: not bench.is_locked(), what="the lock to be free")


@on_this_machine_only
def test_a_job_stays_locked_while_a_child_of_its_command_lives(bench: Bench) -> None:
    execution = bench.start("sleep 300 &")
    ended(execution)
    bench.let_go()
    assert bench.is_locked()
    execution.kill()
    wait_until(lambda: not bench.is_locked(), what="the lock to be free")


def test_a_lock_ends_with_its_command(bench: Bench) -> None:
    bench.run("true")
    assert bench.is_locked()
    bench.let_go()
    wait_until(lambda: not bench.is_locked(), what="the lock to be free")
