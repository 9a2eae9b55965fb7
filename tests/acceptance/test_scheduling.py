"""Which job comes next and when: order of arrival, priority, times, retries, pause, and where a drain ends."""

from __future__ import annotations

import calendar
import json
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from helpers import Cli, asleep, come_to_rest, command, end, environment, family, idle_workers, wait_until

FAR = "2099-01-01T00:00:00Z"


def marks(cli: Cli, word: str) -> str:
    """Return a command that adds a line to the tally."""
    return f"echo {word} >> '{cli.cwd}/tally'"


def lines(cli: Cli) -> list[str]:
    """Return the lines of the tally."""
    path = cli.cwd / "tally"
    return path.read_text().splitlines() if path.exists() else []


def done(cli: Cli, id: str) -> bool:
    """Say whether a job has completed."""
    return any(path.name.endswith(f".{id}.json") for path in cli.files("completed"))


def instant(seconds: float) -> str:
    """Spell seconds since the epoch as job files do."""
    ms = int(seconds * 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z"


def now() -> str:
    """Return the present instant as job files spell it."""
    return instant(time.time())


def ms(instant: str) -> int:
    """Return the milliseconds since the epoch of an instant in a job file."""
    return calendar.timegm(time.strptime(instant[:19], "%Y-%m-%dT%H:%M:%S")) * 1000 + int(instant[20:23])


def in_name(instant: str) -> str:
    """Spell an instant of a job file as file names do."""
    return re.sub(r"[-:.]", "", instant)


def started(cli: Cli, id: str, run: int = 0) -> str:
    """Return when a run of a job started."""
    return str(cli.job(id)["history"][run]["started_at"])


# Order.


def test_jobs_of_one_priority_run_in_the_order_in_which_they_were_enqueued(cli: Cli) -> None:
    for word in "qaxbz":
        cli.enqueue("--id", word, marks(cli, word))
    cli.drain()
    assert lines(cli) == list("qaxbz")


def test_jobs_of_one_file_run_in_the_order_of_its_lines(cli: Cli) -> None:
    cli.enqueue_all(*({"command": marks(cli, str(number))} for number in range(60)))
    cli.drain()
    assert lines(cli) == [str(number) for number in range(60)]


def test_a_higher_priority_runs_first(cli: Cli) -> None:
    cli.enqueue_all(*({"command": marks(cli, str(level)), "priority": level} for level in (0, 5, 9, 3, 8, 1)))
    cli.drain()
    assert lines(cli) == ["9", "8", "5", "3", "1", "0"]


def test_the_words_high_medium_and_low_are_priorities_nine_five_and_one(cli: Cli) -> None:
    for word in ("low", "high", "medium"):
        cli.enqueue("--priority", word, marks(cli, word))
    cli.enqueue_all(*({"command": marks(cli, str(level)), "priority": level} for level in range(10)))
    cli.drain()
    assert lines(cli) == ["high", "9", "8", "7", "6", "medium", "5", "4", "3", "2", "low", "1", "0"]


def test_the_words_are_priorities_in_drops_too(cli: Cli) -> None:
    for word in ("low", "medium", "high", "HIGH"):
        cli.put(f"of-{word}", marks(cli, word), priority=word)
    cli.drain()
    assert sorted(lines(cli)[:2]) == ["HIGH", "high"]
    assert lines(cli)[2:] == ["medium", "low"]


def test_a_job_without_a_priority_is_medium(cli: Cli) -> None:
    cli.enqueue_all(*({"command": marks(cli, word), "priority": int(word)} for word in ("4", "5", "6")))
    cli.enqueue(marks(cli, "none"))
    cli.enqueue_all({"command": marks(cli, "none in a file")}, {"command": marks(cli, "last 5"), "priority": 5})
    cli.drain()
    assert lines(cli) == ["6", "5", "none", "none in a file", "last 5", "4"]


def test_within_a_priority_the_order_of_arrival_holds(cli: Cli) -> None:
    words = ("1a", "9a", "1b", "9b", "9c", "1c")
    cli.enqueue_all(*({"command": marks(cli, word), "priority": int(word[0])} for word in words))
    cli.drain()
    assert lines(cli) == ["9a", "9b", "9c", "1a", "1b", "1c"]


@pytest.mark.parametrize("how", ["enqueue", "drop"])
def test_an_urgent_job_that_arrives_while_a_long_list_is_worked_off_gets_ahead(cli: Cli, how: str) -> None:
    cli.enqueue_all(*({"command": f"{marks(cli, 'low')}; sleep 0.1", "priority": "low"} for _ in range(100)))
    with cli.workers("--count", "1"):
        wait_until(lambda: len(lines(cli)) >= 3)
        if how == "enqueue":
            cli.enqueue("--priority", "high", marks(cli, "urgent"))
        else:
            cli.put("urgent", marks(cli, "urgent"), priority="high")
        before = len(lines(cli))
        wait_until(lambda: "urgent" in lines(cli))
    assert lines(cli).index("urgent") <= before + 10


# Times.


@pytest.mark.parametrize("option", [["--delay", "1.2s"], ["--run-at", "+1.2s"]], ids=["delay", "run-at"])
def test_a_job_does_not_run_before_its_time_and_then_does_without_a_poll(cli: Cli, option: list[str]) -> None:
    cli.ok("config", "set", "poll-interval-sec", "3600")
    with cli.workers("--count", "2"):
        asked_at = now()
        cli.enqueue("--id", "later", *option, "true")
        due = cli.job("later")["due_at"]
        wait_until(lambda: done(cli, "later"))
    assert 1200 <= ms(due) - ms(asked_at) < 30_000
    assert started(cli, "later") >= due


def test_a_drop_with_a_run_at_does_not_run_before_its_time_and_then_does_without_a_poll(cli: Cli) -> None:
    cli.ok("config", "set", "poll-interval-sec", "3600")
    with cli.workers() as process:
        come_to_rest(process, 1)  # its first poll would find the job too
        due = instant(time.time() + 1)
        cli.put("later", "true", run_at=due)
        wait_until(lambda: done(cli, "later"))
    assert started(cli, "later") >= due


def test_the_time_of_a_job_stands_in_its_name(cli: Cli) -> None:
    cli.enqueue("--id", "later", "--run-at", FAR, "--priority", "7", "true")
    assert [path.name for path in cli.files("pending")] == ["20990101T000000000Z.7.later.json"]


def test_the_times_of_several_jobs_are_kept_whatever_the_order_of_their_arrival(cli: Cli) -> None:
    cli.ok("config", "set", "poll-interval-sec", "3600")
    with cli.workers("--count", "2"):
        base = time.time()
        for id, delay in (("third", 1.8), ("first", 0.6), ("second", 1.2)):
            cli.put(id, marks(cli, id), run_at=instant(base + delay))
        wait_until(lambda: len(lines(cli)) == 3)
        wait_until(lambda: cli.counts()["completed"] == 3)
    assert lines(cli) == ["first", "second", "third"]
    for id in lines(cli):
        assert started(cli, id) >= cli.job(id)["run_at"]


def test_a_time_in_the_past_puts_a_job_before_those_that_came_meanwhile(cli: Cli) -> None:
    cli.enqueue(marks(cli, "now"))
    cli.enqueue("--run-at", "2020-01-01T00:00:00Z", marks(cli, "long due"))
    cli.drain()
    assert lines(cli) == ["long due", "now"]


# Retries.


def fails_until(cli: Cli, run: int) -> str:
    """Return a command that fails until its run of this number."""
    return f'{marks(cli, "$QUEUECTL_ATTEMPT")}; [ "$QUEUECTL_ATTEMPT" -ge {run} ]'


@pytest.mark.parametrize(("base", "waits"), [("1.2", [1200, 1440]), ("0.5", [500, 250, 125]), ("0", [0, 0, 0])])
def test_the_kth_retry_waits_the_base_to_the_power_of_k_seconds(cli: Cli, base: str, waits: list[int]) -> None:
    cli.ok("config", "set", "poll-interval-sec", "3600")
    runs = len(waits) + 1
    with cli.workers("--count", "2"):
        cli.enqueue("--id", "x", "--backoff-base", base, fails_until(cli, runs))
        wait_until(lambda: done(cli, "x"))
    history = cli.job("x")["history"]
    assert [run["attempt"] for run in history] == list(range(1, runs + 1))
    for wait, (failed, retried) in zip(waits, pairwise(history), strict=True):
        assert ms(retried["started_at"]) - ms(failed["finished_at"]) >= wait
    assert ms(cli.job("x")["due_at"]) - ms(history[-2]["finished_at"]) == waits[-1]
    assert lines(cli) == [str(run) for run in range(1, runs + 1)]


def test_a_job_that_waits_for_its_retry_is_in_failed_and_its_name_carries_the_time(cli: Cli) -> None:
    cli.enqueue("--id", "x", "--backoff-base", "50", "--priority", "8", "exit 3")
    with cli.workers():
        wait_until(lambda: cli.files("failed"))
    finished = cli.job("x")["history"][0]["finished_at"]
    (name,) = [path.name for path in cli.files("failed")]
    stamp, rest = name.split(".", 1)
    assert rest == "8.x.json"
    assert stamp == in_name(cli.job("x")["due_at"])
    assert ms(cli.job("x")["due_at"]) - ms(finished) == 50_000


def test_no_retry_waits_longer_than_backoff_max(cli: Cli) -> None:
    cli.ok("config", "set", "backoff-max", "0.3")
    cli.enqueue("--id", "x", "--backoff-base", "1000", fails_until(cli, 3))
    cli.drain()
    assert cli.state("x") == "completed"
    first, second, _ = cli.job("x")["history"]
    assert ms(second["started_at"]) - ms(first["finished_at"]) >= 300


def test_a_job_that_waits_for_its_retry_lets_others_run(cli: Cli) -> None:
    cli.enqueue("--id", "x", "--priority", "9", "--backoff-base", "1.5", fails_until(cli, 2))
    cli.enqueue("--id", "y", "--priority", "0", marks(cli, "other"))
    cli.drain()
    assert lines(cli) == ["1", "other", "2"]


# Who opens what: nobody opens a file to learn when it is due.


@dataclass
class Trace:
    """What a drain opened and renamed, and the spool that it left."""

    cli: Cli
    calls: list[tuple[float, str]]

    def opened(self, id: str) -> list[tuple[float, str]]:
        """Return the time and the call for each opening of a job's file."""
        return [(at, call) for at, call in self.calls if call.startswith("openat(") and f".{id}.json" in call]

    def renamed(self, id: str) -> list[tuple[str, str]]:
        """Return from where to where a job's file was renamed, by the names of the directories."""
        found = re.compile(r'^rename\w*\(\d+<[^>]*/(\w+)>, "([^"]*)", \d+<[^>]*/(\w+)>, "([^"]*)".* = 0').match
        moves = (found(call) for _, call in self.calls)
        return [(move[1], move[3]) for move in moves if move and f".{id}.json" in move[4]]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """Trace the system calls of a drain that meets jobs that are due, not due, and due again after a failure."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    root = tmp_path_factory.mktemp("trace")
    (root / "work").mkdir()
    cli = Cli(root / "spool", root / "work")
    cli.ok("init", str(cli.spool), spool=False)
    cli.ok("config", "set", "poll-interval-sec", "0.2")
    cli.enqueue("--id", "ready", "true")
    cli.enqueue("--id", "distant", "--run-at", FAR, "true")
    cli.enqueue("--id", "again", "--backoff-base", "1.5", fails_until(cli, 2))
    tracer = ["strace", "-ff", "-y", "-ttt", "-s", "400", "-e", "trace=openat,open,rename,renameat,renameat2"]
    ran = subprocess.run(
        [*tracer, "-o", root / "calls", *command(), "--spool", cli.spool, "worker", "start", "--count", "2", "--drain"],
        env=environment(),
        cwd=cli.cwd,
        capture_output=True,
        timeout=60,
    )
    if b"ptrace" in ran.stderr and not cli.files("completed"):
        pytest.skip("strace may not trace here")
    assert ran.returncode == 0, ran.stderr
    lines = [line for part in root.glob("calls.*") for line in part.read_text("utf-8", "replace").splitlines()]
    return Trace(cli, sorted((float(at), call) for at, _, call in (line.partition(" ") for line in lines)))


def test_the_file_of_a_job_that_is_due_is_opened(trace: Trace) -> None:
    assert trace.opened("ready")


def test_the_file_of_a_job_that_is_not_due_is_never_opened(trace: Trace) -> None:
    assert trace.opened("distant") == []
    assert not done(trace.cli, "distant")


def test_the_file_of_a_retry_is_not_opened_before_its_time(trace: Trace) -> None:
    failed_at = ms(trace.cli.job("again")["history"][0]["finished_at"]) / 1000
    waiting = [at for at, call in trace.opened("again") if "/failed>" in call]
    assert waiting
    assert min(waiting) >= failed_at + 1.5


def test_a_retry_is_claimed_straight_from_failed(trace: Trace) -> None:
    assert [move for move in trace.renamed("again") if move[0] != "tmp"] == [
        ("pending", "processing"),
        ("processing", "failed"),
        ("failed", "processing"),
        ("processing", "completed"),
    ]


# Pause.


def test_while_paused_nothing_is_claimed_and_resume_wakes_idle_workers_at_once(cli: Cli) -> None:
    with idle_workers(cli, 2) as process:
        cli.ok("pause")
        cli.enqueue("--id", "enqueued", "true")
        cli.put("dropped", "true")
        wait_until(lambda: asleep(process.pid))
        resumed_at = now()
        cli.ok("resume")
        wait_until(lambda: done(cli, "enqueued") and done(cli, "dropped"))
    assert min(started(cli, "enqueued"), started(cli, "dropped")) >= resumed_at


def test_polls_claim_nothing_while_paused(cli: Cli) -> None:
    cli.ok("config", "set", "poll-interval-sec", "0.1")
    with cli.workers("--count", "2"):
        cli.ok("pause")
        cli.enqueue("--id", "x", "--delay", "0.3", "true")
        due = ms(cli.job("x")["due_at"])
        wait_until(lambda: ms(now()) > due + 500)  # several polls after its time
        resumed_at = now()
        cli.ok("resume")
        wait_until(lambda: done(cli, "x"))
    assert started(cli, "x") >= resumed_at


def test_a_running_job_goes_on_while_paused_and_no_other_follows_it(cli: Cli) -> None:
    go = cli.cwd / "go"
    cli.enqueue("--id", "running", f"until [ -e '{go}' ]; do sleep 0.02; done")
    cli.enqueue("--id", "next", "true")
    with cli.workers("--count", "1") as process:
        wait_until(lambda: cli.state("running") == "processing")
        cli.ok("pause")
        go.touch()
        wait_until(lambda: done(cli, "running"))
        wait_until(lambda: asleep(process.pid))
        resumed_at = now()
        cli.ok("resume")
        wait_until(lambda: done(cli, "next"))
    assert started(cli, "next") >= resumed_at


def test_workers_that_start_on_a_paused_queue_wait_for_resume(cli: Cli) -> None:
    cli.ok("config", "set", "poll-interval-sec", "3600")
    cli.ok("pause")
    cli.enqueue("--id", "x", "true")
    with cli.workers("--count", "2") as process:
        come_to_rest(process, 2)
        resumed_at = now()
        cli.ok("resume")
        wait_until(lambda: done(cli, "x"))
    assert started(cli, "x") >= resumed_at


def test_a_retry_that_falls_due_while_paused_runs_after_resume(cli: Cli) -> None:
    cli.ok("config", "set", "poll-interval-sec", "3600")
    cli.put("x", f"{fails_until(cli, 2)} || until [ -e go ]; do sleep 0.02; done; false", backoff_base=0.4)
    with cli.workers("--count", "1"):
        wait_until(lambda: lines(cli))
        cli.ok("pause")
        (cli.cwd / "go").touch()
        wait_until(lambda: cli.job("x").get("history"))
        due = ms(cli.job("x")["due_at"])
        wait_until(lambda: ms(now()) > due + 300)
        resumed_at = now()
        cli.ok("resume")
        wait_until(lambda: len(cli.job("x").get("history", [])) > 1)
    assert started(cli, "x", run=1) >= resumed_at


# Drain.


def counted(told: str) -> str:
    """Return the line in which a drain says what it did."""
    return next(line for line in told.splitlines() if "Drained" in line)


def test_a_drain_waits_for_retries(cli: Cli) -> None:
    cli.enqueue("--id", "x", "--backoff-base", "0.7", fails_until(cli, 3))
    told = cli.drain(2).stderr
    assert lines(cli) == ["1", "2", "3"]
    assert counted(told) == "Drained: 1 completed, 0 dead, 2 failed attempts; 0 scheduled for later"


def test_a_drain_says_how_many_jobs_remain_scheduled_for_later_and_leaves_them(cli: Cli) -> None:
    for id in ("a", "b"):
        cli.enqueue("--id", id, "--run-at", FAR, "true")
    cli.enqueue("true")
    assert counted(cli.drain().stderr).endswith("; 2 scheduled for later")
    assert cli.counts() == {"pending": 2, "processing": 0, "completed": 1, "failed": 0, "dead": 0}


@pytest.mark.parametrize("name", ["folder.json", "20200101T000000000Z.5.folder.json"], ids=["drop", "canonical"])
def test_a_drain_counts_no_directory_as_a_job(cli: Cli, name: str) -> None:
    (cli.spool / "pending" / name).mkdir()
    assert counted(cli.drain().stderr).endswith("; 0 scheduled for later")


def test_a_drain_of_an_empty_queue_ends_at_once(cli: Cli) -> None:
    assert counted(cli.drain(3).stderr) == "Drained: 0 completed, 0 dead, 0 failed attempts; 0 scheduled for later"


def test_a_drain_succeeds_although_jobs_died(cli: Cli) -> None:
    cli.enqueue("--max-retries", "0", "exit 1")
    assert counted(cli.drain().stderr).startswith("Drained: 0 completed, 1 dead, 1 failed attempt;")


def test_a_drain_runs_what_its_jobs_enqueue(cli: Cli) -> None:
    step = f'n=$(wc -l < tally); [ "$n" -ge 30 ] || printf "%s" "$(cat job)" > "{cli.spool}/pending/$n.json"'
    job: dict[str, Any] = {"command": f"echo ran >> tally; {step}", "cwd": str(cli.cwd)}
    (cli.cwd / "job").write_text(json.dumps(job))
    cli.drop("0.json", job)
    cli.drain(2)
    assert lines(cli) == ["ran"] * 30


def test_a_drain_waits_for_a_job_that_other_workers_run(cli: Cli) -> None:
    go = cli.cwd / "go"
    cli.enqueue("--id", "long", f"until [ -e '{go}' ]; do sleep 0.02; done")
    with cli.workers("--count", "1"):
        wait_until(lambda: cli.state("long") == "processing")
        drain = cli.start("worker", "start", "--drain", stdout=subprocess.DEVNULL)
        try:
            cli.enqueue("--id", "short", "true")
            wait_until(lambda: done(cli, "short"))
            wait_until(lambda: drain.poll() is not None or (len(family(drain.pid)) == 3 and asleep(drain.pid)))
            assert drain.poll() is None
            go.touch()
            assert drain.wait(30) == 0
            assert done(cli, "long")
        finally:
            end(drain)


def test_a_drain_of_a_paused_queue_waits_for_resume(cli: Cli) -> None:
    cli.enqueue("--id", "x", "true")
    cli.ok("pause")
    drain = cli.start("worker", "start", "--drain", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        # The process that watches is started when the worker is idle and the queue is not yet drained.
        wait_until(lambda: drain.poll() is not None or (len(family(drain.pid)) == 3 and asleep(drain.pid)))
        assert not done(cli, "x")
        cli.ok("resume")
        assert drain.wait(30) == 0
    finally:
        end(drain)
    assert done(cli, "x")


def test_two_drains_at_once_share_the_work_and_both_end(cli: Cli) -> None:
    met = "touch $QUEUECTL_JOB_ID; until [ -e here ] && [ -e there ]; do sleep 0.02; done"
    # Neither ends before the other has begun.
    cli.enqueue_all(*({"command": met, "id": id} for id in ("here", "there")))
    cli.enqueue_all(*({"command": marks(cli, str(number))} for number in range(60)))
    drains = [cli.start("worker", "start", "--drain", stdout=subprocess.DEVNULL) for _ in range(2)]
    try:
        assert [drain.wait(30) for drain in drains] == [0, 0]
    finally:
        for drain in drains:
            end(drain)
    assert sorted(lines(cli), key=int) == [str(number) for number in range(60)]
