"""The three attacks: kill a process at a call, let the call fail, stop the process there while another one works."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from helpers import wait_until

from attack.lab import PATIENCE_S, Bench, Installed, Point, Process, Strace, Tried, Zygote, points
from attack.operations import GOOD, LATER, Attack, Operation, one_name, put, starts, violations

AT_ONCE = 6  # points that are tried side by side, since most of them wait most of the time
TRIES = 3
# What may go wrong with which call; close is left out, since a close that fails has closed all the same.
DISK = ("ENOSPC", "EIO", "EROFS")
ERRORS = {
    "openat": ("EMFILE", "EIO"),
    "write": ("ENOSPC", "EIO"),
    "fsync": ("EIO", "ENOSPC"),
    "fdatasync": ("EIO", "ENOSPC"),
    "syncfs": ("EIO", "ENOSPC"),
    "flock": ("ENOLCK",),
    "ftruncate": ("EIO",),
    **dict.fromkeys(("fchmod", "chmod"), ("EIO", "EROFS")),
    **dict.fromkeys(("rename", "renameat", "renameat2", "link", "linkat", "symlink", "mkdir", "mkdirat"), DISK),
    **dict.fromkeys(("unlink", "unlinkat", "rmdir"), ("EIO", "EROFS")),
    **dict.fromkeys(("fork", "vfork", "clone", "clone3"), ("EAGAIN", "ENOMEM")),
    "pidfd_open": ("EMFILE",),
}
_ONE_LINE = re.compile(
    r"error: .+|hint: .+|warning: .+|Drained: .+|.+; stopping|No file notification .+"
    r"|\[Worker \d+\] .+|Worker \d+ has ended .+"
)


def errors(point: Point) -> Sequence[str]:
    """Return the errors that make sense for a call."""
    return (*DISK, "EMFILE") if point.creates else ERRORS.get(point.call, ())


class Range:
    """Attacks operations, each point on a fresh copy of the operation's spool."""

    def __init__(self, zygote: Zygote, place: Path) -> None:
        self._zygote, self._place, self._serial = zygote, place, 0

    def bench(self, template: Path) -> Bench:
        """Return a fresh copy of a spool and what belongs to it."""
        self._serial += 1
        return Bench(self._zygote, template, self._place / f"at-{self._serial}")

    def points(self, operation: Operation, template: Path, *, supervised: bool) -> list[Point]:
        """Trace an operation once, undisturbed; it must do what it is for."""
        bench = self.bench(template)
        try:
            victim, strace = begin(bench, operation, "", supervised=supervised)
            code = victim.wait()
            strace.end()
            assert code == 0, f"{operation.name}: exit {code}: {victim.err}"
            finish(bench)
            wrong = judge(bench, operation, Attack("stop"), "", victim, code)
            assert not wrong, wrong
            return points(strace.lines(), bench.spool, operation.after)
        finally:
            bench.close()

    def attack(
        self, tried: Tried, attack: Attack, operation: Operation, template: Path, chosen: Sequence[Point]
    ) -> None:
        """Attack an operation at each of the points."""
        how = {"kill": kill, "fail": fail, "stop": stop}[attack.kind]

        def try_one(point: Point) -> tuple[bool, list[str]]:
            for _ in range(TRIES):  # how often a call is made may differ from time to time
                bench = self.bench(template)
                try:
                    hit, wrong = how(bench, operation, attack, point)
                except AssertionError as error:  # a wait without end
                    hit, wrong = True, [str(error)]
                finally:
                    bench.close()
                if hit or wrong:
                    break
            return hit, wrong

        with ThreadPoolExecutor(AT_ONCE) as pool:
            for point, (hit, wrong) in zip(chosen, pool.map(try_one, chosen), strict=True):
                tried.points.append(point)
                if not hit:
                    tried.missed.append(point)
                tried.violations += [f"{attack.error or attack.kind} at {point}: {text}" for text in wrong]


def begin(bench: Bench, operation: Operation, injection: str, *, supervised: bool) -> tuple[Process, Strace]:
    """Start an operation with strace on it; what belongs beside it is done."""
    if operation.before:
        operation.before(bench)
    victim = operation.start(bench, supervised=supervised)
    strace = bench.attach(injection)
    if operation.alongside:
        operation.alongside(bench)
    return victim, strace


def finish(bench: Bench) -> None:
    """Let commands end that wait for it, and a fresh worker do what there is to do."""
    let_go(bench)
    bench.wait()
    bench.drain()


