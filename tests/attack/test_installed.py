"""The same attacks on the installed command from its very start, with its supervisor and its worker under strace.

strace counts the calls of each process apart, and attacks each of them at its n-th call of a name: so the points here
are those of the supervisor before it forks, and those of the worker that the supervisor never comes to. After the
first death strace is taken away, and what lives goes on.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from helpers import wait_until

from attack.attacks import Range, errors, finish, judge, let_go, others_work, prolong, unclear
from attack.lab import PATIENCE_S, Bench, Point, Tried, points
from attack.operations import COMMANDS, GOOD, LATER, WORKERS, Attack, Operation, one_name, put, starts

DRAIN = ("worker", "start", "--count", "1", "--drain")
WORKER, ENQUEUE = WORKERS[0], COMMANDS[0]
DIED, STOPPED = "+++ killed by SIGKILL +++", "--- stopped by SIGSTOP ---"

Report = Callable[[str, str, Tried], None]
Template = Callable[[Operation], Path]
Places = tuple[list[Point], list[Point]]


@pytest.fixture(scope="session")
def places(shooting: Range, template: Callable[[Operation], Path]) -> Places:
    """The points of the supervisor before it forks, and those of the worker at which nobody else is hit."""
    bench = shooting.bench(template(WORKER))
    try:
        traced = bench.do_installed(*DRAIN)
        assert traced.wait() == 0, traced.err
        first, second = list(traced.by_process().values())[:2]
        called = {line.partition("(")[0] for line in first}
        above = points(
            first[: next(place for place, line in enumerate(first) if line.startswith("clone"))], bench.spool
        )
        below = [point for point in points(second, bench.spool) if point.call not in called]
    finally:
        bench.close()
    return [point for point in above if not point.only_reads], below


@pytest.fixture
def some(request: pytest.FixtureRequest) -> Callable[[Sequence[Point]], Sequence[Point]]:
    """Choose every fourth point, or with --thorough every one."""
    return lambda found: found if request.config.getoption("--thorough") else found[1::4]


@pytest.fixture
def attacked(shooting: Range, template: Template) -> Callable[..., Tried]:
    """Attack an operation of the installed command at some points, one after the other."""

    def go(how: Callable[[Bench, Operation, Point], list[str]], operation: Operation, chosen: Sequence[Point]) -> Tried:
        tried = Tried()
        for point in chosen:
            bench = shooting.bench(template(operation))
            try:
                wrong = how(bench, operation, point)
            except AssertionError as error:
                wrong = [str(error)]
            finally:
                bench.close()
            tried.points.append(point)
            tried.violations += [f"at {point}: {text}" for text in wrong]
        return tried

    return go


def killed(bench: Bench, operation: Operation, point: Point) -> list[str]:
    """Kill at a point whoever comes to it first; the others go on without strace."""
    lasts = prolong(bench, operation, point)
    traced = bench.do_installed(
        *(operation.arguments or DRAIN), injection=f"{point.call}:signal=KILL:when={point.number}"
    )
    wait_until(lambda: traced.mark(DIED) or traced.ended(), PATIENCE_S, "a death")
    traced.close()
    deaths = sum(DIED in line for lines in traced.by_process().values() for line in lines)
    wrong = list(one_name(bench))
    if not deaths:
        return ["nobody came to it"]
    if lasts:
        wrong += others_work(bench, beside=True)
    let_go(bench)
    wait_until(lambda: not bench.holders(), PATIENCE_S, "those that live to end")
    finish(bench)
    return wrong + judge(bench, operation, Attack("kill", deaths=deaths), point.call, traced, None)


def failed(bench: Bench, operation: Operation, point: Point) -> list[str]:
    """Let a call fail once."""
    error = errors(point)[0]
    traced = bench.do_installed(*DRAIN, injection=f"{point.call}:error={error}:when={point.number}")
    code = traced.wait()
    if not traced.mark("(INJECTED)"):
        return ["nobody came to it"]
    attack = Attack("fail", error)
    return [*unclear(traced, operation, code), *judge(bench, operation, attack, point.call, traced, code)]


def stopped(bench: Bench, operation: Operation, point: Point) -> list[str]:
    """Stop the worker at a point, let another one work, and let it go on."""
    put(bench, "other", GOOD, LATER, 0)
    lasts = prolong(bench, operation, point)
    traced = bench.do_installed(*DRAIN, injection=f"{point.call}:signal=STOP:when={point.number}")
    wait_until(lambda: traced.mark(STOPPED) or traced.ended(), PATIENCE_S, "a stop")
    pid = traced.mark(STOPPED)
    if not pid:
        return ["nobody came to it"]
    wrong = list(one_name(bench)) + others_work(bench, beside=lasts)
    os.kill(pid, signal.SIGCONT)
    let_go(bench)
    code = traced.wait()
    finish(bench)
    wrong += [f"the other job was started {starts(bench, 'other')} times"] * (starts(bench, "other") != 1)
    return wrong + judge(bench, operation, Attack("stop"), point.call, traced, code)


def test_the_installed_enqueue_may_be_killed_at_any_call(
    shooting: Range, template: Template, attacked: Callable[..., Tried], report: Report
) -> None:
    bench = shooting.bench(template(ENQUEUE))
    try:
        traced = bench.do_installed(*ENQUEUE.arguments)
        assert traced.wait() == 0, traced.err
        (lines,) = traced.by_process().values()
        found = [point for point in points(lines, bench.spool) if not point.only_reads]
    finally:
        bench.close()
    report("kill", "installed: enqueue", attacked(killed, ENQUEUE, found))


def test_the_installed_worker_may_be_killed_at_any_call_and_its_supervisor_starts_another(
    places: Places, attacked: Callable[..., Tried], report: Report
) -> None:
    report("kill", "installed: worker start, the worker", attacked(killed, WORKER, places[1]))


def test_the_installed_supervisor_may_be_killed_at_any_call_before_it_has_workers(
    places: Places,
    attacked: Callable[..., Tried],
    report: Report,
    some: Callable[[Sequence[Point]], Sequence[Point]],
) -> None:
    supervisor = COMMANDS[-1]
    report("kill", "installed: worker start, the supervisor", attacked(killed, supervisor, some(places[0])))


def test_calls_of_the_installed_worker_may_fail(places: Places, attacked: Callable[..., Tried], report: Report) -> None:
    report("fail", "installed: worker start, the worker", attacked(failed, WORKER, places[1]))


def test_the_installed_worker_may_be_stopped_at_any_call_while_another_works(
    places: Places, attacked: Callable[..., Tried], report: Report
) -> None:
    report("stop", "installed: worker start, the worker", attacked(stopped, WORKER, places[1]))
