"""How a command runs: its surroundings, its output, its time limit, its end, and what is kept of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from helpers import HOLD, Cli, environment, is_alive, wait_until


@pytest.fixture
def cli(cli: Cli) -> Iterator[Cli]:
    """A spool whose retries do not wait; whatever runs is ended afterwards."""
    cli.configure(backoff_base=0, kill_grace_sec=0.3, poll_interval_sec=0.2)
    yield cli
    cli.end_all()


def run(cli: Cli, command: str | list[str], **fields: Any) -> dict[str, Any]:
    """Run one job to its end, and return it."""
    cli.put("one", command, **{"max_retries": 0, **fields})
    cli.drain()
    assert cli.ended("one")
    return cli.job("one")


def python(text: str) -> list[str]:
    """Return a command without a shell that runs a line of Python."""
    return [sys.executable, "-c", text]


def exit_word(cli: Cli, id: str) -> str:
    """Return the part of an ended job's name that tells how it ended."""
    (path,) = cli.names(id)
    return path.name.split(".")[1]


# Surroundings.


def test_the_command_leads_a_process_group_and_a_session_of_its_own(cli: Cli) -> None:
    run(cli, python("import os; print(os.getpid(), os.getpgrp(), os.getsid(0))"))
    pid, group, session = cli.log("one").split()
    assert group == session == pid


def test_the_command_reads_from_dev_null(cli: Cli) -> None:
    run(cli, "readlink /proc/self/fd/0; cat; echo end")
    assert cli.log("one") == b"/dev/null\nend\n"


def test_stdout_and_stderr_share_the_log_in_the_order_of_writing(cli: Cli) -> None:
    run(cli, python("import os\nfor n in range(50): os.write(n % 2 + 1, b'%d ' % n)"))
    assert cli.log("one") == b"".join(b"%d " % n for n in range(50))


def test_output_is_in_the_log_while_the_command_still_runs(cli: Cli) -> None:
    cli.put("one", f"echo begun; {HOLD}; echo ended")
    with cli.workers():
        wait_until((cli.cwd / "up.one").exists)
        assert (cli.log("one"), cli.state("one")) == (b"begun\n", "processing")


def test_attempts_append_to_the_log_in_their_order(cli: Cli) -> None:
    run(cli, "echo out $QUEUECTL_ATTEMPT; echo err $QUEUECTL_ATTEMPT >&2; exit 1", max_retries=2)
    assert cli.log("one") == b"out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n"


def test_a_job_runs_in_its_cwd(cli: Cli) -> None:
    place = cli.cwd / "a place"
    place.mkdir()
    run(cli, "pwd", cwd=str(place))
    assert cli.log("one").decode() == f"{place}\n"


def test_an_enqueued_job_runs_in_the_directory_of_whoever_enqueued_it(cli: Cli) -> None:
    place = cli.cwd / "elsewhere"
    place.mkdir()
    id = cli.enqueue("pwd", cwd=place)
    cli.drain()
    assert cli.log(id).decode() == f"{place}\n"


def test_a_drop_without_a_cwd_runs_in_the_workers_directory(cli: Cli) -> None:
    run(cli, "pwd")
    assert cli.log("one").decode() == f"{cli.cwd}\n"


def test_a_cwd_does_not_carry_over_to_the_next_job_of_the_worker(cli: Cli) -> None:
    cli.put("first", "true", cwd="/", priority=9)
    run(cli, ["pwd"])
    assert cli.log("one").decode() == f"{cli.cwd}\n"


def test_a_job_sees_the_workers_environment_under_its_own(cli: Cli) -> None:
    cli.put("one", 'echo "$OURS $BOTH"', env={"BOTH": "the job's"})
    cli.drain(env={"OURS": "the worker's", "BOTH": "the worker's"})
    assert cli.log("one") == b"the worker's the job's\n"


