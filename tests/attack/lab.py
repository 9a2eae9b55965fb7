"""Where the attacks are made: orders to the zygote, the processes that come of them, strace, and the points."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from helpers import command, environment, holders, wait_until

PATIENCE_S = 90.0  # long enough for a machine that has much else to do; only what hangs waits so long
ZYGOTE = Path(__file__).with_name("zygote.py")
# What changes the spool, or the lock on a job, or starts something.
CALLS = (
    *("openat", "write", "pwrite64", "close", "fsync", "fdatasync", "syncfs", "flock", "ftruncate", "fchmod", "chmod"),
    *(
        "rename",
        "renameat",
        "renameat2",
        "unlink",
        "unlinkat",
        "link",
        "linkat",
        "symlink",
        "mkdir",
        "mkdirat",
        "rmdir",
    ),
    *("fork", "vfork", "clone", "clone3", "pidfd_open"),
)
STARTS = ("fork", "vfork", "clone", "clone3", "pidfd_open")
_LINE = re.compile(r"(?:(\d+) +)?(\w+)\((.*)")
_NUMBERS = re.compile(r"\d{8}T\d{9}Z|(?<=\.)\d+(?=[.\">])|[0-9a-f]{8,}")


@dataclass(frozen=True)
class Point:
    """The n-th call of a name in a process, with what it was when the operation was traced."""

    call: str
    number: int
    what: str

    def __str__(self) -> str:
        return f"{self.call} #{self.number} {self.what}"

    @property
    def only_reads(self) -> bool:
        """Whether the call opens something that is there already."""
        return self.call == "openat" and not self.creates

    @property
    def creates(self) -> bool:
        return self.call == "openat" and "O_CREAT" in self.what


class Process:
    """Something that the zygote has forked."""

    def __init__(self, pid: int, to: Path, what: str) -> None:
        self.pid, self._to, self._what = pid, to, what
        try:
            self._pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._pidfd = -1

    def wait(self, timeout: float = PATIENCE_S) -> int | None:
        """Return the exit code once it has ended; None when it was killed."""
        if self._pidfd >= 0:
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            left = timeout
            while not poll.poll(1000):  # in steps, so that a machine which stands still is not taken for a process
                left -= 1
                if left < 0:
                    raise AssertionError(f"{self._what} has not ended within {timeout} s\n{self.err}")
            os.close(self._pidfd)
            self._pidfd = -1
        with contextlib.suppress(FileNotFoundError):
            return int(self._to.with_suffix(".code").read_text())
        return None

    def ended(self) -> bool:
        """Say whether it has ended."""
        poll = select.poll()
        if self._pidfd >= 0:
            poll.register(self._pidfd, select.POLLIN)
        return self._pidfd < 0 or bool(poll.poll(0))

    @property
    def out(self) -> str:
        """What it has printed."""
        return self._to.with_suffix(".out").read_text()

    @property
    def err(self) -> str:
        """What it has printed as messages."""
        return self._to.with_suffix(".err").read_text()


class Zygote:
    """The process that forks, started when first needed; to be used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._serial = 0

    def order(
        self, place: Path, *arguments: str, hold: str = "", gate: str = "", cwd: Path | None = None, name: str = "did"
    ) -> Process:
        """Let a command line, or `work SPOOL`, be carried out."""
        with self._lock:
            if self._process is None:
                pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
                command = [sys.executable, str(ZYGOTE)]
                self._process = subprocess.Popen(command, env=environment(), **pipes)  # type: ignore[call-overload]
            self._serial += 1
            to = place / f"{name}-{self._serial}.x"
            work = str(cwd or place / "work")
            order = {"arguments": arguments, "hold": hold, "gate": gate, "cwd": work, "to": str(to.with_suffix(""))}
            stdin, stdout = self._process.stdin, self._process.stdout
            assert stdin is not None
            assert stdout is not None
            stdin.write(json.dumps(order).encode() + b"\n")
            stdin.flush()
            return Process(int(stdout.readline()), to, " ".join(arguments))

    def close(self) -> None:
        """Let it end."""
        if self._process is not None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.close()
            self._process.wait()
            self._process.stdout.close()


