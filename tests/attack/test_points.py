"""At every system call that changes the spool: the process is killed, the call fails, the process is stopped.

Each operation is traced once, undisturbed. Then it is done anew for each call, on a fresh spool, with the attack at
that call. A failure names the points; `--point TEXT` tries only those that contain the text, `--thorough` all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from attack.attacks import Range, errors
from attack.lab import Point, Tried
from attack.operations import OPERATIONS, Attack, Operation

Choose = Callable[[Operation, list[Point]], list[Point]]
Report = Callable[[str, str, Tried], None]
Template = Callable[[Operation], Path]

each = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)


@each
def test_a_process_may_be_killed_at_any_call_and_a_fresh_worker_finishes(
    shooting: Range, template: Template, choose: Choose, report: Report, operation: Operation
) -> None:
    found = shooting.points(operation, template(operation), supervised=False)
    chosen = [point for point in choose(operation, found) if not point.only_reads]
    tried = Tried()
    shooting.attack(tried, Attack("kill"), operation, template(operation), chosen)
    report("kill", operation.name, tried)


@each
def test_any_call_may_fail_and_is_told_of_in_a_line_and_the_worker_goes_on(
    shooting: Range,
    template: Template,
    choose: Choose,
    report: Report,
    operation: Operation,
    request: pytest.FixtureRequest,
) -> None:
    found = choose(operation, shooting.points(operation, template(operation), supervised=True))
    thorough = request.config.getoption("--thorough") or request.config.getoption("--point")
    plan = every_error(found) if thorough else in_turn(found, OPERATIONS.index(operation))
    tried = Tried()
    for error, chosen in plan.items():
        shooting.attack(tried, Attack("fail", error), operation, template(operation), chosen)
    report("fail", operation.name, tried)


def every_error(found: list[Point]) -> dict[str, list[Point]]:
    """Let each call fail with each error that makes sense for it."""
    known = dict.fromkeys(error for point in found for error in errors(point))
    return {error: [point for point in found if error in errors(point)] for error in known}


def in_turn(found: list[Point], first: int) -> dict[str, list[Point]]:
    """Let each call fail once, calls of one kind with one error after the other."""
    plan: dict[str, list[Point]] = {}
    turn: dict[tuple[str, ...], int] = {}
    for point in found:
        possible = tuple(errors(point))
        if possible:
            turn[possible] = turn.get(possible, first) + 1
            plan.setdefault(possible[turn[possible] % len(possible)], []).append(point)
    return plan


@each
def test_a_process_may_be_stopped_at_any_call_while_another_works_and_no_job_runs_twice(
    shooting: Range, template: Template, choose: Choose, report: Report, operation: Operation
) -> None:
    found = shooting.points(operation, template(operation), supervised=True)
    chosen = [point for point in choose(operation, found) if not point.only_reads]
    tried = Tried()
    shooting.attack(tried, Attack("stop"), operation, template(operation), chosen)
    report("stop", operation.name, tried)