def test_a_job_sees_its_id_its_attempt_and_its_spool(cli: Cli) -> None:
    line = 'echo "$QUEUECTL_JOB_ID $QUEUECTL_ATTEMPT $QUEUECTL_SPOOL"; [ $QUEUECTL_ATTEMPT = 2 ]'
    run(cli, line, max_retries=1, env={"QUEUECTL_JOB_ID": "another's"})
    assert cli.log("one").decode() == f"one 1 {cli.spool}\none 2 {cli.spool}\n"


def test_a_command_inherits_nothing_but_its_streams_and_its_own_file(cli: Cli) -> None:
    listing = """
import os
for name in os.listdir("/proc/self/fd"):
    if int(name) > 2 and os.path.exists(f"/proc/self/fd/{name}"):
        print(os.readlink(f"/proc/self/fd/{name}"))
"""
    cli.put("one", python(listing))
    kept, other = os.pipe()
    os.set_inheritable(kept, True)
    worker = cli.start("worker", "start", "--drain", pass_fds=[kept], stdout=subprocess.DEVNULL, stderr=None)
    worker.wait(60)
    os.close(kept)
    os.close(other)
    (own,) = cli.log("one").decode().split()
    assert own.startswith(f"{cli.spool}/processing/")


def test_a_command_starts_with_every_signal_as_the_system_has_it(cli: Cli) -> None:
    run(cli, ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"])
    blocked, ignored = (int(line.split()[1], 16) for line in cli.log("one").splitlines())
    assert (blocked, ignored & 0x7FFFFFFF) == (0, 0)  # above 31 the C library has some of its own


def test_a_list_is_run_without_a_shell(cli: Cli) -> None:
    words = ["a b", "$HOME", "*", "", ";", "'\"", "`id`", "ünï", "line\nline"]
    run(cli, [*python("import sys; print(sys.argv[1:])"), *words])
    assert cli.log("one").decode() == f"{words}\n"


LINES = (
    "echo a   b\tc",
    "echo -e a",
    "  echo padded  ",
    "/bin/echo with a path",
    "env printf plain",
    "expr 1 + 2",
    "ls /nonexistent",
    "no-such-program an-argument",
    "/bin/echo a=b",
    "test 1 = 2",
    "true",
    "false",
    "cd / && pwd",
    "umask 027; umask",
    "echo 'a  b' \"c  d\"",
    "echo $((6 * 7)) ${HOME:+home} $(echo inner) `echo old`",
    "echo one; echo two >&2",
    "printf 'x\\ty\\n' | tr x z",
    "A=b env | grep ^A=",
    "exit 7",
    "false || echo rescued",
    "echo ~root /et[c]",
    "! true",
    "# only a comment",
    "if true; then echo yes; fi",
    "for n in 1 2; do echo $n; done",
    "f() { echo called; }; f",
    "cat <<'END'\nhere\nEND",
    "echo {a,b}",
    "echo a\necho b",
    ". /nonexistent",
    "kill -l 15",
    "echo 'unfinished",
)


def test_a_line_does_what_bin_sh_does_with_it(cli: Cli) -> None:
    """Lines that need a shell and lines that do not, against what the shell itself makes of them."""
    for number, line in enumerate(LINES):
        cli.put(f"line-{number}", line, max_retries=0)
    cli.drain(2)
    for number, line in enumerate(LINES):
        shell = subprocess.run(
            ["/bin/sh", "-c", line],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cli.cwd,
            env=environment(),
            check=False,
        )
        found = cli.job(f"line-{number}")
        assert (found["exit_code"], cli.log(f"line-{number}")) == (shell.returncode, shell.stdout), line


@pytest.mark.parametrize("command", ["tool a", "tool a; true", ["tool", "a"]], ids=["words", "line", "list"])
def test_a_program_is_looked_up_in_the_path_of_the_job(cli: Cli, command: str | list[str]) -> None:
    tool = cli.cwd / "bin" / "tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho own tool: $1\n")
    tool.chmod(0o755)
    run(cli, command, env={"PATH": f"{tool.parent}:/usr/bin:/bin"})
    assert cli.log("one") == b"own tool: a\n"


