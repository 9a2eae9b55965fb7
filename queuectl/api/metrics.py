"""`/metrics`: averages by state as JSON, or the text that Prometheus scrapes, by what the client accepts.

Counts come from names, durations from files that were read little by little: a scrape opens at most `MOST_READ`.
"""

from __future__ import annotations

from collections.abc import Iterator

from starlette.responses import Response

from queuectl import clock
from queuectl.api import shapes, whole
from queuectl.api.calls import Call, Operation
from queuectl.api.door import Door
from queuectl.job import State
from queuectl.overview import BUCKETS_S, Histogram, Snapshot

TEXT = "text/plain; version=0.0.4; charset=utf-8"
MOST_READ = 2000
PATIENCE_S = 0.2
_SCRAPED = ("text/plain", "application/openmetrics-text")


def metrics(call: Call) -> Response | dict[str, shapes.Average]:
    """Return the metrics in the form that the client asks for."""
    began = clock.monotonic()
    now = call.door.view.snapshot(read=MOST_READ, read_s=PATIENCE_S)
    if not wants_text(call.headers.get("accept", "")):
        return whole.averages(now)
    return Response("".join(f"{line}\n" for line in lines(call.door, now, began)), 200, {"Vary": "Accept"}, TEXT)


def wants_text(accept: str) -> bool:
    """Say whether an `Accept` header names Prometheus's formats, and JSON no more than those."""
    text = json = 0.0
    for part in accept.split(","):
        kind, *parameters = (word.strip().lower() for word in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                digits = parameter[2:].replace(".", "", 1)
                weight = float(parameter[2:]) if digits.isascii() and digits.isdigit() else 0.0
        if kind in _SCRAPED:
            text = max(text, weight)
        elif kind == "application/json":
            json = max(json, weight)
    return text > json


def lines(door: Door, now: Snapshot, began: float) -> Iterator[str]:
    """Yield the lines of the text format, version 0.0.4."""
    totals = door.view.totals
    yield from _family("queuectl_jobs", "gauge", "Jobs by state.")
    yield from (_sample("queuectl_jobs", now.counts[state], state=state.value) for state in State)
    yield from _family("queuectl_jobs_finished_total", "counter", "Jobs seen in completed/, since before the start.")
    yield _sample("queuectl_jobs_finished_total", totals.finished)
    yield from _family("queuectl_jobs_failed_total", "counter", "Jobs seen in dead/, by how they ended.")
    yield from (_sample("queuectl_jobs_failed_total", count, exit=how) for how, count in sorted(totals.failed.items()))
    yield from _family("queuectl_job_duration_seconds", "histogram", "The last run of ended jobs, as far as read.")
    for state, histogram in door.view.histograms().items():
        yield from _buckets("queuectl_job_duration_seconds", state, histogram)
    age = 0.0 if now.oldest_pending_at is None else (now.at - now.oldest_pending_at) / 1000
    for name, value, text in (
        ("queuectl_durations_unread", now.unread, "Ended jobs whose duration has not been read yet."),
        ("queuectl_oldest_pending_age_seconds", age, "How long the first ready job has waited; 0 when there is none."),
        ("queuectl_retries_due", now.retries_due, "Failed jobs whose retry is due."),
        ("queuectl_workers", len(now.workers), "Workers that live."),
        ("queuectl_rejected_files", now.rejected, "Files in rejected/."),
        ("queuectl_paused", int(now.paused), "Whether the queue is paused."),
        ("queuectl_scrape_duration_seconds", round(clock.monotonic() - began, 6), "What this scrape took."),
    ):
        yield from _family(name, "gauge", text)
        yield _sample(name, value)


def _family(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _sample(name: str, value: float, **labels: str) -> str:
    spelt = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return f"{name}{{{spelt}}} {value}" if spelt else f"{name} {value}"


def _buckets(name: str, state: State, histogram: Histogram) -> Iterator[str]:
    total = 0
    for bound, count in zip((*BUCKETS_S, "+Inf"), histogram.counts, strict=True):
        total += count
        yield _sample(f"{name}_bucket", total, state=state.value, le=str(bound))
    yield _sample(f"{name}_sum", round(histogram.total_s, 3), state=state.value)
    yield _sample(f"{name}_count", total, state=state.value)


def operations() -> list[Operation]:
    """Return what can be asked about metrics."""
    return [
        Operation(
            tag="Metrics", method="GET", path="/metrics", name="getMetrics",
            summary="Average times by state, or Prometheus's text by the Accept header", run=metrics,
            answers={200: dict[str, shapes.Average]},
        ),
    ]  # fmt: skip
