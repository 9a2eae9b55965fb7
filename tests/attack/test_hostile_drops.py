"""Hostile drops: hundreds of files that nobody should put into pending/, met by real workers in one run.

Each ends as the table in corpus.py says: as a job that ran once, or in rejected/ with its bytes and a reason of one
line, and no worker ends, stops or spins for any of them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import stat
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from helpers import Cli, cpu_ticks, new_cli, wait_until

from attack.corpus import EITHER, KEPT, LEFT, LIMIT, ONE_OF, PAST, RUNS, STARTS, Case, all_cases
from queuectl import names

CASES = all_cases()
YOUNG_S = 10
GOOD = b'{"command": "true"}'
SMALL = 2_000_000  # what is larger is compared by its size


@dataclass(frozen=True)
class Print:
    """What a file is, its bytes or where it points to, so that a change shows."""

    kind: int
    data: bytes | str | int

    @classmethod
    def take(cls, path: Path) -> Print:
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFLNK:
            return cls(kind, os.readlink(path))
        if kind != stat.S_IFREG:
            return cls(kind, "")
        return cls(kind, path.read_bytes() if status.st_size < SMALL else status.st_size)


@dataclass
class Aftermath:
    """What workers have left of all the cases, by the number of the case."""

    cli: Cli
    made: dict[int, Print] = field(default_factory=dict)
    runs: Counter[int] = field(default_factory=Counter)
    kept: dict[bytes, list[Path]] = field(default_factory=dict)
    pids: tuple[set[int], set[int]] = (set(), set())
    stderr: str = ""
    spun_ticks: int = 0

    def is_kept(self, number: int) -> bool:
        """Say whether a case is in rejected/ once, as it came, with a reason of one line."""
        found = self.kept.get(CASES[number].name[:180], [])
        if len(found) != 1 or Print.take(found[0]) != self.made[number]:
            return False
        why = found[0].with_name(found[0].name + ".why").read_text("utf-8")
        return why.endswith("\n") and len(why.splitlines()) == 1 and 3 < len(why) <= 400 and why[:-1].isprintable()

    def remains(self, number: int) -> bool:
        """Say whether a case is in pending/ as it came."""
        path = self.cli.spool / "pending" / os.fsdecode(CASES[number].name)
        return os.path.lexists(path) and Print.take(path) == self.made[number]


def put(after: Aftermath, number: int, case: Case) -> None:
    """Let a case appear in pending/ at once, under its name."""
    draft = after.cli.spool / "pending" / f".draft-{number}.json"
    case.make(draft, f"echo {number} >>{after.cli.cwd}/tally")
    after.made[number] = Print.take(draft)
    os.rename(draft, draft.with_name(os.fsdecode(case.name)))


def waiting(cli: Cli) -> set[bytes]:
    """Return what should not remain in the directories of jobs that wait or run."""
    left = {case.name for case in CASES if case.fate == LEFT}
    return {
        os.fsencode(path.name)
        for state in ("pending", "failed", "processing")
        for path in cli.files(state)
        if os.fsencode(path.name) not in left and not path.is_dir()
    }


def completed(cli: Cli, id: str) -> bool:
    return any((cli.spool / "completed").glob(f"*.{id}.json"))


def tally(cli: Cli) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        return [int(line) for line in (cli.cwd / "tally").read_text().split()]
    return []


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> Aftermath:
    """Let two workers meet all cases, half of them at their start and half while they are idle, until all is quiet."""
    cli = new_cli(tmp_path_factory.mktemp("hostile"))
    cli.configure(max_job_bytes=LIMIT, poll_interval_sec=1, kill_grace_sec=0.1)
    after = Aftermath(cli)
    for number, case in enumerate(CASES):
        if number % 2 == 0:
            put(after, number, case)
    errors = cli.cwd / "stderr"
    with errors.open("wb") as stderr, cli.workers("--count", "2", stderr=stderr) as workers:
        first = set(wait_until(lambda: len(cli.worker_pids()) == 2 and cli.worker_pids()))
        wait_until(lambda: len(tally(cli)) > 20)
        for number, case in enumerate(CASES):
            if number % 2:
                put(after, number, case)
        known = [case for case in CASES if case.fate in (RUNS, ONE_OF)]
        with contextlib.suppress(AssertionError):  # which of them have not, the tests tell
            wait_until(lambda: len(tally(cli)) > len(known) - 5)
        before = cpu_ticks(workers.pid)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not waiting(cli), timeout=YOUNG_S + 20)
        after.spun_ticks = cpu_ticks(workers.pid) - before
        cli.drop("last.json", {"command": "true", "id": "last"})
        with contextlib.suppress(AssertionError):
            wait_until(lambda: completed(cli, "last"))
        after.pids = first, set(cli.worker_pids())
    after.stderr = errors.read_text("utf-8", "replace")
    after.runs = Counter(tally(cli))
    for path in cli.files("rejected"):
        if not path.name.endswith(".why") or not os.path.lexists(path.with_name(path.name[:-4])):
            after.kept.setdefault(os.fsencode(path.name).split(b".", 2)[2], []).append(path)
    return after


def numbers(*fates: str) -> list[int]:
    return [number for number, case in enumerate(CASES) if case.fate in fates]


def those_that_break(after: Aftermath, holds: Callable[[int], bool], *fates: str) -> list[str]:
    return [CASES[number].label for number in numbers(*fates) if not holds(number)]


def test_the_corpus_has_at_least_150_cases_of_which_each_has_its_own_name(
    record_property: Callable[[str, object], None],
) -> None:
    record_property("tried", f"{len(CASES)} files")
    assert len(CASES) >= 150


def test_each_job_among_hostile_drops_runs_exactly_once(after: Aftermath) -> None:
    assert those_that_break(after, lambda n: after.runs[n] == 1 and not after.is_kept(n), RUNS) == []


def test_each_file_that_is_no_job_is_kept_as_it_came_with_a_reason_of_one_line(after: Aftermath) -> None:
    assert those_that_break(after, after.is_kept, KEPT) == []


def test_nothing_runs_of_a_file_that_is_no_job(after: Aftermath) -> None:
    assert those_that_break(after, lambda n: after.runs[n] == 0, KEPT, STARTS, LEFT) == []
    assert not list(after.cli.cwd.parent.glob("**/oops"))


def test_each_value_in_each_field_makes_a_job_that_runs_once_or_a_file_that_is_kept(after: Aftermath) -> None:
    dead = [job["command"] for job in after.cli.jobs("dead").values()]

    def once(number: int) -> bool:
        ran = after.runs[number] == 1 or (CASES[number].label == 'command "x"' and dead.count("x") == 1)
        return ran != after.is_kept(number)

    assert those_that_break(after, once, EITHER) == []


def test_of_several_drops_with_one_id_one_runs_and_the_others_are_kept(after: Aftermath) -> None:
    fates: dict[str, list[str]] = {}
    for number in numbers(ONE_OF):
        fate = "kept" if after.is_kept(number) else f"{after.runs[number]} runs"
        fates.setdefault(CASES[number].group, []).append(fate)
    for group, found in fates.items():
        assert sorted(found) == ["1 runs", *["kept"] * (len(found) - 1)], group


def test_each_job_that_cannot_be_started_has_one_attempt_and_is_dead(after: Aftermath) -> None:
    assert len(after.cli.jobs("dead")) >= len(numbers(STARTS))
    assert all(len(job["history"]) == 1 for job in after.cli.jobs("dead").values())
    assert those_that_break(after, lambda n: not after.is_kept(n) and not after.remains(n), STARTS) == []


def test_what_is_not_ours_stays_where_it_is_as_it_came(after: Aftermath) -> None:
    assert those_that_break(after, after.remains, LEFT) == []


def test_nothing_else_is_left_waiting_or_running(after: Aftermath) -> None:
    assert waiting(after.cli) == set()


def test_every_record_that_hostile_drops_have_left_is_a_job_that_can_be_read(after: Aftermath) -> None:
    told = [line.split("\t")[0] for line in after.cli.run("doctor").stdout.splitlines()]
    pending = after.cli.spool / "pending"
    assert set(told) <= {str(pending / os.fsdecode(CASES[number].name)) for number in numbers(LEFT)}


def test_no_worker_ends_because_of_a_drop(after: Aftermath) -> None:
    assert after.pids[0] == after.pids[1]
    assert "has ended" not in after.stderr
    assert "Traceback" not in after.stderr
    assert "Cannot look for work" not in after.stderr


def test_a_job_that_comes_after_all_hostile_drops_runs(after: Aftermath) -> None:
    assert completed(after.cli, "last")


def test_each_rejected_file_is_told_of_in_one_line_that_fits_a_screen(after: Aftermath) -> None:
    told = [line for line in after.stderr.splitlines() if "Rejected" in line]
    kept = sum(len(paths) for paths in after.kept.values())
    assert len(told) == kept
    assert max(map(len, told)) < 1500
    assert all(line.isprintable() for line in told)


def test_a_file_that_nobody_may_rename_is_left_and_holds_up_no_other(cli: Cli) -> None:
    cli.configure(poll_interval_sec=0.1)
    stuck = [cli.drop("drop.json", GOOD), cli.drop("bad.json", b"{}"), cli.drop(f"{PAST}.9.job.json", GOOD)]
    if any(subprocess.run(["chattr", "+i", path], capture_output=True).returncode for path in stuck):
        pytest.skip("files cannot be made immutable here")
    try:
        with cli.workers(stderr=subprocess.PIPE) as workers:
            cli.put("good", "true")
            wait_until(lambda: completed(cli, "good"))
            cli.put("more", "true")
            wait_until(lambda: completed(cli, "more"))
        assert [path.read_bytes() for path in stuck] == [GOOD, b"{}", GOOD]
    finally:
        for path in stuck:
            subprocess.run(["chattr", "-i", path], check=True)
    assert workers.returncode == 143


def test_a_file_on_which_another_program_has_a_lease_waits_and_holds_up_no_other(cli: Cli) -> None:
    cli.configure(poll_interval_sec=0.1)
    leased = os.open(cli.drop("leased.json", GOOD[:-1] + b', "id": "leased"}'), os.O_RDONLY)
    ignored = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        fcntl.fcntl(leased, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        with cli.workers():
            cli.put("good", "true")
            wait_until(lambda: completed(cli, "good"))
            fcntl.fcntl(leased, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            wait_until(lambda: completed(cli, "leased"))
    finally:
        os.close(leased)
        signal.signal(signal.SIGIO, ignored)


def test_workers_that_wait_for_half_written_files_do_not_spin(after: Aftermath) -> None:
    assert after.spun_ticks < 2 * os.sysconf("SC_CLK_TCK")


def test_the_names_in_the_corpus_are_canonical_where_it_says_so() -> None:
    for case in CASES:
        name = os.fsdecode(case.name)
        assert (names.waiting(name) is not None) == case.label.startswith("canonical"), case