def test_a_script_without_an_interpreter_line_is_run_by_the_shell(cli: Cli) -> None:
    script = cli.cwd / "script"
    script.write_text("echo I am $1\n")
    script.chmod(0o755)
    run(cli, "./script sh")
    assert cli.log("one") == b"I am sh\n"


# The time limit.


def test_a_timeout_sends_term_to_the_command_and_to_its_children(cli: Cli) -> None:
    wait = "while :; do sleep 0.02; done"
    line = f"exec 2>/dev/null; (trap 'echo child; exit' TERM; {wait}) & trap 'wait; echo parent; exit' TERM; {wait}"
    run(cli, line, timeout=0.5)
    assert cli.log("one") == b"child\nparent\n"


def test_a_timeout_counts_as_a_failed_attempt_even_when_the_command_then_exits_with_0(cli: Cli) -> None:
    found = run(cli, "trap 'exit 0' TERM; while :; do sleep 0.02; done", timeout=0.2, max_retries=1)
    assert (found["state"], found["attempts"], found["exit"]) == ("dead", 2, "timeout")
    assert [run["error"] for run in found["history"]] == ["timeout after 0.2 s"] * 2


def test_a_timeout_stands_in_the_name(cli: Cli) -> None:
    run(cli, "sleep 60", timeout=0.1)
    assert exit_word(cli, "one") == "timeout"


def test_what_ignores_term_is_killed_after_the_grace_period(cli: Cli) -> None:
    run(cli, "trap '' TERM; echo $$; sleep 60 & echo $!; wait", timeout=0.3)
    pids = [int(pid) for pid in cli.log("one").split()]
    assert len(pids) == 2
    wait_until(lambda: not any(map(is_alive, pids)), what="the group to be gone")


def test_children_that_ignore_term_are_killed_though_the_command_itself_heeds_it(cli: Cli) -> None:
    run(cli, "(trap '' TERM; sleep 60) & echo $!; exec sleep 60", timeout=0.3)
    child = int(cli.log("one"))
    wait_until(lambda: not is_alive(child), what="the child to be gone")


def test_a_stopped_command_does_not_escape_its_timeout(cli: Cli) -> None:
    found = run(cli, "trap 'echo woken; exit' TERM; kill -STOP $$", timeout=0.3)
    assert (found["exit"], cli.log("one")) == ("timeout", b"woken\n")


def test_the_configured_timeout_holds_for_jobs_that_name_none(cli: Cli) -> None:
    cli.configure(job_timeout_sec=0.2, kill_grace_sec=0.2)
    assert run(cli, "sleep 60")["exit"] == "timeout"


def test_a_job_can_do_without_the_configured_timeout(cli: Cli) -> None:
    cli.configure(job_timeout_sec=0.1, kill_grace_sec=0.1)
    assert run(cli, "sleep 0.5", timeout=0)["exit"] == "0"


def test_a_command_that_ends_within_its_timeout_is_left_alone(cli: Cli) -> None:
    # It lasts for several looks at the time, each of which must leave it alone.
    assert run(cli, "sleep 0.7; echo whole", timeout=30)["state"] == "completed"
    assert cli.log("one") == b"whole\n"


# Commands that cannot start.


@pytest.fixture
def not_to_start(cli: Cli, request: pytest.FixtureRequest) -> tuple[dict[str, Any], str]:
    """A job that cannot start, and what its error must name."""
    plain = cli.cwd / "plain-file"
    plain.write_text("not a program\n")
    missing = str(cli.cwd / "missing")
    jobs: dict[str, tuple[dict[str, Any], str]] = {
        "no-program": ({"command": ["no-such-program"]}, "no-such-program: no such program in PATH"),
        "no-path": ({"command": [missing]}, f"{missing}: No such file or directory"),
        "not-executable": ({"command": [str(plain)]}, f"{plain}: Permission denied"),
        "a-directory": ({"command": [str(cli.cwd)]}, f"{cli.cwd}: Permission denied"),
        "no-interpreter": ({"command": [str(plain)]}, f"{plain}: Exec format error"),
        "no-cwd": ({"command": "true", "cwd": missing}, f"{missing}: No such file or directory"),
        "cwd-is-a-file": ({"command": "true", "cwd": str(plain)}, f"{plain}: Not a directory"),
    }
    if request.param == "no-interpreter":
        plain.chmod(0o755)
    return jobs[request.param]


