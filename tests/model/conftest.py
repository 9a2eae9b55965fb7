"""Shows, under the tests' results, how many states each search went through."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that the tests of the model have recorded."""
    lines = []
    for report in terminalreporter.stats.get("passed", []):
        found = dict(report.user_properties)
        if "states" in found:
            lines.append((report.nodeid.rpartition("::")[2], found))
    if lines:
        terminalreporter.section("states explored")
    for name, found in sorted(lines, key=lambda line: line[0]):
        terminalreporter.write_line(f"{found['states']:>8,}  {name}{found.get('broken', '')}")
    if lines:
        total = sum(found["states"] for _, found in lines)
        terminalreporter.write_line(f"{total:>8,}  in all")
