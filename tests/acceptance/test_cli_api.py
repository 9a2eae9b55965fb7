"""The door for programs: `from queuectl import Queue, Job, State`, in a script that a Python of its own runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import Cli, environment, new_cli

HEAD = "import json, sys\nfrom queuectl import Job, Queue, State\nqueue = Queue(sys.argv[1])\n"


def script(cli: Cli, body: str, *args: str, cwd: Path | None = None) -> Any:
    """Run a program that has opened the queue; returns what it prints as JSON."""
    words = [sys.executable, "-P", "-W", "error", "-c", HEAD + body, str(cli.spool), *args]
    done = subprocess.run(words, cwd=cwd or cli.cwd, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A spool with jobs that have ended, which tests only look at."""
    cli = new_cli(tmp_path_factory.mktemp("api"))
    cli.enqueue_all(
        {"command": "echo out", "id": "good", "meta": {"k": 1}},
        {"command": "echo $QUEUECTL_ATTEMPT; exit 7", "id": "broken", "max_retries": 1, "backoff_base": 0},
    )
    cli.drain()
    cli.enqueue_all({"command": "true", "id": "later", "run_at": "2099-01-01T00:00:00Z"})
    return cli


def test_a_program_enqueues_a_command_and_gets_the_job(cli: Cli) -> None:
    body = """
job = queue.enqueue("echo $WORD; pwd", id="from-api", priority="high", env={"WORD": "hello"}, meta={"a": [1]},
                    timeout="1.5h", max_retries=2, backoff_base=1.5)
assert isinstance(job, Job) and job.state is State.PENDING
print(json.dumps([job.id, job.priority, job.timeout, job.max_retries, job.backoff_base, job.meta, job.cwd]))
"""
    elsewhere = cli.cwd / "elsewhere"
    elsewhere.mkdir()
    shown = script(cli, body, cwd=elsewhere)
    assert shown == ["from-api", 9, 5400.0, 2, 1.5, {"a": [1]}, str(elsewhere)]
    cli.drain()
    assert cli.log("from-api").decode() == f"hello\n{elsewhere}\n"


def test_a_program_enqueues_a_list_without_a_shell(cli: Cli) -> None:
    id = script(cli, 'print(json.dumps(queue.enqueue(["printf", "%s", "$HOME;"]).id))')
    cli.drain()
    assert cli.log(id) == b"$HOME;"


def test_a_program_enqueues_many_in_every_form_in_their_order(cli: Cli) -> None:
    body = """
jobs = queue.enqueue_many(["echo a", ["echo", "b"], {"command": "echo c", "id": "c"}, Job(command="echo d")])
print(json.dumps([job.id for job in jobs]))
"""
    ids = script(cli, body)
    assert [job["id"] for job in cli.json("list")] == ids
    cli.drain()
    assert b"".join(cli.log(id) for id in ids) == b"a\nb\nc\nd\n"


def test_one_bad_job_among_many_queues_none_and_the_error_counts_it(cli: Cli) -> None:
    body = """
from queuectl.errors import QueuectlError, UsageError
try:
    queue.enqueue_many(["true", {"command": "true", "comand": 1}, "true"])
except UsageError as error:
    assert isinstance(error, QueuectlError)
    print(json.dumps(str(error)))
"""
    assert script(cli, body) == "job 2: unknown field 'comand', did you mean 'command'?"
    assert cli.counts()["pending"] == 0


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ('queue.enqueue("")', "UsageError"),
        ('queue.enqueue("true", id="a/b")', "UsageError"),
        ('queue.enqueue("true", max_retries=-1)', "UsageError"),
        ('queue.enqueue("true", id="good")', "Conflict"),
        ('queue.get("nobody")', "NotFound"),
        ('queue.retry("later")', "Conflict"),
        ('queue.retry_dead(["good"])', "Conflict"),
        ('queue.cancel("good")', "Conflict"),
        ('queue.wait(["later"], timeout=0.05)', "TimedOut"),
        ('queue.logs("good", attempt=2)', "NotFound"),
        ('queue.set_config("max_retries", "-1")', "UsageError"),
        ('list(queue.jobs(state="odd"))', "UsageError"),
        ('Queue(sys.argv[1] + "-not")', "NotFound"),
    ],
)
def test_a_mistake_raises_the_error_that_its_docstring_names(ran: Cli, call: str, error: str) -> None:
    body = f"""
from queuectl import errors
try:
    {call}
except errors.{error} as found:
    print(json.dumps(type(found).__name__))
"""
    assert script(ran, body) == error


