"""The operations that are attacked: what is there before, what is done, what may have become of the jobs after it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers import STATES, wait_until

from attack.lab import Bench, Process
from queuectl import clock, settling
from queuectl.config import Config
from queuectl.disk import Miss
from queuectl.settling import Outcome
from queuectl.spool import Claim, Spool

EARLY, LATER = "20200101T000000000Z", "20200101T000000001Z"
# A directory that is there already is another run of this job that still lives; each run is noted. The run whose number
# is in `wait`, counted over all jobs, says so with `waits` and goes on until `wait` is gone.
BEGIN = (
    "mkdir now.$QUEUECTL_JOB_ID || echo $QUEUECTL_JOB_ID >>overlaps;"
    " echo run >>runs.$QUEUECTL_JOB_ID; echo run >>runs; "
)
END = (
    "if read n <wait; then"
    " [ $(wc -l <runs) != $n ] || { : >waits; while [ -e wait ]; do sleep 0.01; done; }; fi 2>/dev/null;"
    " rmdir now.$QUEUECTL_JOB_ID; "
)
GOOD = BEGIN + END
BAD = BEGIN + END + "exit 7"
FLAKY = BEGIN + END + "[ $QUEUECTL_ATTEMPT != 1 ]"
MENDED = BEGIN + END + "[ -e mended ]"
UNTIL_GO = BEGIN + "until [ -e go ]; do sleep 0.01; done; rmdir now.$QUEUECTL_JOB_ID"
SETTINGS = {"backoff_base": 0, "kill_grace_sec": 0.2, "poll_interval_sec": 1, "log_level": "WARNING"}
MANY = 9  # from here on one syncfs stands for the fsync of each file


@dataclass(frozen=True)
class Operation:
    """Something that queuectl does, in one process."""

    name: str
    arguments: tuple[str, ...]  # none: a worker that finds the spool as it has been prepared
    prepare: Callable[[Bench], None]
    fates: dict[str, str]  # by id: the states in which a job may be in the end
    acknowledged: dict[str, str] | None = None  # the same after exit code 0
    made: Callable[[str], set[str]] | None = None  # the ids that an enqueue's output names
    alongside: Callable[[Bench], None] | None = None  # what is done once the process runs
    before: Callable[[Bench], None] | None = None  # what is done before the process starts
    needs_supervisor: bool = False
    after: str = ""  # the call after which points are attacked
    retried: tuple[str, ...] = ()  # jobs that may succeed twice, since somebody asks for it
    rejects: int = 0
    hidden: int = 0  # files with a dot in front that a death may leave
    lasting_log: bool = False
    polls: bool = False  # it looks again and again, how often is left to chance

    @property
    def is_worker(self) -> bool:
        """Whether a worker does it."""
        return not self.arguments

    def start(self, bench: Bench, *, supervised: bool) -> Process:
        """Start what is attacked; it waits at the gate."""
        if not self.is_worker:
            return bench.do(*self.arguments, hold="self")
        if supervised or self.needs_supervisor:
            return bench.do("worker", "start", "--count", "1", "--drain", hold="worker")
        return bench.do("work", hold="self")


def put(bench: Bench, id: str, command: str, due: str = EARLY, priority: int = 5, **fields: Any) -> None:
    """Put a job that waits into the spool, under its canonical name; it runs in the worker's directory."""
    path = bench.spool / "pending" / f"{due}.{priority}.{id}.json"
    path.write_text(json.dumps({"command": command, **fields}))


def one(command: str, **fields: Any) -> Callable[[Bench], None]:
    """Prepare one waiting job, `one`."""
    return lambda bench: put(bench, "one", command, **fields)


def ended(command: str, **fields: Any) -> Callable[[Bench], None]:
    """Prepare one job that a worker has run."""

    def prepare(bench: Bench) -> None:
        put(bench, "one", command, **fields)
        bench.drain()
        (bench.work / "mended").touch()

    return prepare


def purgeable(bench: Bench) -> None:
    """Prepare a completed job, a dead one, and a rejected file."""
    put(bench, "one", GOOD)
    put(bench, "two", BAD, max_retries=0)
    broken(bench)
    bench.drain()


def broken(bench: Bench) -> None:
    (bench.spool / "pending" / "broken.json").write_text('{"command": 5}')


def drops(bench: Bench) -> None:
    """Prepare drops: one without an id, one with, one whose id is taken, and one that is not a job."""
    (bench.spool / "pending" / "nameless.json").write_text(json.dumps({"command": GOOD}))
    (bench.spool / "pending" / "named.json").write_text(json.dumps({"command": GOOD, "id": "two"}))


def bad_drops(bench: Bench) -> None:
    put(bench, "one", GOOD)
    (bench.spool / "pending" / "again.json").write_text(json.dumps({"command": GOOD, "id": "one"}))
    broken(bench)


