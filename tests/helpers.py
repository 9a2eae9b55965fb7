"""What tests share: the installed command, workers as real processes, and waiting for a condition."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

T = TypeVar("T")
STATES = ("pending", "processing", "completed", "failed", "dead")
PATIENCE_S = 30.0
STILL_S = 1.0  # a look that takes longer is counted as this much
# Runs until the file `go` appears, and says by `up.<id>` that it has begun.
HOLD = "touch up.$QUEUECTL_JOB_ID; until [ -e go ]; do sleep 0.02; done"


def wait_until(condition: Callable[[], T], timeout: float = PATIENCE_S, what: str = "") -> T:
    """Return the first true value of `condition`; fail the test when there is none in time."""
    left = timeout
    while True:
        looked = time.monotonic()
        value = condition()
        if value:
            return value
        if left < 0:
            raise AssertionError(f"not within {timeout} s: {what or condition}")
        time.sleep(0.01)
        left -= min(time.monotonic() - looked, STILL_S)  # what stood still meanwhile is the machine


def state_of(pid: int) -> str:
    """Return the letter of a process's state, nothing when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_alive(pid: int) -> bool:
    """Say whether a process runs; one that has ended and waits to be reaped does not."""
    return state_of(pid) not in ("", "Z", "X")


def holders(spool: Path) -> list[int]:
    """Return the pids of all processes that have a file of a spool open."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.readlink(fd).startswith(f"{spool}/") for fd in (process / "fd").iterdir()):
                found.append(int(process.name))
    return found


def named(path: Path) -> str | None:
    """Return the id in the name of a job's file; None when the name holds none, as that of a drop need not."""
    parts = path.name.removesuffix(".json").split(".", 2)
    return parts[2] if len(parts) == 3 and path.suffix == ".json" else None


def command() -> list[str]:
    """Return the installed console script of the interpreter that runs the tests."""
    script = Path(sys.executable).with_name("queuectl")
    return [str(script)] if script.exists() else [sys.executable, "-P", "-m", "queuectl"]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a command: this one's, without settings that the tests' author may have made."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("QUEUECTL_")}
    return {**clean, "NO_COLOR": "1", **(extra or {})}


class Cli:
    """The command line on one spool, in one directory."""

    def __init__(self, spool: Path, cwd: Path) -> None:
        self.spool, self.cwd = spool, cwd

    def run(
        self,
        *args: str,
        stdin: str | bytes | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 60,
        cwd: Path | None = None,
        spool: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end and return what it printed; never raises for its exit code."""
        named = ["--spool", str(self.spool)] if spool else []
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [*command(), *named, *args],
            input=data if data is not None else b"",
            capture_output=True,
            env=environment(env),
            timeout=timeout,
            cwd=cwd or self.cwd,
        )
        out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def ok(self, *args: str, **kwargs: Any) -> str:
        """Run one command that must succeed, and return its output."""
        done = self.run(*args, **kwargs)
        assert done.returncode == 0, f"{args}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *args: str, **kwargs: Any) -> Any:
        """Run one command with --json and return what it shows."""
        return json.loads(self.ok(*args, "--json", **kwargs))

    def enqueue(self, *args: str, **kwargs: Any) -> str:
        """Enqueue one job and return its id."""
        return self.ok("enqueue", "-q", *args, **kwargs).strip()

    def enqueue_all(self, *jobs: Mapping[str, Any]) -> list[str]:
        """Enqueue many jobs at once, in this order, and return their ids."""
        lines = "".join(json.dumps(job) + "\n" for job in jobs)
        return self.ok("enqueue", "-q", "-f", "-", stdin=lines).split()

    def drain(self, count: int = 1, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        """Run workers until nothing is left to do."""
        done = self.run("worker", "start", "--count", str(count), "--drain", **kwargs)
        assert done.returncode == 0, done.stderr
        return done

    def start(
        self, *args: str, env: Mapping[str, str] | None = None, within: Sequence[str] = (), **kwargs: Any
    ) -> subprocess.Popen[bytes]:
        """Start a command in the background, in a process group of its own; `within` are words before it."""
        return subprocess.Popen(
            [*within, *command(), "--spool", str(self.spool), *args],
            env=environment(env),
            cwd=self.cwd,
            start_new_session=True,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **kwargs},
        )

    @contextlib.contextmanager
    def workers(self, *args: str, **kwargs: Any) -> Iterator[subprocess.Popen[bytes]]:
        """Run `worker start` in the background; when the block ends, end it and all its processes."""
        process = self.start("worker", "start", *args, **{"stdout": subprocess.DEVNULL, **kwargs})
        try:
            wait_until(lambda: self.worker_pids() or process.poll() is not None, what="workers to start")
            yield process
        finally:
            end(process)

    def drop(self, name: str | bytes, job: Mapping[str, Any] | bytes) -> Path:
        """Let a file of these bytes, or of this object's JSON, appear in pending/ by one rename, as mv does."""
        target = self.spool / "pending" / os.fsdecode(name)
        draft = self.cwd / f"draft-{os.getpid()}-{os.urandom(4).hex()}"
        draft.write_bytes(job if isinstance(job, bytes) else json.dumps(job).encode())
        os.rename(draft, target)
        return target

    def worker_pids(self) -> list[int]:
        """Return the pids of the worker processes that the spool's registry names."""
        pids = []
        for path in (self.spool / "workers").glob("*.json"):
            with contextlib.suppress(OSError, ValueError):
                info = json.loads(path.read_bytes())
                # The pid of one that was killed may be another's by now: a worker holds its file open.
                opened = (os.readlink(fd) for fd in Path(f"/proc/{info['pid']}/fd").iterdir())
                if info["role"] == "worker" and os.path.realpath(path) in opened:
                    pids.append(info["pid"])
        return pids

    def files(self, state: str) -> list[Path]:
        """Return the files of one of the spool's directories, sorted by name."""
        return sorted((self.spool / state).iterdir())

    def jobs(self, state: str) -> dict[str, Any]:
        """Return the jobs of a state as their files have them, by id."""
        found = {}
        for path in self.files(state):
            id = named(path)
            with contextlib.suppress(FileNotFoundError):
                if id is not None:
                    found[id] = json.loads(path.read_bytes())
        return found

    def counts(self) -> dict[str, int]:
        """Return how many files each state's directory holds."""
        return {state: len(self.files(state)) for state in STATES}

    def log(self, id: str) -> bytes:
        """Return a job's log."""
        return (self.spool / "logs" / f"{id}.log").read_bytes()

    def configure(self, **settings: object) -> None:
        """Write the spool's config.toml."""
        path = self.spool / "config.toml"
        path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
        path.chmod(0o600)

    def put(self, id: str, command: str | list[str], **fields: Any) -> None:
        """Put a job into `pending/` as other tools do, by rename; without a cwd it runs in the workers' directory."""
        self.drop(f"drop.of.{id}.json", {"id": id, "command": command, **fields})

    def names(self, id: str) -> list[Path]:
        """Return all the files in the directories of the states that have this id."""
        return [path for state in STATES for path in self.files(state) if named(path) == id]

    def job(self, id: str) -> dict[str, Any]:
        """Return a job as its file has it, wherever it is."""
        for _ in range(100):
            for path in self.names(id):
                with contextlib.suppress(FileNotFoundError):
                    found: dict[str, Any] = json.loads(path.read_bytes())
                    return found
        raise AssertionError(f"no job {id}")

    def ended(self, id: str) -> bool:
        """Say whether a job is completed or dead."""
        return self.state(id) in ("completed", "dead")

    def holders(self) -> list[int]:
        """Return the pids of all processes that have a file of the spool open: supervisors, workers, commands."""
        return holders(self.spool)

    def kill_all(self) -> None:
        """Kill every process that has a file of the spool open, at once and until there is none."""
        while pids := self.holders():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)

    def end_all(self) -> None:
        """Let the jobs that `HOLD` end, and kill whatever else still runs."""
        (self.cwd / "go").touch()
        self.kill_all()

    def state(self, id: str) -> str | None:
        """Return the state of a job by the directory that holds its file."""
        for _ in range(5):
            for state in ("pending", "failed", "processing", "completed", "dead"):
                if any(named(path) == id for path in self.files(state)):
                    return state
        return None


