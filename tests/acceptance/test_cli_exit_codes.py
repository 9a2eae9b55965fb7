"""What a script sees: an exit code with a meaning, one line of error, a hint where it helps, never a traceback."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import Cli, command, end, environment, new_cli, next_line, wait_until


def shell(cli: Cli, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in which $0 is queuectl."""
    env = environment({"QUEUECTL_SPOOL": str(cli.spool)})
    return subprocess.run(["sh", "-c", script, *command()], cwd=cli.cwd, env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A spool with one dead job, two waiting for long, and no workers."""
    cli = new_cli(tmp_path_factory.mktemp("codes"))
    cli.enqueue_all({"command": "exit 3", "id": "broken", "max_retries": 0})
    cli.drain()
    cli.enqueue_all(*({"command": "true", "id": f"later-{n}", "run_at": "2099-01-01T00:00:00Z"} for n in (1, 2)))
    return cli


@pytest.mark.parametrize(
    ("code", "args", "error", "hint"),
    [
        (0, ["list"], None, None),
        (1, ["wait", "broken"], None, None),
        (2, ["list", "--stat", "dead"], "no such option", "queuectl list --help"),
        (3, ["show", "nobody"], "nobody: no such job", "queuectl list shows all jobs"),
        (4, ["show", "later"], "later: several jobs begin with this", "one of: later-1 later-2"),
        (5, ["enqueue", "true", "--id", "broken"], "broken: a job with this id exists", "queuectl show broken"),
        (5, ["retry", "later-1"], "later-1: is pending, so it cannot be retried", "it waits already"),
        (124, ["wait", "later-1", "--timeout", "10ms"], "still waiting for 1 of 1 after 0.01 s", None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_each_exit_code_comes_with_its_line(
    shared: Cli, code: int, args: list[str], error: str | None, hint: str | None
) -> None:
    done = shared.run(*args)
    assert done.returncode == code
    told = [line for line in done.stderr.splitlines() if line.startswith(("error: ", "hint: "))]
    assert len(told) == (error is not None) + (hint is not None)
    if error:
        assert told[0].startswith(f"error: {error}")
    if hint:
        assert told[1] == f"hint: {hint}"


def test_a_spool_open_to_others_is_refused_with_exit_6_and_the_command_to_type(cli: Cli) -> None:
    pending = cli.spool / "pending"
    pending.chmod(0o777)
    done = cli.run("worker", "start", "--drain")
    assert done.returncode == 6
    assert done.stderr.startswith(f"error: {pending}: writable by others")
    assert done.stderr.endswith(f"hint: chmod go-w {pending}\n")


def test_a_spool_that_cannot_be_written_is_refused_with_exit_6(cli: Cli) -> None:
    if os.geteuid() == 0 and subprocess.run(["setpriv", "--help"], capture_output=True).returncode:
        pytest.skip("root may write everywhere, and there is no setpriv to be somebody else")
    (cli.spool / "tmp").chmod(0o500)
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    words = [*drop, *command(), "--spool", str(cli.spool), "enqueue", "true"]
    done = subprocess.run(words, cwd=cli.cwd, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (6, 1)
    assert done.stderr.startswith("error: ")
    assert done.stderr.endswith(": permission denied\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_full_disk_under_stdout_is_exit_6(shared: Cli) -> None:
    done = shell(shared, '"$0" list > /dev/full')
    assert (done.returncode, done.stderr) == (6, "error: stdout: no space left on device\n")


def test_a_reader_that_goes_away_ends_the_command_quietly(cli: Cli) -> None:
    cli.enqueue_all(*[{"command": "true " + "x" * 500}] * 500)
    done = shell(cli, '{ "$0" list; echo $? >&2; } | head -n 1')
    assert done.stdout.count("\n") == 1
    assert done.stderr == "141\n"


@contextlib.contextmanager
def waiting(cli: Cli) -> Iterator[subprocess.Popen[bytes]]:
    """A command that waits for a job that does not end."""
    process = cli.start("wait", "later-1")
    try:
        assert next_line(process.stderr) == "no worker is running; queuectl worker start runs one\n"
        yield process
    finally:
        end(process)


def test_ctrl_c_exits_130_without_a_word(shared: Cli) -> None:
    with waiting(shared) as process:
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == (b"", b"")
        assert process.returncode == 130


def test_sigterm_ends_a_command_as_signals_do(shared: Cli) -> None:
    with waiting(shared) as process:
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=30) == (b"", b"")
        assert process.returncode in (143, -signal.SIGTERM)  # a shell shows the latter as 143 too


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_workers_that_a_signal_stopped_exit_with_its_code(cli: Cli, number: int, code: int) -> None:
    with cli.workers() as process:
        process.send_signal(number)
        assert process.wait(30) == code
    wait_until(lambda: not cli.worker_pids())


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_no_reason_to_fail(shared: Cli, closed: str) -> None:
    waiting = len(shared.files("pending"))
    for words in ("enqueue true", "enqueue -q true", "enqueue -q --delay 9d true"):
        assert shell(shared, f'"$0" {words} {closed}').returncode == 0, words
    assert len(shared.files("pending")) == waiting + 3


@pytest.mark.parametrize(("words", "code"), [("enqueue ''", 2), ("enqueue -q ''", 2), ("show nobody", 3), ("list", 0)])
def test_an_error_without_a_stderr_does_not_go_to_stdout(shared: Cli, words: str, code: int) -> None:
    done = shell(shared, f'"$0" {words} 2>&-')
    assert (done.returncode, "error" in done.stdout) == (code, False)


@pytest.mark.parametrize("words", ["rm -", "retry -", "enqueue -f -", "enqueue --lines -f -"])
def test_a_closed_stdin_reads_as_an_empty_one(shared: Cli, words: str) -> None:
    done = shell(shared, f'"$0" {words} <&-')
    assert (done.returncode, done.stdout) == (0, "")
    assert "Traceback" not in done.stderr
