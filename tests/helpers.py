"""What tests share: the installed command, workers as real processes, and waiting for a condition."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
STATES = ("pending", "processing", "completed", "failed", "dead")
PATIENCE_S = 30.0


def wait_until(condition: Callable[[], T], timeout: float = PATIENCE_S, what: str = "") -> T:
    """Return the first true value of `condition`; fail the test when there is none in time."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or condition}")
        time.sleep(0.01)


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

    def drain(self, count: int = 1, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        """Run workers until nothing is left to do."""
        done = self.run("worker", "start", "--count", str(count), "--drain", **kwargs)
        assert done.returncode == 0, done.stderr
        return done

    def start(self, *args: str, env: Mapping[str, str] | None = None, **kwargs: Any) -> subprocess.Popen[bytes]:
        """Start a command in the background, in a process group of its own, and return the process."""
        return subprocess.Popen(
            [*command(), "--spool", str(self.spool), *args],
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

    def worker_pids(self) -> list[int]:
        """Return the pids of the worker processes that the spool's registry names."""
        pids = []
        for path in (self.spool / "workers").glob("*.json"):
            with contextlib.suppress(OSError, ValueError):
                info = json.loads(path.read_bytes())
                if info["role"] == "worker" and Path(f"/proc/{info['pid']}").exists():
                    pids.append(info["pid"])
        return pids

    def files(self, state: str) -> list[Path]:
        """Return the files of one of the spool's directories, sorted by name."""
        return sorted((self.spool / state).iterdir())

    def jobs(self, state: str) -> dict[str, Any]:
        """Return the jobs of a state as their files have them, by id."""
        found = {}
        for path in self.files(state):
            with contextlib.suppress(FileNotFoundError):
                found[path.name.split(".", 2)[2].removesuffix(".json")] = json.loads(path.read_bytes())
        return found

    def counts(self) -> dict[str, int]:
        """Return how many files each state's directory holds."""
        return {state: len(self.files(state)) for state in STATES}

    def log(self, id: str) -> bytes:
        """Return a job's log."""
        return (self.spool / "logs" / f"{id}.log").read_bytes()

    def state(self, id: str) -> str | None:
        """Return the state of a job by the directory that holds its file."""
        for _ in range(5):
            for state in ("pending", "failed", "processing", "completed", "dead"):
                if any(path.name.split(".", 2)[2] == f"{id}.json" for path in self.files(state)):
                    return state
        return None


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