KINDS = ("no-program", "no-path", "not-executable", "a-directory", "no-interpreter", "no-cwd", "cwd-is-a-file")


@pytest.mark.parametrize("not_to_start", KINDS, indirect=True)
def test_what_cannot_start_fails_with_the_reason_and_dies_after_its_retries(
    cli: Cli, not_to_start: tuple[dict[str, Any], str]
) -> None:
    job, reason = not_to_start
    found = run(cli, **job, max_retries=2)
    assert (found["state"], found["attempts"], exit_word(cli, "one")) == ("dead", 3, "nostart")
    assert found["last_error"].startswith("cannot ")
    assert found["last_error"].endswith(reason)


def test_a_job_that_could_not_start_completes_once_its_directory_is_there(cli: Cli) -> None:
    place = cli.cwd / "later"
    cli.configure(backoff_base=0.3)
    cli.put("one", "pwd", cwd=str(place))
    with cli.workers():
        wait_until(lambda: cli.state("one") == "failed")
        place.mkdir()
        wait_until(lambda: cli.state("one") == "completed")


def test_a_line_whose_program_is_missing_ends_with_the_shells_127(cli: Cli) -> None:
    found = run(cli, "no-such-program --at all")
    assert (found["exit_code"], exit_word(cli, "one"), found["last_error"]) == (127, "127", "exit 127")
    assert b"no-such-program: not found" in cli.log("one")


# The end.


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (15, "SIGTERM"), (11, "SIGSEGV")])
def test_death_by_a_signal_is_told_by_the_signal(cli: Cli, number: int, name: str) -> None:
    found = run(cli, f"kill -{number} $$")
    assert exit_word(cli, "one") == f"sig{number}"
    assert (found["exit_code"], found["last_error"]) == (None, f"killed by signal {number} ({name})")
    assert found["history"][0]["signal"] == number


def test_a_job_that_kills_its_own_group_harms_no_worker(cli: Cli) -> None:
    cli.put("next", "echo unharmed")
    assert run(cli, "kill -9 0", priority=9)["exit"] == "sig9"
    assert (cli.log("next"), cli.job("next")["history"][0]["worker"]) == (
        b"unharmed\n",
        cli.job("one")["history"][0]["worker"],
    )


def test_a_job_runs_once_and_max_retries_times_more_and_is_then_dead(cli: Cli) -> None:
    found = run(cli, "echo run >>runs; exit 3", max_retries=2)
    assert (found["state"], found["attempts"], found["exit_code"]) == ("dead", 3, 3)
    assert (cli.cwd / "runs").read_text() == "run\n" * 3


def test_a_retry_that_succeeds_completes_the_job(cli: Cli) -> None:
    found = run(cli, "[ $QUEUECTL_ATTEMPT = 3 ]", max_retries=5)
    assert (found["state"], found["attempts"], found["exit"], found["last_error"]) == ("completed", 3, "0", None)


def test_a_job_without_retries_is_dead_after_its_first_failure(cli: Cli) -> None:
    assert (run(cli, "exit 1", max_retries=0)["state"], cli.job("one")["attempts"]) == ("dead", 1)


def test_the_history_holds_every_attempt(cli: Cli) -> None:
    found = run(cli, "exit $QUEUECTL_ATTEMPT", max_retries=2)
    assert [(run["attempt"], run["exit_code"], run["error"]) for run in found["history"]] == [
        (1, 1, "exit 1"),
        (2, 2, "exit 2"),
        (3, 3, "exit 3"),
    ]
    instants = [run[key] for run in found["history"] for key in ("started_at", "finished_at")]
    assert instants == sorted(instants)


