from __future__ import annotations

from pathlib import Path

import pytest

from queuectl import room
from queuectl.room import Gauge


def test_the_file_system_is_asked_once_a_second_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    now = [100.0]
    monkeypatch.setattr(room, "free_bytes", lambda path: asked.append(path) or 1000)
    monkeypatch.setattr(room.clock, "monotonic", lambda: now[0])
    gauge = Gauge(tmp_path)
    for _ in range(100):
        gauge.short(2000)
    now[0] += room.LOOK_S
    gauge.short(2000)
    assert len(asked) == 2


def test_room_is_enough_when_it_is_just_what_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free_bytes", lambda _path: 2048)
    gauge = Gauge(tmp_path)
    assert (gauge.short(2048), gauge.short(2049)) == (None, "2 KiB free, less than min_free_bytes (2.001 KiB)")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (2**40, "1 TiB"), (2**50, "1024 TiB")],
)
def test_a_size_is_spelt_in_the_largest_unit_that_fits(count: int, text: str) -> None:
    assert room.size(count) == text