def orphans(bench: Bench) -> None:
    """Prepare what dead workers leave: an attempt undecided, one decided and not moved, and a file that is no job."""
    for id in ("one", "two", "three"):
        put(bench, id, GOOD)
    spool = Spool(bench.spool)
    for id in ("one", "two", "three"):
        claim = spool.claim("pending", f"{EARLY}.5.{id}.json", now=clock.now(), limit=2**20, durable=False)
        assert not isinstance(claim, Miss)
        if id == "two":
            _decide(spool, claim)
            (bench.work / "runs.two").write_text("run\n")
        elif id == "three":
            (bench.spool / "processing" / claim.name).write_text('{"command": 5}')
        claim.close()
    spool.close()


def _decide(spool: Spool, claim: Claim) -> None:
    now = clock.now()
    settling.decide(claim.job, Outcome("0", None, now, now, 0), Config(), "host.1")
    assert spool._decide(claim, now, durable=False)


def bulk(bench: Bench) -> None:
    lines = [json.dumps({"command": GOOD}) for _ in range(MANY)]
    (bench.work / "jobs.jsonl").write_text("\n".join(lines))


def nothing(_bench: Bench) -> None:
    return None


def running(bench: Bench) -> None:
    """Let a worker run the job, to be cancelled."""
    bench.do("worker", "start", "--count", "1", "--drain")
    wait_until((bench.work / "now.one").exists, what="the job to run")


def cancelled_meanwhile(bench: Bench) -> None:
    wait_until((bench.work / "now.one").exists, what="the job to run")
    bench.do("cancel", "one")


def printed(out: str) -> set[str]:
    return set(out.split())


WORKERS = (
    Operation("worker: a success", (), one(GOOD), {"one": "completed"}),
    Operation("worker: a failure and its retry", (), one(FLAKY), {"one": "completed"}),
    Operation("worker: a death", (), one(BAD, max_retries=0), {"one": "dead"}),
    Operation(
        "worker: a recovery",
        (),
        orphans,
        {"one": "completed", "two": "completed"},
        rejects=1,
    ),
    Operation("worker: the admission of drops", (), drops, {"*": "completed", "two": "completed"}),
    Operation("worker: the rejection of drops", (), bad_drops, {"one": "completed"}, rejects=2),
    Operation(
        "worker: a job is cancelled",
        (),
        one(UNTIL_GO, max_retries=0),
        {"one": "dead completed"},
        alongside=cancelled_meanwhile,
        needs_supervisor=True,
        after="pidfd_open",
    ),
)
COMMANDS = (
    Operation("enqueue", ("enqueue", "-q", GOOD), nothing, {"*": "completed"}, made=printed),
    Operation("enqueue --id", ("enqueue", "-q", "--id", "two", GOOD), nothing, {"two": "completed"}, made=printed),
    Operation("enqueue -f, many", ("enqueue", "-q", "-f", "jobs.jsonl"), bulk, {"*": "completed"}, made=printed),
    Operation(
        "dlq retry",
        ("dlq", "retry", "one"),
        ended(MENDED, max_retries=0),
        {"one": "dead completed"},
        {"one": "completed"},
    ),
    Operation("retry", ("retry", "one"), ended(GOOD), {"one": "completed"}, retried=("one",)),
    Operation("cancel, pending", ("cancel", "one"), one(GOOD), {"one": "dead completed"}, {"one": "dead"}),
    Operation(
        "cancel, running",
        ("cancel", "one"),
        one(UNTIL_GO, max_retries=0),
        {"one": "dead completed"},
        {"one": "dead"},
        before=running,
        polls=True,
    ),
    Operation("rm", ("rm", "one"), ended(BAD, max_retries=0), {"one": "dead gone"}, {"one": "gone"}, lasting_log=True),
    Operation(
        "purge",
        ("purge", "--completed", "--dead", "--rejected"),
        purgeable,
        {"one": "completed gone", "two": "dead gone"},
        {"one": "gone", "two": "gone"},
        rejects=1,
        lasting_log=True,
    ),
    Operation(
        "worker start: the supervisor",
        ("worker", "start", "--count", "1", "--drain"),
        one(GOOD),
        {"one": "completed"},
        hidden=1,
    ),
)
OPERATIONS = (*WORKERS, *COMMANDS)