def let_go(bench: Bench) -> None:
    """Let commands end that wait for it."""
    (bench.work / "go").touch()
    (bench.work / "wait").unlink(missing_ok=True)


def prolong(bench: Bench, operation: Operation, point: Point) -> bool:
    """Let the command go on that has been started when the point is reached; False when the point is another one.

    There is none at the call that starts it: a process that is killed or stopped there does so before.
    """
    if not operation.is_worker or point.call != "pidfd_open":
        return False
    (bench.work / "wait").write_text(f"{point.number}\n")
    return True


def judge(
    bench: Bench, operation: Operation, attack: Attack, call: str, victim: Process | Installed, code: int | None
) -> list[str]:
    """Return what is wrong after it all."""
    made = operation.made(victim.out) if operation.made else set()
    return list(violations(bench, operation, attack, call, made if code == 0 else set(), code))


def kill(bench: Bench, operation: Operation, attack: Attack, point: Point) -> tuple[bool, list[str]]:
    """Kill the process at the call; a fresh worker finishes."""
    lasts = prolong(bench, operation, point)
    victim, strace = begin(bench, operation, f"{point.call}:signal=KILL:when={point.number}", supervised=False)
    wait_until(lambda: strace.hit() or victim.ended(), what="the process to die")
    wrong = list(one_name(bench))
    if lasts:
        wrong += others_work(bench, beside=True)
    let_go(bench)
    code = victim.wait()
    strace.end()
    if operation.name == "enqueue --id" and code != 0:
        again = bench.do(*operation.arguments)
        if again.wait() not in (0, 5):
            wrong.append(f"sent again: {again.err}")
    finish(bench)
    return strace.hit(), wrong + judge(bench, operation, attack, point.call, victim, code)


def others_work(bench: Bench, *, beside: bool) -> list[str]:
    """Let another worker recover and work, until nothing is ready; what runs or is held it must leave.

    It works `beside` a command that goes on. That one must have begun, or a command of the other worker would be the
    one that waits until both have ended.
    """
    if beside:
        wait_until((bench.work / "waits").exists, PATIENCE_S, "the command to begin")
    other = bench.do("work")
    return [f"the other worker: {other.err}"] if other.wait() != 0 else []


def fail(bench: Bench, operation: Operation, attack: Attack, point: Point) -> tuple[bool, list[str]]:
    """Let the call fail once; the process says so in a line, and a worker goes on by itself."""
    injection = f"{point.call}:error={attack.error}:when={point.number}"
    victim, strace = begin(bench, operation, injection, supervised=True)
    code = victim.wait()
    strace.end()
    wrong = list(one_name(bench)) + list(unclear(victim, operation, code))
    if operation.is_worker:
        wrong += judge(bench, operation, attack, point.call, victim, code)
    finish(bench)
    return strace.hit(), wrong or judge(bench, operation, attack, point.call, victim, code)


def unclear(victim: Process | Installed, operation: Operation, code: int | None) -> Iterator[str]:
    """Yield what a person should not see."""
    lines = victim.err.splitlines()
    if code is None or (operation.is_worker and code != 0) or code not in (0, 1, 6):
        yield f"exit {code}: {lines}"
    if code and not any(line.startswith("error: ") or line.endswith("; stopping") for line in lines):
        yield f"exit {code} without a message: {lines}"
    if code and len(lines) > 2 and not operation.name.startswith("worker"):
        yield f"more than an error and a hint: {lines}"
    strange = [line for line in lines if not _ONE_LINE.fullmatch(line)]
    if strange:
        yield f"said {strange[-3:]}"


def stop(bench: Bench, operation: Operation, attack: Attack, point: Point) -> tuple[bool, list[str]]:
    """Stop the process at the call, let another worker recover and work, and let the process go on."""
    put(bench, "other", GOOD, LATER, 0)
    lasts = prolong(bench, operation, point)
    injection = f"{point.call}:signal=STOP:when={point.number}"
    victim, strace = begin(bench, operation, injection, supervised=True)
    wait_until(lambda: strace.stopped() or victim.ended(), what="the process to stop")
    wrong = list(one_name(bench))
    if strace.stopped():
        wrong += others_work(bench, beside=lasts)
        wrong += one_name(bench)
        os.kill(int((bench.place / "gate.pid").read_text()), signal.SIGCONT)
    let_go(bench)
    code = victim.wait()
    strace.end()
    finish(bench)
    if starts(bench, "other") != 1:
        wrong.append(f"the other job was started {starts(bench, 'other')} times")
    return strace.hit(), wrong + judge(bench, operation, attack, point.call, victim, code)
