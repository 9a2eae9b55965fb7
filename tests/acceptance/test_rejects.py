"""Files in pending/ that are not jobs: each ends in rejected/ with its bytes and a reason, and no worker stops for it.

What does not parse may still be being written, so it is rejected only after ten seconds of quiet. One run of workers
meets all these files, half of them at its start and half while it is idle; the tests look at what it left.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from helpers import PATIENCE_S, Cli, cpu_ticks, wait_until
from machine import leave_socket

STARTED_LONG_AGO = "20200101T000000000Z"
LIMIT = 600_000

GOOD = b'{"command": "true"}'
# By the name of the case: the bytes, and words that the reason must hold.
BAD: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "not-json": (b"echo hello\n", ("not JSON",)),
    "array": (b'["true"]', ("expected object", "array")),
    "string": (b'"true"', ("expected object", "str")),
    "null": (b"null", ("expected object", "null")),
    "no-command": (b"{}", ("command",)),
    "empty-command": (b'{"command": " "}', ("command", "empty")),
    "unknown-key": (b'{"comand": "true"}', ("'comand'", "did you mean 'command'?")),
    "unknown-key-beside": (b'{"command": "true", "max_retry": 1}', ("'max_retry'", "did you mean 'max_retries'?")),
    "unknown-key-of-two-lines": (b'{"command": "true", "a\\nb": 1}', ("unknown key",)),
    "command-of-wrong-type": (b'{"command": 12}', ("expected str", "int", "command")),
    "words-of-wrong-type": (b'{"command": ["true", 1]}', ("expected str", "command[1]")),
    "env-of-wrong-type": (b'{"command": "true", "env": {"A": 1}}', ("expected str", "env")),
    "priority-out-of-range": (b'{"command": "true", "priority": 10}', ("priority", "0 to 9")),
    "priority-unknown-word": (b'{"command": "true", "priority": "urgent"}', ("'urgent'", "high, medium, low")),
    "negative-retries": (b'{"command": "true", "max_retries": -1}', ("max_retries", ">= 0")),
    "retries-as-text": (b'{"command": "true", "max_retries": "3"}', ("max_retries", "expected int")),
    "run-at-no-time": (b'{"command": "true", "run_at": "yesterday"}', ("run_at", "'yesterday'")),
    "created-at-no-time": (b'{"command": "true", "created_at": "never"}', ("created_at", "'never'")),
    "timeout-negative": (b'{"command": "true", "timeout": "-5"}', ("timeout", "'-5'")),
    "cwd-relative": (b'{"command": "true", "cwd": "here"}', ("cwd", "absolute")),
    "env-name-with-equals": (b'{"command": "true", "env": {"A=B": "1"}}', ("env", "'A=B'")),
    "resources-misnamed": (b'{"command": "true", "resources": {"2 cpus": 1}}', ("resources", "'2 cpus'")),
    "resources-negative": (b'{"command": "true", "resources": {"cpus": -1}}', ("resources cpus", "-1")),
    "id-with-slash": (b'{"command": "true", "id": "../x"}', ("id '../x'",)),
    "id-too-long": (b'{"command": "true", "id": "' + b"x" * 101 + b'"}', ("id", "1 to 100")),
    "id-taken": (b'{"command": "true", "id": "taken"}', ("id 'taken'", "already taken")),
    "nested-closed": (b'{"command":"true","meta":{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}}", ("nested",)),
    "nested-some": (b'{"command":"true","meta":{"a":' + b"[" * 200 + b"]" * 200 + b"}}", ("nested", "200 levels")),
    "nested-open": (b"[" * 200_000, ("expected object",)),
    "nested-objects": (b'{"meta":' * 50_000, ("nested",)),
    "too-large": (b'{"command": "true"}'.ljust(LIMIT + 1), ("max_job_bytes", str(LIMIT))),
    "empty": (b"", ("empty",)),
    "blank": (b" \n\n", ("empty",)),
    "zeroes": (b"\0" * 4096, ("not JSON",)),
    "truncated": (b'{"command": "tru', ("not JSON", "truncated")),
    "truncated-after-value": (b'{"command": "true"', ("not JSON", "truncated")),
    "two-objects": (b'{"command": "true"}{"command": "true"}', ("not JSON", "trailing")),
    "duplicate-key": (b'{"command": "true", "command": "false"}', ("'command'", "twice")),
    "duplicate-inner-key": (b'{"command": "true", "env": {"A": "1", "A": "2"}}', ("'A'", "twice")),
    "nul-in-command": (b'{"command": "tr\\u0000ue"}', ("command", "NUL")),
    "lone-surrogate": (b'{"command": "echo \\ud800"}', ("surrogate",)),
    "lone-surrogate-in-meta": (b'{"command": "true", "meta": {"a": "\\udc00x"}}', ("surrogate",)),
    "nan": (b'{"command": "true", "timeout": NaN}', ("not JSON",)),
    "infinity": (b'{"command": "true", "timeout": 1e999}', ("out of range", "timeout")),
    "huge-integer": (b'{"command": "true", "priority": ' + b"9" * 5000 + b"}", ("out of range", "priority")),
    "huge-integer-in-meta": (b'{"command": "true", "meta": {"n": ' + b"9" * 5000 + b"}}", ("out of range", "meta")),
    "not-utf-8": (b'{"command": "echo \xff\xfe"}', ("not UTF-8",)),
    "utf-16": (GOOD.decode().encode("utf-16"), ("UTF-16",)),
    "utf-16-unmarked": (GOOD.decode().encode("utf-16-be"), ("not JSON",)),
    "byte-order-mark": (b"\xef\xbb\xbf" + GOOD, ("byte order mark",)),
    "command-too-long": (b'{"command": "' + b"x" * 131_072 + b'"}', ("command", "128 KiB")),
}


def make_fifo(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path, outside: Path) -> None:
    leave_socket(path)


def make_symlink(path: Path, outside: Path) -> None:
    outside.write_bytes(b'{"command": "true", "id": "behind-a-link"}')
    path.symlink_to(outside)


def make_dangling_symlink(path: Path, outside: Path) -> None:
    path.symlink_to(outside.with_name("nowhere"))


SPECIAL: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "fifo": (make_fifo, "FIFO"),
    "socket": (make_socket, "socket"),
    "symlink": (make_symlink, "symbolic link"),
    "dangling-symlink": (make_dangling_symlink, "symbolic link"),
}
CANONICAL = {"pending": f"{STARTED_LONG_AGO}.9.bad-bytes.json", "failed": f"{STARTED_LONG_AGO}.5.bad-retry.json"}
WHEN = ("early", "late")


@dataclass
class Aftermath:
    """What a run of two workers left of all those files."""

    cli: Cli
    stderr: str = ""
    spun_ticks: int = 0
    outside: dict[str, bytes] = field(default_factory=dict)

    def rejected(self, original: str) -> Path:
        """Return the one file in rejected/ that was called so."""
        found = [path for path in self.cli.files("rejected") if path.name.split(".", 2)[2] == original]
        assert len(found) == 1, f"{original}: {found}"
        return found[0]

    def why(self, original: str) -> str:
        """Return the reason beside it."""
        path = self.rejected(original)
        return path.with_name(path.name + ".why").read_text("utf-8")


def put_all(cli: Cli, when: str) -> None:
    """Put every bad file into pending/, with the word `when` in its name."""
    pending = cli.spool / "pending"
    for case, (data, _) in BAD.items():
        cli.drop(f"{when}-{case}.json", data)
    for case, (make, _) in SPECIAL.items():
        make(pending / f"{when}-{case}.json", cli.cwd / f"{when}-outside")
    unreadable = cli.drop(f".{when}-unreadable.json", GOOD)
    unreadable.chmod(0)
    os.rename(unreadable, pending / f"{when}-unreadable.json")
    (pending / f"{when}-directory.json").mkdir()
    (pending / f"{when}-directory.json" / "inside").write_bytes(b"kept")


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aftermath]:
    """Let two workers meet all bad files, good jobs before, between and after them, and wait until all is quiet."""
    root = tmp_path_factory.mktemp("rejects")
    (root / "work").mkdir()
    cli = Cli(root / "spool", root / "work")
    cli.ok("init", str(cli.spool), spool=False)
    cli.ok("config", "set", "max-job-bytes", str(LIMIT))
    cli.ok("config", "set", "poll-interval-sec", "0.5")
    cli.drop("x.json", {"command": "true", "id": "taken"})
    cli.drain()
    left = Aftermath(cli)
    expected = len(WHEN) * (len(BAD) + len(SPECIAL) + (not can_read_anything(root))) + len(CANONICAL)
    put_all(cli, "early")
    for state, name in CANONICAL.items():
        (cli.spool / state / name).write_bytes(b'{"command": ')
    (cli.spool / "pending" / f"{STARTED_LONG_AGO}.5.canonical-directory.json").mkdir()
    cli.drop("good-early.json", {"command": "true", "id": "good-early"})
    with open(root / "stderr", "wb") as stderr, cli.workers("--count", "2", stderr=stderr) as workers:
        wait_for(lambda: completed(cli, "good-early"))
        put_all(cli, "late")
        cli.drop("good-late.json", {"command": "true", "id": "good-late"})
        wait_for(lambda: completed(cli, "good-late"))
        wait_for(lambda: len(reasons(cli)) > expected / 2)  # what is whole
        before = cpu_ticks(workers.pid)
        wait_for(lambda: len(reasons(cli)) >= expected, timeout=40)
        left.spun_ticks = cpu_ticks(workers.pid) - before
        cli.drop("good-last.json", {"command": "true", "id": "good-last"})
        wait_for(lambda: completed(cli, "good-last"))
    left.stderr = (root / "stderr").read_text("utf-8", "replace")
    yield left
    for path in root.rglob("*unreadable*"):
        path.chmod(0o600)


def wait_for(condition: Callable[[], bool], timeout: float = PATIENCE_S) -> None:
    """Wait until something is so, or not for ever: what was not, the tests tell, each of its own."""
    with contextlib.suppress(AssertionError):
        wait_until(condition, timeout)


def completed(cli: Cli, id: str) -> bool:
    """Say whether a job has completed."""
    return any(path.name.endswith(f".{id}.json") for path in cli.files("completed"))


def reasons(cli: Cli) -> list[Path]:
    """Return the files of reasons."""
    return [path for path in cli.files("rejected") if path.name.endswith(".why")]


def can_read_anything(root: Path) -> bool:
    """Say whether permissions do not hold us back."""
    probe = root / "probe"
    probe.write_bytes(b"")
    probe.chmod(0)
    try:
        probe.read_bytes()
    except PermissionError:
        return False
    return True


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("case", BAD)
def test_a_file_that_is_no_job_is_kept_as_it_came(after: Aftermath, case: str, when: str) -> None:
    assert after.rejected(f"{when}-{case}.json").read_bytes() == BAD[case][0]


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("case", BAD)
def test_the_reason_says_in_one_line_what_is_wrong_with_a_file(after: Aftermath, case: str, when: str) -> None:
    why = after.why(f"{when}-{case}.json")
    assert why.endswith("\n")
    assert len(why.splitlines()) == 1
    assert len(why) < 300
    for words in BAD[case][1]:
        assert words in why


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("case", SPECIAL)
def test_a_file_that_is_not_regular_is_kept_and_named_for_what_it_is(after: Aftermath, case: str, when: str) -> None:
    path = after.rejected(f"{when}-{case}.json")
    mode = path.lstat().st_mode
    kinds = {"fifo": stat.S_ISFIFO(mode), "socket": stat.S_ISSOCK(mode)}
    assert kinds.get(case, stat.S_ISLNK(mode))
    assert SPECIAL[case][1] in after.why(path.name.split(".", 2)[2])


@pytest.mark.parametrize("when", WHEN)
def test_what_a_symbolic_link_points_to_is_neither_run_nor_touched(after: Aftermath, when: str) -> None:
    target = after.cli.cwd / f"{when}-outside"
    assert os.readlink(after.rejected(f"{when}-symlink.json")) == str(target)
    assert target.read_bytes() == b'{"command": "true", "id": "behind-a-link"}'
    assert not completed(after.cli, "behind-a-link")


@pytest.mark.parametrize("when", WHEN)
def test_a_file_that_the_worker_may_not_read_is_kept_with_a_reason(after: Aftermath, when: str) -> None:
    if can_read_anything(after.cli.cwd):
        pytest.skip("runs as root, who may read any file")
    path = after.rejected(f"{when}-unreadable.json")
    assert "not readable" in after.why(f"{when}-unreadable.json")
    path.chmod(0o600)
    assert path.read_bytes() == GOOD


@pytest.mark.parametrize("state", CANONICAL)
def test_a_canonical_name_with_bytes_that_are_no_job_is_kept_with_a_reason(after: Aftermath, state: str) -> None:
    assert after.rejected(CANONICAL[state]).read_bytes() == b'{"command": '
    assert "not JSON" in after.why(CANONICAL[state])


def test_good_jobs_run_before_between_and_after_files_that_are_no_jobs(after: Aftermath) -> None:
    assert {"good-early", "good-late", "good-last"} <= set(after.cli.jobs("completed"))


def test_workers_that_meet_bad_files_do_not_end(after: Aftermath) -> None:
    assert "has ended" not in after.stderr
    assert "Traceback" not in after.stderr


def test_nothing_of_a_rejected_file_is_left_in_the_directories_of_the_states(after: Aftermath) -> None:
    assert [
        path.name for path in after.cli.files("pending") if not path.is_dir() and "unreadable" not in path.name
    ] == []
    assert after.cli.files("failed") == after.cli.files("processing") == after.cli.files("dead") == []


def test_each_rejected_file_is_told_of_once_on_the_workers_terminal(after: Aftermath) -> None:
    for when in WHEN:
        for case in [*BAD, *SPECIAL]:
            told = [line for line in after.stderr.splitlines() if f"'{when}-{case}.json'" in line]
            assert len(told) == 1, told
            assert "Rejected" in told[0]


@pytest.mark.parametrize("when", WHEN)
def test_a_directory_is_left_where_it_is(after: Aftermath, when: str) -> None:
    inside = after.cli.spool / "pending" / f"{when}-directory.json" / "inside"
    assert inside.read_bytes() == b"kept"


@pytest.mark.parametrize("name", [*(f"{when}-directory.json" for when in WHEN), "canonical-directory.json"])
def test_a_directory_is_told_of_exactly_once_by_all_workers_together(after: Aftermath, name: str) -> None:
    told = [line for line in after.stderr.splitlines() if name in line]
    assert len(told) == 1, told
    assert "directory" in told[0]


def test_waiting_for_what_may_still_be_being_written_costs_next_to_no_processor_time(after: Aftermath) -> None:
    assert after.spun_ticks < 2 * os.sysconf("SC_CLK_TCK")


def test_status_counts_the_rejected_files(after: Aftermath) -> None:
    assert after.cli.json("status")["rejected"] == len(reasons(after.cli))


def test_a_drop_larger_than_max_job_bytes_is_rejected_and_one_of_that_size_runs(cli: Cli) -> None:
    cli.ok("config", "set", "max-job-bytes", "100")
    cli.drop("large.json", GOOD.ljust(101))
    cli.drop("fits.json", GOOD.ljust(100))
    cli.drain()
    assert cli.counts()["completed"] == 1
    kept, why = cli.files("rejected")
    assert kept.read_bytes() == GOOD.ljust(101)
    assert "larger than max_job_bytes (100 bytes)" in why.read_text()


def test_two_drops_with_one_id_are_one_job_and_one_reject(cli: Cli) -> None:
    cli.drop("a.json", {"command": "true", "id": "same"})
    cli.drop("b.json", {"command": "true", "id": "same"})
    cli.drain(2)
    assert list(cli.jobs("completed")) == ["same"]
    (why,) = reasons(cli)
    assert "'same' is already taken" in why.read_text()


def test_rejecting_the_same_name_again_and_again_overwrites_nothing(cli: Cli) -> None:
    with cli.workers(stderr=subprocess.DEVNULL):
        for number in range(5):
            path = cli.drop("x.json", b"[%d]" % number)
            wait_until(lambda at=path: not at.exists())  # the reason is there before the file has gone
            assert len(reasons(cli)) == number + 1
    kept = [path.read_bytes() for path in cli.files("rejected") if not path.name.endswith(".why")]
    assert sorted(kept) == [b"[%d]" % number for number in range(5)]


def test_bad_files_of_one_moment_whose_names_are_cut_to_the_same_one_are_all_kept(cli: Cli) -> None:
    for number in range(5):
        cli.drop(b"x" * 240 + b"%d.json" % number, b"[%d]" % number)
    cli.drain()
    kept = [path.read_bytes() for path in cli.files("rejected") if not path.name.endswith(".why")]
    assert sorted(kept) == [b"[%d]" % number for number in range(5)]
    assert len(reasons(cli)) == 5


@pytest.mark.parametrize("name", [b"x" * 250 + b".json", b"bad \xff\n\x1b[31m.json", "é".encode() * 125 + b".json"])
def test_a_bad_file_in_any_name_is_rejected_with_a_reason_of_one_line(cli: Cli, name: bytes) -> None:
    cli.drop(name, b"[]")
    told = cli.drain().stderr
    kept, why = cli.files("rejected")
    assert why.name == kept.name + ".why"
    assert kept.read_bytes() == b"[]"
    assert len(why.read_text().splitlines()) == 1
    assert "\x1b" not in told
    assert len([line for line in told.splitlines() if "Rejected" in line]) == 1


@pytest.mark.parametrize("state", ["pending", "failed"])
@pytest.mark.parametrize("kind", ["directory", "fifo", "symlink"])
def test_a_drain_ends_although_something_special_has_a_canonical_name(cli: Cli, kind: str, state: str) -> None:
    path = cli.spool / state / f"{STARTED_LONG_AGO}.5.special.json"
    if kind == "directory":
        path.mkdir()
    else:
        SPECIAL[kind][0](path, cli.cwd / "outside")
    id = cli.enqueue("true")
    cli.drain(timeout=20)
    assert completed(cli, id)


@pytest.mark.parametrize("state", ["failed", "processing"])
def test_a_drain_ends_although_a_stray_file_lies_in_a_directory_of_the_spool(cli: Cli, state: str) -> None:
    (cli.spool / state / "README").write_text("do not touch\n")
    id = cli.enqueue("true")
    cli.drain(timeout=20)
    assert completed(cli, id)


def test_the_reason_for_a_rejected_file_is_json_free_text_that_cat_can_show(cli: Cli) -> None:
    cli.drop("x.json", json.dumps({"command": "true", "prioritty": 3}).encode())
    cli.drain()
    _, why = cli.files("rejected")
    shown = subprocess.run(["cat", why], capture_output=True, text=True, check=True).stdout
    assert shown == "unknown key 'prioritty', did you mean 'priority'?\n"