@dataclass(frozen=True)
class Attack:
    """What is done at a point, and what it may leave."""

    kind: str  # kill, fail, stop
    error: str = ""
    deaths: int = 1

    @property
    def lost(self) -> int:
        """How many attempts may be lost."""
        return self.deaths * (self.kind == "kill")

    def drafts(self, operation: Operation, call: str) -> int:
        """Return how many drafts may be left in tmp/."""
        if self.kind == "kill":
            return MANY if "many" in operation.name else self.deaths
        return int(self.kind == "fail" and call.startswith("unlink"))


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def names(spool: Path) -> dict[str, list[str]]:
    """Return the names of each job, with their directories, by id."""
    found: dict[str, list[str]] = {}
    for state in STATES:
        for name in os.listdir(spool / state):
            if not name.startswith("."):
                id = name.split(".", 2)[2].removesuffix(".json") if name.count(".") > 2 else name
                found.setdefault(id, []).append(f"{state}/{name}")
    return found


def starts(bench: Bench, id: str) -> int:
    """Return how many times a job's command was started."""
    path = bench.work / f"runs.{id}"
    return path.read_text().count("run\n") if path.exists() else 0


def one_name(bench: Bench) -> Iterator[str]:
    """Yield the jobs that have more than one name."""
    for id, found in names(bench.spool).items():
        if len(found) > 1:
            yield f"{id} has several names: {found}"


def violations(
    bench: Bench, operation: Operation, attack: Attack, call: str, made: set[str], code: int | None
) -> Iterator[str]:
    """Yield what is wrong in a spool after an attack, when a fresh worker has finished."""
    yield from one_name(bench)
    found = {id: paths[0] for id, paths in names(bench.spool).items()}
    if (bench.work / "overlaps").exists():
        yield "two runs at once of " + (bench.work / "overlaps").read_text()
    others = "completed gone" if operation.name == "purge" else "completed"
    fates = operation.acknowledged if code == 0 and operation.acknowledged else operation.fates
    for id in {*made, *(id for id in fates if id != "*"), *found}:
        allowed = fates.get(id, fates.get("*", others)).split()
        place = found.get(id, "gone/").partition("/")[0]
        if operation.made and id not in made and code != 0 and place == "gone":
            continue
        if place not in allowed:
            yield f"{id} is {place}, not {' or '.join(allowed)}"
        if place != "gone":
            yield from _wrong_in_job(bench, id, found[id], operation, attack)
    yield from _left(bench, operation, attack, call, set(found))


def _wrong_in_job(bench: Bench, id: str, path: str, operation: Operation, attack: Attack) -> Iterator[str]:
    job = read(bench.spool / path)
    history, ran = job["history"], starts(bench, id)
    lost = sum(run["error"] == "worker lost" for run in history) - ("recovery" in operation.name and id == "one")
    if ran > len(history):
        yield f"{id} was started {ran} times and has {len(history)} attempts"
    if len(history) - ran > attack.lost + ("recovery" in operation.name and id == "one"):
        yield f"{id} was started {ran} times and has {len(history)} attempts: {[run['error'] for run in history]}"
    if lost > attack.lost:
        yield f"{id} has lost {lost} attempts"
    if history and job["attempts"] not in (history[-1]["attempt"], 0):
        yield f"{id} counts {job['attempts']} attempts, its history {history[-1]['attempt']}"
    good = [place for place, run in enumerate(history) if run["error"] is None]
    if len(good) > 1 + (id in operation.retried):
        yield f"{id} has succeeded {len(good)} times"
    if good and good[-1] != len(history) - 1 and id not in operation.retried:
        yield f"{id} ran again after its success"


def _is_file_with_text(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _left(bench: Bench, operation: Operation, attack: Attack, call: str, known: set[str]) -> Iterator[str]:
    def files(place: str) -> list[str]:
        return os.listdir(bench.spool / place)

    drafts = files("tmp")
    if len(drafts) > attack.drafts(operation, call):
        yield f"left in tmp/: {drafts}"
    places = (*STATES, "rejected", "logs", "workers", "cancel")
    hidden = [f"{place}/{name}" for place in places for name in files(place) if name.startswith(".")]
    if len(hidden) > operation.hidden * (attack.kind != "stop"):
        yield f"left hidden: {hidden}"
    rejected = [name for name in files("rejected") if not name.endswith(".why") and not name.startswith(".")]
    if len(rejected) != operation.rejects and not (operation.name == "purge" and len(rejected) <= operation.rejects):
        yield f"rejected: {rejected}"
    reasons = [name for name in rejected if not _is_file_with_text(bench.spool / "rejected" / f"{name}.why")]
    if reasons and operation.name != "purge":
        yield f"rejected without a reason: {reasons}"
    logs = {name.removesuffix(".log") for name in files("logs") if not name.startswith(".")} - known
    if logs and not operation.lasting_log:
        yield f"logs of nobody: {logs}"
    requests = [name for name in files("cancel") if not name.startswith(".")]
    if requests and not ("cancel" in operation.name and (attack.kind == "kill" or call.startswith("unlink"))):
        yield f"left in cancel/: {requests}"
