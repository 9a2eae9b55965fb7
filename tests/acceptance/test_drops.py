"""Jobs that other tools put into pending/: by rename, copy, redirect or link, in pieces, in any name, in any number."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers import Cli, idle_workers, wait_until

STARTED_LONG_AGO = "20200101T000000000Z"
SCHEDULED = "20980101T000000000Z"
DUE_LONG_AFTER = "20990101T000000000Z"

NAMES = [
    b"plain.json",
    b"two words.json",
    b" leading space.json",
    b"new\nline.json",
    b"tab\tand\rreturn.json",
    b"\"double\" and 'single' quotes.json",
    b"-rf.json",
    b"--help.json",
    b"*.json",
    b"[a-z]?.json",
    b"$(touch oops);`touch oops`&.json",
    b"back\\slash.json",
    b"percent%s%n.json",
    b"not utf-8 \xff\xfe\x80.json",
    "rocket \U0001f680 and e\u0301.json".encode(),
    b"\x01\x1b[31m\x7f.json",
    b"x.y.z.json",
    b"x.json.json",
    b"~.json",
    b"x" * 250 + b".json",
    b"\xf0\x9f\x9a\x80" * 62 + b"ab.json",
]
NEARLY_CANONICAL = [
    f"{STARTED_LONG_AGO}.5.json",
    f"{STARTED_LONG_AGO}.x.letter.json",
    f"{STARTED_LONG_AGO}.10.two-digits.json",
    f"{STARTED_LONG_AGO}.5..json",
    f"{STARTED_LONG_AGO}.5.-dash.json",
    f"{STARTED_LONG_AGO}.5.two words.json",
    f"{STARTED_LONG_AGO}.5.{'x' * 101}.json",
    "20201301T000000000Z.5.thirteenth-month.json",
    "20200101T000000000z.5.small-z.json",
    "20200101 000000000Z.5.no-t.json",
    f"{DUE_LONG_AFTER}.x.letter.json",
    f"{DUE_LONG_AFTER}.5.two words.json",
    "20991301T000000000Z.5.thirteenth-month.json",
    "zzzzzzzzTzzzzzzzzzZ.5.letters.json",
]
NOT_FOR_US = [
    ".hidden.json",
    ".json",
    "notes.txt",
    "job.json.part",
    "job.JSON",
    "json",
    f"{STARTED_LONG_AGO}.5.canonical.json.part",
    f"{STARTED_LONG_AGO}.5.canonical",
    f".{STARTED_LONG_AGO}.5.canonical.json",
]


def tally(cli: Cli) -> Path:
    """Return the file into which jobs of this test write a line each."""
    return cli.cwd / "tally"


def marks(cli: Cli, word: str = "ran") -> dict[str, Any]:
    """Return a job that adds a line to the tally."""
    return {"command": f"echo {word} >> '{tally(cli)}'"}


def lines(cli: Cli) -> list[str]:
    """Return the lines of the tally."""
    path = tally(cli)
    return path.read_text().splitlines() if path.exists() else []


def completed(cli: Cli, count: int) -> None:
    """Wait until so many jobs have completed."""
    wait_until(lambda: len(cli.files("completed")) >= count, what=f"{count} completed jobs")


def shell(cli: Cli, script: str, *args: str | Path) -> None:
    """Run a shell script to its end; pending/ is its $1."""
    subprocess.run(["sh", "-euc", script, "sh", cli.spool / "pending", *args], cwd=cli.cwd, check=True)


@pytest.mark.parametrize(
    "script",
    [
        'mv job.json "$1/"',
        'cp job.json "$1/"',
        'cp job.json "$1/.part" && mv "$1/.part" "$1/job.json"',
        'cat job.json > "$1/job.json"',
        'printf "%s" "$(cat job.json)" > "$1/job.json"',
        'tee "$1/job.json" < job.json > tee.out',
        'dd if=job.json of="$1/job.json" bs=1 2> dd.out',
        'ln job.json "$1/"',
    ],
    ids=["mv", "cp", "cp-then-mv", "redirect", "printf", "tee", "dd-bytewise", "ln"],
)
def test_a_file_that_any_tool_puts_into_pending_is_run_once_by_idle_workers(cli: Cli, script: str) -> None:
    (cli.cwd / "job.json").write_text(json.dumps(marks(cli)))
    with cli.workers("--count", "2"):
        shell(cli, script)
        completed(cli, 1)
    assert lines(cli) == ["ran"]
    assert cli.counts() == {"pending": 0, "processing": 0, "completed": 1, "failed": 0, "dead": 0}
    assert cli.files("rejected") == []


def test_the_other_name_of_a_hard_linked_drop_keeps_its_bytes_through_failure_and_retry(cli: Cli) -> None:
    outside = cli.cwd / "job.json"
    bytes_before = json.dumps({**marks(cli), "id": "linked", "max_retries": 2, "backoff_base": 0.1}).encode()
    outside.write_bytes(bytes_before.replace(b"'\"", b"'; exit 3\""))
    bytes_before = outside.read_bytes()
    shell(cli, 'ln job.json "$1/x.json"')
    cli.drain()
    assert (cli.state("linked"), len(lines(cli))) == ("dead", 3)
    assert outside.read_bytes() == bytes_before
    assert outside.stat().st_nlink == 1


def test_two_links_to_one_file_are_two_jobs(cli: Cli) -> None:
    (cli.cwd / "job.json").write_text(json.dumps(marks(cli)))
    shell(cli, 'ln job.json "$1/a.json"; ln job.json "$1/b.json"')
    cli.drain(2)
    assert lines(cli) == ["ran", "ran"]
    assert len(cli.jobs("completed")) == 2


PIECEWISE = """
import os, sys, time
path, whole, times = sys.argv[1], sys.argv[2].encode(), int(sys.argv[3])
cuts = [len(whole) * n // times for n in range(times + 1)]
reopen = sys.argv[4] == "reopen"
file = None
for start, end in zip(cuts, cuts[1:]):
    if start:
        time.sleep(1.2)
    if end == len(whole):
        print(time.time_ns() // 1_000_000, flush=True)
    if file is None or reopen:
        file = open(path, "ab", buffering=0)
    file.write(whole[start:end])
    if reopen:
        file.close()
"""


@pytest.mark.parametrize("how", ["at-once", "reopen"])
def test_a_file_written_in_pieces_seconds_apart_runs_once_and_only_when_whole(cli: Cli, how: str) -> None:
    job = json.dumps({**marks(cli), "id": "slow", "meta": {"a": {"b": ["}", "]"]}}})
    path = str(cli.spool / "pending" / "slow.json")
    with cli.workers("--count", "2"):
        written = subprocess.run(
            [sys.executable, "-c", PIECEWISE, path, job, "3", how], capture_output=True, check=True
        )
        completed(cli, 1)
        cli.enqueue("true")
        completed(cli, 2)
    assert lines(cli) == ["ran"]
    started = cli.json("show", "slow")["history"][0]["started_at"]
    assert started >= stamp(int(written.stdout))
    assert cli.files("rejected") == []


def stamp(ms: int) -> str:
    """Spell milliseconds since the epoch as job files do."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z"


def test_a_whole_object_runs_although_its_writer_has_not_closed_the_file(cli: Cli) -> None:
    with open(cli.spool / "pending" / "open.json", "wb", buffering=0) as file:
        file.write(json.dumps(marks(cli)).encode())
        cli.drain()
        assert lines(cli) == ["ran"]


def test_drops_in_any_name_that_the_file_system_allows_run_from_a_scan(cli: Cli) -> None:
    for number, name in enumerate(NAMES):
        cli.drop(name, marks(cli, str(number)))
    cli.drain(2)
    assert Counter(lines(cli)) == Counter(str(number) for number in range(len(NAMES)))
    assert cli.files("rejected") == []
    assert not list(cli.cwd.glob("oops")) + list(cli.spool.glob("**/oops"))


def test_drops_in_any_name_that_the_file_system_allows_wake_idle_workers(cli: Cli) -> None:
    cli.ok("config", "set", "poll-interval-sec", "3600")
    with cli.workers("--count", "2"):
        for number, name in enumerate(NAMES):
            cli.drop(name, marks(cli, str(number)))
            completed(cli, number + 1)
    assert Counter(lines(cli)) == Counter(str(number) for number in range(len(NAMES)))
    assert cli.files("rejected") == []


@pytest.mark.parametrize("others", [[], [f"{SCHEDULED}.5.scheduled.json"]], ids=["alone", "beside-a-scheduled-job"])
def test_names_that_look_nearly_canonical_are_drops_to_a_scan(cli: Cli, others: list[str]) -> None:
    for name in others:
        cli.drop(name, marks(cli, name))
    for name in NEARLY_CANONICAL:
        cli.drop(name, {"command": ["sh", "-c", 'echo "$0" >> "$1"', name, str(tally(cli))]})
    cli.drain()
    assert cli.files("rejected") == []
    assert Counter(lines(cli)) == Counter(NEARLY_CANONICAL)


def test_names_that_look_nearly_canonical_wake_idle_workers(cli: Cli) -> None:
    with idle_workers(cli, 1):
        for number, name in enumerate(NEARLY_CANONICAL):
            cli.drop(name, {"command": ["sh", "-c", 'echo "$0" >> "$1"', name, str(tally(cli))]})
            completed(cli, number + 2)
    assert lines(cli) == NEARLY_CANONICAL
    assert cli.files("rejected") == []


def burst(cli: Cli, count: int) -> None:
    """Move many files into pending/ as fast as one process can."""
    drafts = cli.cwd / "drafts"
    drafts.mkdir()
    for number in range(count):
        (drafts / f"{number:04d}.json").write_text(json.dumps(marks(cli, str(number))))
    for number in range(count):
        os.rename(drafts / f"{number:04d}.json", cli.spool / "pending" / f"{number:04d}.json")


def test_each_of_500_drops_in_a_burst_runs_exactly_once(cli: Cli) -> None:
    with cli.workers("--count", "3"):
        burst(cli, 500)
        completed(cli, 500)
    assert Counter(lines(cli)) == Counter(str(number) for number in range(500))
    assert cli.counts() == {"pending": 0, "processing": 0, "completed": 500, "failed": 0, "dead": 0}


def test_500_drops_that_come_while_the_one_worker_is_looking_run_in_the_order_of_their_arrival(cli: Cli) -> None:
    with cli.workers("--count", "1"):
        burst(cli, 500)
        completed(cli, 500)
    assert lines(cli) == [str(number) for number in range(500)]


def test_500_drops_that_come_while_the_one_worker_is_busy_run_in_the_order_of_their_arrival(cli: Cli) -> None:
    go = cli.cwd / "go"
    cli.drop("busy.json", {"command": f"until [ -e '{go}' ]; do sleep 0.02; done"})
    with cli.workers("--count", "1"):
        wait_until(lambda: cli.files("processing"))
        burst(cli, 500)
        go.touch()
        completed(cli, 501)
    assert lines(cli) == [str(number) for number in range(500)]


def test_jobs_of_one_file_run_in_its_order_by_a_worker_that_looks_while_they_are_enqueued(cli: Cli) -> None:
    with cli.workers("--count", "1"):
        cli.enqueue_all(*(marks(cli, str(number)) for number in range(800)))
        completed(cli, 800)
    assert lines(cli) == [str(number) for number in range(800)]


def test_drops_that_came_while_no_worker_ran_are_run_in_the_order_of_their_arrival(cli: Cli) -> None:
    order = ["m", "z", "a", "k", "b", "y"]
    for word in order:
        arrived = cli.drop(f"{word}.json", marks(cli, word)).stat().st_ctime_ns
        clock_file = cli.cwd / "clock"  # the file system's clock ticks only a few hundred times a second
        wait_until(lambda at=arrived, file=clock_file: file.write_bytes(b"") == 0 and file.stat().st_ctime_ns > at)
    assert cli.counts()["pending"] == len(order)
    cli.drain()
    assert lines(cli) == order


def test_a_drop_with_an_old_modification_time_waits_its_turn(cli: Cli) -> None:
    cli.enqueue(marks(cli, "first")["command"])
    (cli.cwd / "old.json").write_text(json.dumps(marks(cli, "second")))
    os.utime(cli.cwd / "old.json", (10**9, 10**9))
    shell(cli, 'cp -p old.json "$1/"')
    cli.drain()
    assert lines(cli) == ["first", "second"]


def test_a_half_written_drop_with_an_old_modification_time_is_not_rejected_while_it_is_young(cli: Cli) -> None:
    path = cli.spool / "pending" / "old.json"
    path.write_bytes(b'{"command": "echo ran')
    os.utime(path, (10**9, 10**9))
    with cli.workers():
        cli.enqueue("true")
        completed(cli, 1)
        with path.open("ab") as file:
            file.write(f' >> {tally(cli)}"}}'.encode())
        completed(cli, 2)
    assert lines(cli) == ["ran"]
    assert cli.files("rejected") == []


def test_a_drop_may_choose_its_id(cli: Cli) -> None:
    cli.drop("x.json", {**marks(cli), "id": "chosen.by_me-1"})
    cli.drain()
    assert cli.state("chosen.by_me-1") == "completed"


def test_drops_without_an_id_are_given_one_each_that_show_knows(cli: Cli) -> None:
    for word in "xy":
        cli.drop(f"{word}.json", marks(cli, word))
    cli.drain()
    shown = [cli.json("show", id)["command"] for id in cli.jobs("completed")]
    assert sorted(shown) == [marks(cli, word)["command"] for word in "xy"]


def test_the_name_decides_for_a_drop_whose_name_is_canonical_already(cli: Cli) -> None:
    cli.enqueue("--priority", "8", marks(cli, "eight")["command"])
    cli.drop(f"{STARTED_LONG_AGO}.9.mine.json", {**marks(cli, "nine"), "id": "another", "priority": 0})
    cli.drain()
    assert lines(cli) == ["nine", "eight"]
    assert cli.state("mine") == "completed"
    assert cli.state("another") is None


def test_a_drop_in_a_canonical_name_is_not_run_before_the_time_in_its_name(cli: Cli) -> None:
    cli.drop(f"{DUE_LONG_AFTER}.9.later.json", marks(cli, "later"))
    cli.drop("now.json", marks(cli, "now"))
    cli.drain()
    assert lines(cli) == ["now"]
    assert [path.name for path in cli.files("pending")] == [f"{DUE_LONG_AFTER}.9.later.json"]


def test_hidden_files_and_names_that_do_not_end_in_json_are_left_alone(cli: Cli) -> None:
    for name in NOT_FOR_US:
        cli.drop(name, marks(cli, name))
    with cli.workers(stderr=subprocess.DEVNULL):
        for name in NOT_FOR_US:
            cli.drop(name, marks(cli, name))  # the same again, now to idle workers
        cli.enqueue(marks(cli)["command"])
        completed(cli, 1)
    assert "1 completed" not in cli.drain().stderr
    assert lines(cli) == ["ran"]
    assert sorted(path.name for path in cli.files("pending")) == sorted(NOT_FOR_US)
    assert cli.files("rejected") == []


def test_a_file_that_loses_its_hiding_name_is_run(cli: Cli) -> None:
    with idle_workers(cli, 1):
        hidden = cli.drop(".job.json.Xy12", marks(cli))
        os.rename(hidden, cli.spool / "pending" / "job.json")
        completed(cli, 2)
    assert lines(cli) == ["ran"]


def test_a_drop_that_is_taken_back_before_a_worker_sees_it_does_not_run(cli: Cli) -> None:
    with cli.workers():
        cli.ok("pause")
        path = cli.drop("x.json", marks(cli, "taken back"))
        cli.drop("y.json", marks(cli, "stays"))
        os.rename(path, cli.cwd / "x.json")
        cli.ok("resume")
        completed(cli, 1)
    assert lines(cli) == ["stays"]
    assert (cli.cwd / "x.json").exists()


def test_a_drop_that_another_program_has_locked_runs_when_the_lock_is_released(cli: Cli) -> None:
    draft = cli.cwd / "locked.json"
    draft.write_text(json.dumps({**marks(cli, "locked"), "id": "locked"}))
    with idle_workers(cli, 2), draft.open() as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        os.rename(draft, cli.spool / "pending" / "locked.json")
        cli.drop("free.json", marks(cli, "free"))
        completed(cli, 2)
        assert lines(cli) == ["free"]
        until = time.monotonic() + 1  # what the other drop has caused is over then
        wait_until(lambda: time.monotonic() > until)
        holder.close()
        completed(cli, 3)
    assert lines(cli) == ["free", "locked"]


def test_what_runs_is_what_was_dropped_when_the_file_is_changed_while_it_runs(cli: Cli) -> None:
    go = cli.cwd / "go"
    script = f"echo ran >> '{tally(cli)}'; until [ -e '{go}' ]; do sleep 0.02; done"
    outside = cli.cwd / "job.json"
    outside.write_text(json.dumps({"command": script, "id": "kept"}))
    with cli.workers():
        shell(cli, 'cp job.json "$1/x.json"')
        wait_until(lambda: lines(cli))
        (running,) = cli.files("processing")
        running.write_text(json.dumps(marks(cli, "changed")))
        go.touch()
        completed(cli, 1)
    assert lines(cli) == ["ran"]
    assert cli.jobs("completed")["kept"]["command"] == script


def test_a_drop_was_made_when_its_file_was_written(cli: Cli) -> None:
    draft = cli.cwd / "draft.json"
    draft.write_text(json.dumps({"command": "test $QUEUECTL_ATTEMPT = 2", "id": "made", "backoff_base": 0}))
    os.utime(draft, (1_700_000_000, 1_700_000_000))
    os.rename(draft, cli.spool / "pending" / "made.json")
    cli.drain()
    found = cli.json("show", "made")
    assert (found["created_at"], found["attempts"]) == ("2023-11-14T22:13:20.000Z", 2)