def test_a_program_reads_jobs_counts_and_logs(ran: Cli) -> None:
    body = """
broken = queue.get("bro")
print(json.dumps({
    "broken": [broken.state, broken.attempts, broken.exit_code, broken.last_error, len(broken.history)],
    "dead": [job.id for job in queue.jobs(state=State.DEAD)],
    "by word": [job.id for job in queue.jobs("completed")],
    "all": sorted(job.id for job in queue.jobs()),
    "two": len(list(queue.jobs(limit=2))),
    "counts": {state.value: count for state, count in queue.counts().items()},
    "logs": [queue.logs("good").decode(), queue.logs("broken").decode(), queue.logs("broken", attempt=2).decode()],
    "path": str(queue.path),
}))
"""
    assert script(ran, body) == {
        "broken": ["dead", 2, 7, "exit 7", 2],
        "dead": ["broken"],
        "by word": ["good"],
        "all": ["broken", "good", "later"],
        "two": 2,
        "counts": {"pending": 1, "processing": 0, "completed": 1, "failed": 0, "dead": 1},
        "logs": ["out\n", "1\n2\n", "2\n"],
        "path": str(ran.spool),
    }


def test_a_program_waits_for_its_jobs_and_follows_their_output(cli: Cli) -> None:
    body = """
jobs = queue.enqueue_many([f"echo {n}; exit {n}" for n in range(3)])
seen = []
ended = queue.wait([job.id for job in jobs], timeout=60, progress=lambda done, of: seen.append((done, of)))
print(json.dumps([[job.exit_code for job in ended], seen[-1], b"".join(queue.follow(jobs[1].id)).decode()]))
"""
    cli.configure(max_retries=0)
    with cli.workers("--count", "2"):
        assert script(cli, body) == [[0, 1, 2], [3, 3], "1\n"]


def test_a_program_cancels_retries_and_removes(cli: Cli) -> None:
    cli.enqueue_all(*({"command": "exit 1", "id": id, "max_retries": 0} for id in ("a", "b", "c")))
    cli.drain()
    cli.enqueue("true", "--id", "d")
    body = """
states = [queue.retry("a").state, queue.cancel("d").state, queue.remove("c").id]
states.append([job.id for job in queue.retry_dead()])
print(json.dumps(states))
"""
    assert script(cli, body) == ["pending", "dead", "c", ["b", "d"]]
    assert sorted(cli.jobs("pending")) == ["a", "b", "d"]


def test_a_program_makes_a_spool_only_when_it_says_so(tmp_path: Path) -> None:
    cli = Cli(tmp_path / "new", tmp_path)
    body = "from queuectl import Queue\nqueue = Queue('new', create=True)\nqueue.enqueue('true', id='first')"
    subprocess.run([sys.executable, "-P", "-c", body], cwd=tmp_path, env=environment(), check=True)
    assert list(cli.jobs("pending")) == ["first"]


def test_the_package_offers_three_names_and_is_typed() -> None:
    body = """
import json, pathlib, queuectl
typed = pathlib.Path(queuectl.__file__).with_name("py.typed").exists()
print(json.dumps([sorted(queuectl.__all__), typed, [state.value for state in queuectl.State]]))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", body], env=environment(), capture_output=True, text=True, check=True
    )
    states = ["pending", "failed", "processing", "completed", "dead"]
    assert json.loads(done.stdout) == [["Job", "Queue", "State", "__version__"], True, states]
