"""What a power cut may have taken, and what it must not: the promises of docs/spool.md, held to a disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attack.power_cuts import Known, Point
from attack.power_world import PLACE, Runner, Told
from queuectl import catalog, names
from queuectl.errors import QueuectlError
from queuectl.job import State
from queuectl.spool import READ_ORDER, Spool, read_name


def violations(point: Point, level: str, runs: Path) -> list[str]:
    """Mount what power cuts have left, let workers start over and run all; return which promises were broken."""
    with point.disk.mounted() as mounted:
        try:
            worker = Runner(mounted.path / PLACE, level)
            try:
                return list(_violations(worker, point.cuts, level, runs))
            finally:
                worker.spool.close()
        except QueuectlError as error:
            return [f"{_at(cut)}: refused: {error}" for cut in point.cuts if cut.created]


def _violations(worker: Runner, cuts: list[Known], level: str, runs: Path) -> Iterator[str]:
    before = runs.read_text().splitlines()
    for cut in cuts:
        yield from (f"{_at(cut)}: {what}" for what in _torn(worker.spool, cut, level))
    worker.start_over()
    for cut in cuts:
        yield from (f"{_at(cut)}: {what}" for what in _settings(worker.spool, cut))
        for id, told in cut.told.items():
            yield from (f"{_at(cut)}: {what}" for what in _one_job(worker.spool, id, told, level))
    worker.drain()
    lines = runs.read_text().splitlines()
    for cut in cuts:
        for id, told in cut.told.items():
            again = lines.count(f"start {id}") - before.count(f"start {id}")
            yield from (f"{_at(cut)}: {what}" for what in _in_the_end(worker.spool, id, told, again, level))


def _at(cut: Known) -> str:
    return f"cut before {cut.call}"


def places(spool: Spool, id: str) -> list[tuple[State, str]]:
    """Return the states and names that a job has."""
    return [
        (state, name)
        for state in READ_ORDER
        for name in spool.directories[state].listing()
        if read_name(state, name) and names.id_part(name) == id
    ]


def _torn(spool: Spool, cut: Known, level: str) -> Iterator[str]:
    """Find empty and torn job files; at the level `relaxed` the record of a success may be one."""
    for state in READ_ORDER:
        for name in spool.directories[state].listing():
            if not read_name(state, name) or catalog.load(spool, state, name) is not None:
                continue
            told = cut.told.get(names.id_part(name))
            if not _may_forget(told, level):
                size = (spool.path / state / name).stat().st_size
                yield f"{state}/{name} is not readable, {size} bytes"


def _may_forget(told: Told | None, level: str) -> bool:
    return told is not None and level == "relaxed" and told.succeeded and told.decided in (None, State.COMPLETED)


def _settings(spool: Spool, cut: Known) -> Iterator[str]:
    if spool.config_text() not in cut.config:
        yield f"config.toml is {spool.config_text()!r}, not one of {cut.config}"
    if spool.paused() not in cut.paused:
        yield f"paused is {spool.paused()}"
    files = {path.read_bytes() for place in ("pending", "rejected") for path in (spool.path / place).iterdir()}
    yield from (f"{data!r} is lost" for data in cut.kept if data not in files)


def _one_job(spool: Spool, id: str, told: Told, level: str) -> Iterator[str]:
    """Compare a job with what was told of it, after recovery and before anything runs."""
    found = places(spool, id)
    if len(found) > 1:
        yield f"{id} has {len(found)} names: {found}"
    if not found:
        kept = any(id in name for name in spool.directories["rejected"].listing())
        if told.there and not told.going and not (_may_forget(told, level) and kept):
            yield f"{id} is lost"
        return
    state, name = found[0]
    job = catalog.load(spool, state, name)
    if job is None:
        return  # `_torn` has told
    history = len(job.history)
    recorded = told.decided, told.exit
    if told.decided and (state, job.exit) != recorded and not _may_forget(told, level):
        yield f"{id} was recorded as {recorded} and is {(state, job.exit)}"
    if history < told.attempts:
        yield f"{id} had {told.attempts} attempts recorded and has {history}"
    if level == "full" and history < told.starts:
        yield f"{id} was started {told.starts} times and has {history} attempts"


def _in_the_end(spool: Spool, id: str, told: Told, again: int, level: str) -> Iterator[str]:
    """Compare a job with what was told of it, after all has run that would."""
    found = places(spool, id)
    if not found:
        return  # told before, or nothing was promised
    if len(found) > 1 or found[0][0] not in (State.COMPLETED, State.DEAD):
        yield f"{id} ends as {found}"
    if again and told.decided in (State.COMPLETED, State.DEAD) and not _may_forget(told, level):
        yield f"{id} was {told.decided} and was started again"
    job = catalog.load(spool, *found[0])
    if level == "full" and job is not None and len(job.history) < told.starts + again:
        yield f"{id} was started {told.starts + again} times and has {len(job.history)} attempts in the end"
