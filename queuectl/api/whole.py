"""The queue as a whole over HTTP: overview, counts, workers, pause, settings."""

from __future__ import annotations

import os

from queuectl import clock
from queuectl.api import shapes
from queuectl.api.calls import Call, Operation
from queuectl.api.door import Door
from queuectl.job import State
from queuectl.overview import Snapshot


def describe(door: Door, now: Snapshot) -> shapes.Overview:
    """Spell a snapshot for the wire."""
    return shapes.Overview(
        at=clock.iso(now.at),
        version=now.version,
        spool=os.fspath(door.path),
        read_only=door.read_only,
        paused=now.paused,
        counts=_counts(now),
        workers=_workers(now),
        oldest_pending_at=_instant(now.oldest_pending_at),
        next_run_at=_instant(now.next_run_at),
        next_retry_at=_instant(now.next_retry_at),
        minutes=shapes.Minutes(since=clock.iso(now.since), finished=now.finished, failed=now.failed),
        averages=averages(now),
    )


def averages(now: Snapshot) -> dict[str, shapes.Average]:
    """Return by state how many jobs there are and how long they took."""
    return {
        state.value: shapes.Average(jobs=now.counts[state], avg_time_sec=_rounded(now.averages[state]))
        for state in State
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _instant(instant: int | None) -> str | None:
    return None if instant is None else clock.iso(instant)


def _counts(now: Snapshot) -> shapes.Counts:
    return shapes.Counts(**{state.value: count for state, count in now.counts.items()}, rejected=now.rejected)


def _workers(now: Snapshot) -> list[shapes.Worker]:
    jobs = {worker: id for id, worker in now.running.items()}
    return [
        shapes.Worker(
            worker=info.worker,
            pid=info.pid,
            supervisor=info.supervisor,
            started_at=info.started_at,
            job=jobs.get(info.worker),
        )
        for info in now.workers
    ]


def overview(call: Call) -> shapes.Overview:
    """Return the queue at a glance."""
    return describe(call.door, call.door.view.snapshot())


def counts(call: Call) -> shapes.Counts:
    """Return how many jobs each state has."""
    return _counts(call.door.view.snapshot(read=0))


def workers(call: Call) -> shapes.Workers:
    """Return the workers that live."""
    return shapes.Workers(workers=_workers(call.door.view.snapshot(read=0)))


def get_pause(call: Call) -> shapes.Pause:
    """Say whether the queue is paused."""
    return shapes.Pause(paused=call.door.view.snapshot(read=0).paused)


def set_pause(call: Call) -> shapes.Pause:
    """Pause the queue, or let it go on."""
    queue = call.queue()
    (queue.pause if call.body.paused else queue.resume)()
    return shapes.Pause(paused=call.body.paused)


def settings(call: Call) -> dict[str, shapes.Setting]:
    """Return all settings in force."""
    queue = call.queue()
    made, config = queue.configured(), queue.config()
    return {
        name: shapes.Setting(value=getattr(config, name), configured=name in made) for name in config.__struct_fields__
    }


def set_setting(call: Call) -> dict[str, shapes.Setting]:
    """Set one setting."""
    value = call.body.value
    call.queue().set_config(call.path["key"], str(value).lower() if isinstance(value, bool) else str(value))
    return settings(call)


def unset_setting(call: Call) -> dict[str, shapes.Setting]:
    """Take one setting out of `config.toml`, so that its default holds."""
    call.queue().set_config(call.path["key"], None)
    return settings(call)


def operations() -> list[Operation]:
    """Return what can be asked about the queue as a whole."""
    tag, config, all_settings = "Queue", "/api/v1/config", dict[str, shapes.Setting]
    body = (400, 413, 415, 422)
    return [
        Operation(
            tag=tag, method="GET", path="/api/v1/overview", name="getOverview", summary="The queue at a glance",
            run=overview, answers={200: shapes.Overview},
        ),
        Operation(
            tag=tag, method="GET", path="/api/v1/counts", name="getCounts", summary="How many jobs each state has",
            run=counts, answers={200: shapes.Counts},
        ),
        Operation(
            tag=tag, method="GET", path="/api/v1/workers", name="listWorkers", summary="The workers that live",
            run=workers, answers={200: shapes.Workers},
        ),
        Operation(
            tag=tag, method="GET", path="/api/v1/pause", name="getPause", summary="Whether the queue is paused",
            run=get_pause, answers={200: shapes.Pause},
        ),
        Operation(
            tag=tag, method="PUT", path="/api/v1/pause", name="setPause", summary="Pause the queue, or let it go on",
            run=set_pause, body=shapes.Pause, answers={200: shapes.Pause}, problems=body,
        ),
        Operation(
            tag=tag, method="GET", path=config, name="getConfig", summary="The settings in force",
            run=settings, answers={200: all_settings},
        ),
        Operation(
            tag=tag, method="PUT", path=f"{config}/{{key}}", name="setConfig", summary="Set one setting",
            run=set_setting, body=shapes.NewSetting, answers={200: all_settings}, problems=body,
        ),
        Operation(
            tag=tag, method="DELETE", path=f"{config}/{{key}}", name="unsetConfig",
            summary="Let the default of a setting hold", run=unset_setting, answers={200: all_settings},
            problems=(422,),
        ),
    ]  # fmt: skip
