"""What the attacks share."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from attack.attacks import Range
from attack.lab import Bench, Point, Tried, Zygote, certain, listed, sample
from attack.operations import SETTINGS, Operation


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """The process that forks what is attacked."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    if subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True).returncode:
        pytest.skip("strace may not trace here (ptrace is not permitted)")
    made = Zygote()
    yield made
    made.close()


@pytest.fixture(scope="session")
def shooting(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Range:
    """Where operations are attacked."""
    return Range(zygote, tmp_path_factory.mktemp("range"))


@pytest.fixture(scope="session")
def template(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Operation], Path]:
    """Give the directory with the spool as an operation finds it; made once."""
    base = tmp_path_factory.mktemp("templates")
    empty = base / "empty"
    (empty / "work").mkdir(parents=True)
    made = zygote.order(empty, "init", str(empty / "spool"))
    assert made.wait() == 0, made.err
    config = empty / "spool" / "config.toml"
    config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in SETTINGS.items()))
    config.chmod(0o600)
    found: dict[str, Path] = {}

    def give(operation: Operation) -> Path:
        if operation.name not in found:
            place = base / str(len(found))
            operation.prepare(Bench(zygote, empty, place))
            found[operation.name] = place
        return found[operation.name]

    return give


@pytest.fixture
def choose(request: pytest.FixtureRequest) -> Callable[[Operation, list[Point]], list[Point]]:
    """Choose of an operation's points those that are to be tried."""
    thorough, wanted = request.config.getoption("--thorough"), request.config.getoption("--point")

    def chosen(operation: Operation, found: list[Point]) -> list[Point]:
        found = certain(found) if operation.polls else found if thorough else sample(found)
        return [point for point in found if wanted in str(point)]

    return chosen


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Callable[[str, str, Tried], None]:
    """Note the figures of an attack on an operation, and fail with the points that did not hold."""

    def note(attack: str, operation: str, tried: Tried) -> None:
        figures = {"points": len(tried.points), "violations": len(tried.violations), "missed": len(tried.missed)}
        record_property("attacked", {"attack": attack, "operation": operation, **figures})
        assert not tried.violations, f"{len(tried.violations)} violations\n{listed(tried.violations)}"
        assert not tried.missed, f"never came to\n{listed([str(point) for point in tried.missed])}"
        assert tried.points, "no points"

    return note