def next_line(stream: IO[bytes] | None) -> str:
    """Return the next line that a background command prints; fail the test when none comes."""
    assert stream is not None
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(stream.readline()), daemon=True)
    reader.start()
    reader.join(PATIENCE_S)
    assert found, f"no line within {PATIENCE_S} s"
    return found[0].decode()


def told(process: subprocess.Popen[bytes], text: str) -> None:
    """Wait until a background command says this on stderr."""
    while text not in (line := next_line(process.stderr)):
        assert line, f"{text!r} was not said"


def new_cli(place: Path) -> Cli:
    """Make a spool in a directory, with a directory beside it to call the command from."""
    work = place / "work"
    work.mkdir()
    made = Cli(place / "spool", work)
    made.ok("init", str(made.spool), spool=False)
    return made


def end(process: subprocess.Popen[bytes]) -> None:
    """End a background process and all in its group."""
    if process.poll() is None:
        process.send_signal(signal.SIGQUIT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(15)
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()


def family(pid: int) -> list[int]:
    """Return a process and all its living descendants."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_ticks(pid: int) -> int:
    """Return the processor time that a process and its living descendants have used, in clock ticks."""
    total = 0
    for member in family(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])  # utime and stime, proc_pid_stat(5)
    return total


def asleep(pid: int) -> bool:
    """Say whether a process and its descendants use no processor time for a moment."""
    before = cpu_ticks(pid), switches(pid)
    time.sleep(0.15)  # this is what is measured
    return before == (cpu_ticks(pid), switches(pid))


def switches(pid: int) -> int:
    """Return how often a process and its descendants, with all their threads, have been put to sleep or interrupted."""
    total = 0
    for member in family(pid):
        for task in Path(f"/proc/{member}/task").glob("*"):
            with contextlib.suppress(OSError):
                found = (task / "status").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in found if "ctxt_switches" in line)
    return total


def come_to_rest(process: subprocess.Popen[bytes], count: int) -> None:
    """Wait until workers have their watch armed and their first poll behind them, so that only a word wakes them."""
    wait_until(lambda: len(family(process.pid)) == count + 2, what="the process that watches")
    until = time.monotonic() + 1.5
    wait_until(lambda: time.monotonic() > until and asleep(process.pid), what="workers to come to rest")


@contextlib.contextmanager
def idle_workers(cli: Cli, count: int, poll: str = "3600") -> Iterator[subprocess.Popen[bytes]]:
    """Run workers that have come to rest, with their watch armed and their first poll behind them."""
    cli.ok("config", "set", "poll-interval-sec", poll)
    with cli.workers("--count", str(count), stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: len(cli.worker_pids()) == count)
        cli.drop("first.json", {"command": "true"})
        wait_until(lambda: cli.files("completed"))
        come_to_rest(process, count)
        yield process
