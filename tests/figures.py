"""What the tests print under their results: how much the attacks have tried, and how far the model was explored.

Called from the outermost conftest: with several processes, the one that prints has not loaded any other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FIGURES = "ATTACK_FIGURES"  # a file that takes the figures of the points as JSON


def show(reporter: pytest.TerminalReporter) -> None:
    """Print all figures that tests have recorded as properties of their reports."""
    _points(reporter)
    _tried(reporter)
    _states(reporter)


def _recorded(reporter: pytest.TerminalReporter, wanted: str) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yield the test, the value and all properties for each report that has one of this name."""
    for report in (report for word in ("passed", "failed") for report in reporter.stats.get(word, [])):
        for name, value in report.user_properties:
            if name == wanted:
                yield report.nodeid.rpartition("::")[2], value, dict(report.user_properties)


def _points(reporter: pytest.TerminalReporter) -> None:
    found = [value for _, value, _ in _recorded(reporter, "attacked")]
    found.sort(key=lambda row: (row["attack"], row["operation"]))
    if not found:
        return
    reporter.section("points attacked")
    for row in found:
        what = f"{row['attack']}: {row['operation']}"
        reporter.write_line(f"{row['points']:>6}  {row['violations']:>3} violations  {what}")
    points, violations = (sum(row[key] for row in found) for key in ("points", "violations"))
    reporter.write_line(f"{points:>6}  {violations:>3} violations  in all")
    if os.environ.get(FIGURES):
        Path(os.environ[FIGURES]).write_text(json.dumps(found, indent=1) + "\n")


def _tried(reporter: pytest.TerminalReporter) -> None:
    lines = sorted({f"{test}: {value}" for test, value, _ in _recorded(reporter, "tried")})
    if lines:
        reporter.section("tried by attacks")
    for line in lines:
        reporter.write_line(line)


def _states(reporter: pytest.TerminalReporter) -> None:
    found = sorted(_recorded(reporter, "states"), key=lambda row: row[0])
    if not found:
        return
    reporter.section("states explored")
    for test, states, others in found:
        reporter.write_line(f"{states:>8,}  {test}{others.get('broken', '')}")
    reporter.write_line(f"{sum(states for _, states, _ in found):>8,}  in all")