class Strace:
    """strace on one process, and what it has written down."""

    def __init__(self, pid: int, place: Path, injection: str = "", calls: Iterable[str] = CALLS) -> None:
        self._trace = place / f"trace.{pid}"
        inject = ["-e", f"inject={injection}"] if injection else []
        traced = ",".join(dict.fromkeys([*calls, *([injection.partition(":")[0]] if injection else [])]))
        self._process = subprocess.Popen(
            ["strace", "-y", "-s", "0", "-o", str(self._trace), "-e", f"trace={traced}", *inject, "-p", str(pid)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        assert b"attached" in line, line

    def lines(self) -> list[str]:
        """Return what has been traced."""
        return self._trace.read_text().splitlines()

    def stopped(self) -> bool:
        """Say whether the process has been stopped."""
        return "--- stopped by SIGSTOP ---" in self._trace.read_text()

    def hit(self) -> bool:
        """Say whether the injection has happened."""
        text = self._trace.read_text()
        return any(mark in text for mark in ("(INJECTED)", "+++ killed by SIGKILL +++", "--- SIGSTOP {"))

    def end(self) -> None:
        """Wait until it has ended with its process."""
        assert self._process.stderr is not None
        wait_until(lambda: self._process.poll() is not None, PATIENCE_S, "the end of strace")
        self._process.stderr.close()

    def close(self) -> None:
        """End it; the process goes on untraced."""
        self._process.kill()
        self.end()


def points(lines: Iterable[str], spool: Path, after: str = "") -> list[Point]:
    """Return the calls that change a spool, numbered by name as strace counts them; those after a call of `after`."""
    counts: dict[str, int] = {}
    found: list[Point] = []
    seen = not after
    for line in lines:
        match = _LINE.match(line)
        if match is None or "resumed" in line:
            continue
        call, rest = match[2], match[3]
        counts[call] = counts.get(call, 0) + 1
        if seen and _matters(call, rest, str(spool)):
            found.append(Point(call, counts[call], _brief(rest, str(spool))))
        seen = seen or call == after
    return found


def sample(all_points: Sequence[Point]) -> list[Point]:
    """Return of calls that look alike the first, the second and the last."""
    kept = {point for group in _alike(all_points) for point in (*group[:2], group[-1])}
    return [point for point in all_points if point in kept]


def certain(all_points: Sequence[Point]) -> list[Point]:
    """Return the points of a process that polls which are the same each time: until it repeats itself, and by name."""
    repeated = {point.call for group in _alike(all_points) for point in group[1:]}
    firsts = {group[0] for group in _alike(all_points)}
    found: list[Point] = []
    steady = True
    for point in all_points:
        steady = steady and point in firsts
        if steady or point.call not in repeated:
            found.append(point)
    return found


def _alike(all_points: Sequence[Point]) -> list[list[Point]]:
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in all_points:
        groups.setdefault((point.call, point.what), []).append(point)
    return list(groups.values())


def _matters(call: str, rest: str, spool: str) -> bool:
    if call in STARTS:
        return True
    if f"{spool}/" not in rest and f"{spool}>" not in rest:
        return False
    if call == "openat":
        return "O_DIRECTORY" not in rest
    if call == "close":  # of a file, whose lock it may be, not of a directory
        return bool(re.search(r"/[a-z]+/[^>/]+>", rest.partition(spool)[2]))
    return True


def _brief(rest: str, spool: str) -> str:
    """Return the arguments of a call without what is different each time."""
    text = re.sub(r" += .*", "", rest).replace(f"{spool}/", "").replace(spool, ".")
    return _NUMBERS.sub("#", re.sub(r"\d+<", "<", text))[:110]


class Bench:
    """A spool of its own for one point, copied from a template, and what is done there."""

    def __init__(self, zygote: Zygote, template: Path, place: Path) -> None:
        self.zygote, self.place = zygote, place
        self.spool, self.work = place / "spool", place / "work"
        shutil.copytree(template, place, symlinks=True)
        self._gate = -1
        self._processes: list[Process] = []
        self._straces: list[Strace | Installed] = []

    def do_installed(self, *arguments: str, injection: str = "") -> Installed:
        """Start the installed command under strace."""
        self._straces.append(started := Installed(self, *arguments, injection=injection))
        return started

    def do(self, *arguments: str, hold: str = "") -> Process:
        """Let a command line be carried out on the spool."""
        gate = ""
        if hold:
            gate = str(self.place / "gate")
            os.mkfifo(gate)
            self._gate = os.open(gate, os.O_RDWR)
        named = (arguments[0], str(self.spool)) if arguments[0] == "work" else ("--spool", str(self.spool), *arguments)
        self._processes.append(self.zygote.order(self.place, *named, hold=hold, gate=gate))
        return self._processes[-1]

    def wait(self) -> None:
        """Wait until all has ended that was started."""
        for process in self._processes:
            process.wait()

    def drain(self) -> None:
        """Let a fresh worker finish what there is to do."""
        ended = self.do("worker", "start", "--count", "1", "--drain")
        code = ended.wait()
        assert code == 0, f"the fresh worker ended with {code}: {ended.err}"

    def attach(self, injection: str = "") -> Strace:
        """Trace whoever waits at the gate, and let it go on."""
        path = self.place / "gate.pid"
        wait_until(path.exists, PATIENCE_S, "somebody at the gate")
        strace = Strace(int(path.read_text()), self.place, injection)
        self._straces.append(strace)
        os.write(self._gate, b"x")
        os.close(self._gate)
        self._gate = -1
        return strace

    def holders(self) -> list[int]:
        """Return the pids of processes that have a file of the spool open."""
        return holders(self.spool)

    def close(self) -> None:
        """End what still runs, and delete all."""
        if self._gate >= 0:
            os.close(self._gate)
        for strace in self._straces:
            strace.close()
        deadline = time.monotonic() + PATIENCE_S
        while (pids := self.holders()) and time.monotonic() < deadline:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)
        shutil.rmtree(self.place, ignore_errors=True)


@dataclass
class Tried:
    """What came of attacking one operation."""

    points: list[Point] = field(default_factory=list)
    missed: list[Point] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)


