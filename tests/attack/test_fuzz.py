"""Mutations of valid jobs and of names, put through admission, claim, decision and record; nothing is really run.

Whatever comes: an accepted file can be claimed, decided and read back; another is kept as it came with a reason; and
nothing that Python's own decoder refuses is taken for a job.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attack.corpus_bytes import FIELDS
from queuectl import catalog, clock, job, names, settling
from queuectl.admission import YOUNG_MS, Admission
from queuectl.config import Config
from queuectl.job import State
from queuectl.scan import look
from queuectl.settling import Outcome
from queuectl.spool import Claim, Spool

LIMIT = 4096
VALID: list[dict[str, Any]] = [
    {"command": "true"},
    {"command": ["sh", "-c", "true", "é", ""], "id": "chosen", "priority": "high", "run_at": "2026-11-22T10:15:00Z"},
    {"command": "x", "timeout": "1.5h", "max_retries": 0, "backoff_base": 1.5, "cwd": "/", "env": {"A": "\n"}},
    {"command": "x", "meta": {"a": [1, -2.5e3, None, True, {"b": "\U0001f680"}]}, "run_at": "+2h", "priority": 9},
    {"command": "x", "state": "failed", "attempts": 3, "rev": 4, "due_at": "2026-11-22T10:15:00.000Z", "exit": "7"},
    {
        "command": "x",
        "id": "again",
        "history": [{"attempt": 1, "worker": "h.1", "started_at": "x", "finished_at": "y", "log_end": 5}],
    },
]
TOKENS = [
    *(b"\0", b"\xef\xbb\xbf", b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"\\", b'"', b"{", b"}", b"[", b"]"),
    *(b",", b":", b"null", b"NaN", b"Infinity", b"1e999", b"-0", b"9" * 400, b"[" * 400, b'{"a":' * 300, b"\r\n"),
    *(b'"command":"y",', b'"id":"x",', b'"rev":999999999,', b'"attempts":1000000000,', b"//", b"\x0c", b"\xc2\x85"),
    *(b'"due_at":"0000-01-01T00:00:00.000Z",', b'"run_at":"+100000d",', b'"timeout":1e-320,', b"\xe2\x80\xa8"),
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**31, 2**63 - 1, 2**63, 2**64, 10**9, 10**9 - 1, 999_999_998, -1]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["pending", "processing", "9", "high", "+1d", "/", "..", "-1s", "9999-12-31T23:59:59.999Z"]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
TEXTS = st.builds(
    lambda whole, field, value: json.dumps({**whole, field: value}).encode("utf-8", "surrogatepass"),
    st.sampled_from(VALID),
    st.sampled_from(FIELDS) | st.text(max_size=6),
    VALUES,
)
EDITS = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 9), st.sampled_from([b"", *TOKENS])), max_size=4)
CANONICAL = "20200101T000000000Z.5.x.json"
NAMES = st.one_of(
    st.just(b"plain.json"),
    st.binary(max_size=250).map(lambda raw: raw.replace(b"/", b"").replace(b"\0", b"") + b".json"),
    st.builds(
        lambda at, piece: (CANONICAL[:at] + piece + CANONICAL[at + 1 :]).encode(),
        st.integers(0, len(CANONICAL)),
        st.text("0159ZTxz.-_ \u0665", max_size=2),
    ),
).filter(lambda name: 0 < len(name) <= 255 and name not in (b".", b".."))


def mutate(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """Replace pieces of the bytes."""
    for at, length, piece in edits:
        at %= len(data) + 1
        data = data[:at] + piece + data[at + length :]
    return data


def is_object(data: bytes) -> bool:
    """Say whether another decoder takes these bytes for an object."""
    try:
        return isinstance(json.loads(data), dict)
    except (ValueError, RecursionError):
        return False


class Bench:
    """A spool that is made once; each file leaves nothing behind."""

    def __init__(self, path: Path) -> None:
        self.spool = Spool.create(path)
        self.gate = Admission(self.spool, limit=LIMIT)
        self.tried: Counter[str] = Counter()

    def put(self, name: bytes, data: bytes) -> None:
        (self.spool.path / "pending" / os.fsdecode(name)).write_bytes(data)

    def pass_through(self, name: bytes, data: bytes) -> str:
        """Let a worker's steps meet one file, when it is young and when it is old; returns its fate."""
        self.put(name, data)
        for later in (0, 2 * YOUNG_MS):
            now = clock.now() + later
            report = self.gate.admit(look(self.spool, now, 10).drops, now)
            assert report.left == []
            for place, found in self.waiting():
                if names.is_waiting(found):
                    self.run(place, found, data, now)
        return self.fate(os.fsdecode(name), data)

    def waiting(self) -> list[tuple[str, str]]:
        return [(place, found) for place in ("pending", "failed") for found in os.listdir(self.spool.path / place)]

    def run(self, place: str, name: str, data: bytes, now: int) -> None:
        """Claim a job as a worker does, let its attempt succeed, and read the record."""
        try:
            claim = self.spool.claim(place, name, now=now, limit=catalog.MAX_BYTES, durable=False)
        except job.BadJobFile as error:
            self.gate.refuse_canonical(place, name, error, now)
            return
        assert isinstance(claim, Claim)
        assert is_object(data), "what no other decoder takes was taken for a job"
        command = claim.job.command
        settling.decide(claim.job, Outcome("0", None, now, now, 0), Config(), "host.1")
        assert self.spool.settle(claim, now=now, durable=False)
        (done,) = os.listdir(self.spool.path / "completed")
        record = catalog.load(self.spool, State.COMPLETED, done)
        assert record is not None, "its record cannot be read"
        assert record.command == command

    def fate(self, name: str, data: bytes) -> str:
        """Say what has become of the only file, and take it away."""
        found = {place: os.listdir(self.spool.path / place) for place in (*State, "rejected")}
        for place, those in found.items():
            for each in those:
                path = self.spool.path / place / each
                if place in ("rejected", "pending") and not each.endswith(".why"):
                    assert path.read_bytes() == data
                if each.endswith(".why") and each[:-4] in those:
                    why = path.read_text()
                    assert 3 < len(why) <= 400
                    assert why.endswith("\n")
                    assert len(why.splitlines()) == 1
                path.unlink()
        files = {place: [each for each in those if each[:-4] not in those] for place, those in found.items()}
        (place,) = (place for place, those in files.items() if those)
        assert len(files[place]) == 1
        if place == "rejected":
            assert len(found[place]) == 2
        if place == "pending":
            assert not names.is_drop(name) or names.waiting(files[place][0])
        return str(place)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("fuzz") / "spool")


def examples(thorough: bool, short: int, long: int) -> settings:
    return settings(
        max_examples=long if thorough else short,
        deadline=None,
        derandomize=not thorough,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("kind", ["bytes", "values", "names"])
def test_every_mutation_of_a_job_or_its_name_runs_once_or_is_kept_with_a_reason(
    bench: Bench,
    thorough: bool,
    kind: str,
    record_property: Callable[[str, object], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _fd: None)
    whole = st.sampled_from(VALID).map(lambda valid: json.dumps(valid).encode())
    data = {"bytes": st.builds(mutate, whole, EDITS), "values": TEXTS, "names": whole}[kind]
    tried: Counter[str] = Counter()

    @examples(thorough, 500, 20_000)
    @given(NAMES if kind == "names" else st.just(b"plain.json"), data)
    def attack(name: bytes, mutated: bytes) -> None:
        tried[bench.pass_through(name, mutated)] += 1

    attack()
    record_property("tried", f"{tried.total()} files: {dict(tried)}")
    assert tried["completed"] > 10
