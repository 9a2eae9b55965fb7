"""Start, time and end other programs; the only user of subprocess here.

Every program is bounded in time and is its own session, so that it can be ended whole. This process is the reaper of
whatever its children leave behind (daemons such as those of tsp and nq), so that `sweep` finds all of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 300.0
NOTHING: Mapping[str, str] = MappingProxyType({})
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


class BenchError(Exception):
    """A program failed or did not do what it was measured for; the figure is void."""


def environment() -> dict[str, str]:
    """Return the environment of every program: no settings of queuectl or Python, this checkout first on the path.

    PYTHONDONTWRITEBYTECODE among them would have each start of a checkout compile it anew.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith(("QUEUECTL_", "PYTHON"))}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return env


def start(
    args: Sequence[str], *, stdin: Path | None = None, errors: IO[bytes] | None = None, env: Mapping[str, str] = NOTHING
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, silent but for what `errors` takes."""
    with open(stdin or os.devnull, "rb") as source:
        return subprocess.Popen(
            args,
            stdin=source,
            stdout=subprocess.DEVNULL,
            stderr=errors or subprocess.DEVNULL,
            env={**environment(), **env},
            start_new_session=True,
        )


def timed(
    args: Sequence[str],
    *,
    stdin: Path | None = None,
    timeout: float = TIMEOUT_S,
    errors: IO[bytes] | None = None,
    env: Mapping[str, str] = NOTHING,
) -> float:
    """Run a program to its end, silent; returns the wall seconds. Raises `BenchError` when it fails or lasts."""
    began = time.perf_counter()
    process = start(args, stdin=stdin, errors=errors, env=env)
    # Popen.wait(timeout) polls with pauses of up to 50 ms, which would end up in the figure.
    watchdog = threading.Timer(timeout, kill, [process])
    watchdog.start()
    try:
        process.wait()
        took = time.perf_counter() - began
    except BaseException:
        kill(process)
        raise
    finally:
        watchdog.cancel()
    if process.returncode:
        why = f"no end within {timeout:g} s" if took >= timeout else f"exit {process.returncode}"
        raise BenchError(f"{brief(args)}: {why}")
    return took


def timed_aloud(args: Sequence[str], *, timeout: float = TIMEOUT_S) -> float:
    """Run a program as `timed` does, and put its own words into the error when it fails."""
    with tempfile.TemporaryFile() as errors:
        try:
            return timed(args, timeout=timeout, errors=errors)
        except BenchError as error:
            errors.seek(0)
            raise BenchError(f"{error} {errors.read().decode(errors='replace').strip()[-200:]}") from None


def brief(args: Sequence[str]) -> str:
    """Spell a command line for an error, without the paths among its words."""
    words = [Path(args[0]).name, *(word for word in args[1:] if not word.startswith("/"))]
    return " ".join(words)[:80]


def output(args: Sequence[str], *, timeout: float = TIMEOUT_S, env: Mapping[str, str] = NOTHING) -> str:
    """Run a program that is not measured; returns what it printed. Raises `BenchError` with its own words."""
    try:
        done = subprocess.run(
            args,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**environment(), **env},
            timeout=timeout,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"{brief(args)}: no end within {timeout:g} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise BenchError(f"{brief(args)}: exit {done.returncode} {' '.join(said)}")
    return done.stdout.decode(errors="replace")


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a program and its session at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def stop(process: subprocess.Popen[bytes], grace: float = 20.0) -> None:
    """Ask a program to end, and make it."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    kill(process)


@contextlib.contextmanager
def running(args: Sequence[str], env: Mapping[str, str] = NOTHING) -> Iterator[subprocess.Popen[bytes]]:
    """Have a program running for the length of the block."""
    process = start(args, env=env)
    try:
        yield process
    finally:
        stop(process)


def wait_until(done: Callable[[], bool], what: str, timeout: float = 60.0, every: float = 0.01) -> None:
    """Look again and again until `done`; raises `BenchError` naming `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not done():
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not within {timeout:g} s")
        time.sleep(every)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, so that none escapes `sweep`."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def tree(root: int) -> list[int]:
    """Return a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu(root: int) -> dict[str, float]:
    """Return the CPU seconds of each thread of a process tree: schedstat, since stat counts in steps of 10 ms."""
    found = {}
    for pid in tree(root):
        for task in Path(f"/proc/{pid}/task").glob("*"):
            with contextlib.suppress(OSError):
                found[task.name] = int((task / "schedstat").read_text().split()[0]) * 1e-9
    return found


def wait_until_quiet(root: int, *, at_least: float = 7.0, timeout: float = 120.0) -> None:
    """Return when a process tree has used next to no CPU for two seconds, so that its first work is done."""
    began, quiet, before = time.monotonic(), 0, sum(cpu(root).values())
    while quiet < 2 or time.monotonic() < began + at_least:
        if time.monotonic() > began + timeout:
            raise BenchError(f"workers that should be idle have not come to rest within {timeout:g} s")
        time.sleep(1)
        now = sum(cpu(root).values())
        quiet = quiet + 1 if now - before < 0.02 else 0
        before = now


def peak_memory(pid: int) -> float:
    """Return the most memory that a process has had so far, in MB (VmHWM of its status, with what it shares)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise BenchError(f"no VmHWM in the status of process {pid}")


def sweep() -> None:
    """End and reap every process that a benchmark left behind."""
    for _ in range(20):
        left = tree(os.getpid())[1:]
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.05)