def listed(parts: Sequence[str]) -> str:
    """Return lines for an assertion's message."""
    return "\n".join(f"  {part}" for part in parts)


class Installed:
    """The installed command under strace, with all that it forks; its jobs' commands are let go when they begin."""

    def __init__(self, bench: Bench, *arguments: str, injection: str = "") -> None:
        self._trace = bench.place / "installed.trace"
        inject = ["-e", f"inject={injection}"] if injection else []
        watch = ["-f", "-b", "execve", "-y", "-s", "0", "-o", str(self._trace), "-e", f"trace={','.join(CALLS)}"]
        self._out, self._err = bench.place / "installed.out", bench.place / "installed.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._strace = subprocess.Popen(
                ["strace", *watch, *inject, *command(), "--spool", str(bench.spool), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=bench.work,
                env=environment(),
            )

    def by_process(self) -> dict[int, list[str]]:
        """Return what each process has called, in the order of their first calls."""
        found: dict[int, list[str]] = {}
        text = self._trace.read_text() if self._trace.exists() else ""
        for line in text.splitlines():
            pid, _, call = line.partition(" ")
            found.setdefault(int(pid), []).append(call.lstrip())
        return found

    def mark(self, text: str) -> int:
        """Return the pid of the first process in whose trace a text stands, 0 when there is none."""
        return next((pid for pid, lines in self.by_process().items() if any(text in line for line in lines)), 0)

    def ended(self) -> bool:
        """Say whether all have ended."""
        return self._strace.poll() is not None

    def wait(self) -> int | None:
        """Return the exit code once it has ended; None when it was killed."""
        wait_until(self.ended, PATIENCE_S, "the end of what was installed")
        code = self._strace.wait()
        return None if code < 0 else code

    def close(self) -> None:
        """End strace; what it has traced goes on."""
        self._strace.kill()
        self._strace.wait()

    @property
    def out(self) -> str:
        """What it has printed."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """What it has printed as messages."""
        return self._err.read_text()