def test_the_offsets_in_the_history_cut_the_log_into_its_attempts(cli: Cli) -> None:
    found = run(cli, "printf %0${QUEUECTL_ATTEMPT}000d 0; echo end $QUEUECTL_ATTEMPT; exit 1", max_retries=2)
    pieces = [cli.log("one")[run["log_start"] : run["log_end"]] for run in found["history"]]
    assert pieces == [b"0" * 1000 * n + b"end %d\n" % n for n in (1, 2, 3)]


def test_logs_shows_the_output_of_one_attempt(cli: Cli) -> None:
    run(cli, "echo this is $QUEUECTL_ATTEMPT; exit 1", max_retries=2)
    assert cli.ok("logs", "one", "--attempt", "2") == "this is 2\n"


# Output.


def test_binary_output_is_kept_byte_by_byte(cli: Cli) -> None:
    run(cli, python("import os; os.write(1, bytes(range(256)) * 4)"))
    with cli.start("logs", "one") as shown:
        assert shown.stdout
        assert shown.stdout.read() == cli.log("one") == bytes(range(256)) * 4


def test_five_megabytes_of_output_are_kept_whole(cli: Cli) -> None:
    found = run(cli, "seq 1 750000")
    assert cli.log("one") == b"".join(b"%d\n" % n for n in range(1, 750_001))
    assert found["history"][0]["log_end"] == len(cli.log("one")) > 5_000_000


def test_output_without_a_last_newline_stays_without(cli: Cli) -> None:
    run(cli, "printf abc; exit 1", max_retries=1)
    assert cli.log("one") == b"abcabc"


def test_output_of_a_background_child_does_not_delay_the_end_of_the_job(cli: Cli) -> None:
    cli.put("one", "(until [ -e go ]; do sleep 0.02; done; echo late) & echo now")
    with cli.workers():
        wait_until(lambda: cli.state("one") == "completed")
        assert cli.log("one") == b"now\n"
        (cli.cwd / "go").touch()
        wait_until(lambda: cli.log("one") == b"now\nlate\n")


def test_a_job_that_closes_all_its_descriptors_runs_once(cli: Cli) -> None:
    hold = """
import os, time
os.closerange(0, 1024)
open("up", "w")
while not os.path.exists("go"):
    time.sleep(0.02)
"""
    cli.put("one", python(hold), max_retries=0)
    with cli.workers("--count", "2"):
        wait_until((cli.cwd / "up").exists)
        for number in range(20):
            cli.put(f"other-{number}", "true")
        wait_until(lambda: cli.counts()["completed"] == 20)
        assert cli.state("one") == "processing"
        (cli.cwd / "go").touch()
        wait_until(lambda: cli.state("one") == "completed")
    assert cli.job("one")["attempts"] == 1


def test_logs_of_two_workers_never_mix(cli: Cli) -> None:
    for number in range(16):
        cli.put(f"job-{number}", f"for n in 1 2 3 4 5 6 7 8 9; do echo {number}; /bin/echo {number} >&2; done")
    cli.drain(2)
    for number in range(16):
        assert cli.log(f"job-{number}") == b"%d\n" % number * 18
    assert len({cli.job(f"job-{number}")["history"][0]["worker"] for number in range(16)}) == 2


def test_deleting_the_logs_while_a_job_runs_gives_no_second_run(cli: Cli) -> None:
    cli.put("one", f"echo run >>runs; {HOLD}", max_retries=0)
    with cli.workers("--count", "2"):
        wait_until((cli.cwd / "up.one").exists)
        for log in cli.files("logs"):
            log.unlink()
        cli.put("other", "true")
        wait_until(lambda: cli.state("other") == "completed")
        (cli.cwd / "go").touch()
        wait_until(lambda: cli.state("one") == "completed")
    assert (cli.cwd / "runs").read_text() == "run\n"


def test_a_job_whose_log_was_deleted_is_shown_without_output(cli: Cli) -> None:
    run(cli, "echo gone")
    (cli.spool / "logs" / "one.log").unlink()
    assert cli.ok("logs", "one") == ""
    assert json.loads(cli.ok("show", "one", "--json"))["state"] == "completed"
