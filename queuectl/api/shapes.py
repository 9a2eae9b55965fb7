"""What goes over the wire: the structs of requests and answers. A whole job is the struct of its file, `Job`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from queuectl.job import Count, State

Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="A job's whole id.")]
Instant = Annotated[str, Meta(description="ISO 8601 in UTC.", examples=["2026-11-22T10:15:00.123Z"])]
Cursor = Annotated[str, Meta(max_length=400, description="Where to go on: `next` of the page before.")]
Number = Annotated[int, Meta(ge=0)]
ResourceName = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9._-]{0,63}$")]
Amount = (
    Annotated[int, Meta(ge=0, le=10**18)]
    | Annotated[float, Meta(ge=0, le=1e18)]
    | Annotated[str, Meta(pattern=r"^[!-~]{1,200}$")]
)
MOST_AT_ONCE = 10_000


class NewJob(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A job to be enqueued; only `command` is required."""

    command: Annotated[
        Annotated[str, Meta(min_length=1)] | Annotated[list[str], Meta(min_length=1)],
        Meta(description="A line for /bin/sh, or a program and its arguments, run without a shell."),
    ]
    id: Id | UnsetType | None = UNSET
    priority: Annotated[int, Meta(ge=0, le=9)] | Literal["high", "medium", "low"] | UnsetType = UNSET
    run_at: Annotated[str, Meta(description="Not before: ISO 8601, or `+2h`.")] | UnsetType | None = UNSET
    timeout: Annotated[float, Meta(ge=0)] | Annotated[str, Meta(description="Such as `1.5h`.")] | UnsetType | None = (
        UNSET
    )
    max_retries: Count | UnsetType | None = UNSET
    backoff_base: Annotated[float, Meta(ge=0, le=1e9)] | UnsetType | None = UNSET
    cwd: Annotated[str, Meta(description="Where it runs; else where the dashboard was started.")] | UnsetType | None = (
        UNSET
    )
    env: dict[str, str] | UnsetType | None = UNSET
    resources: (
        Annotated[
            dict[ResourceName, Amount],
            Meta(description="What it needs where it runs.", examples=[{"cpus": 2, "mem": "4G"}]),
        ]
        | UnsetType
        | None
    ) = UNSET
    meta: dict[str, Any] | UnsetType | None = UNSET


NewJobs = NewJob | Annotated[list[NewJob], Meta(min_length=1, max_length=MOST_AT_ONCE)]


class JobQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which jobs: the filters may be combined."""

    state: Annotated[str, Meta(description="One state, or several with commas between.")] | None = None
    q: Annotated[str, Meta(max_length=200, description="Text in the id, the command or the last error.")] = ""
    worker: Annotated[str, Meta(max_length=200, description="Who runs it or ran it last.")] = ""
    error: Annotated[str, Meta(max_length=2000, description="Its last error, whole.")] = ""
    after: Cursor | None = None


class ListQuery(JobQuery, kw_only=True):
    """Which jobs, in which order, how many."""

    sort: Annotated[Literal["-when", "when", "id", "-id", "state"], Meta(description="A minus: falling.")] = "-when"
    limit: Annotated[int, Meta(ge=1, le=500)] = 50


class LogQuery(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which part of a log."""

    attempt: Annotated[int, Meta(ge=1, le=1_000_000_000, description="Only this run, from 1.")] | None = None


class JobRow(Struct, kw_only=True):
    """A job in a list. `when` is the instant that matters in its state: due, started, ended."""

    id: str
    state: State
    command: Annotated[str, Meta(description="Shortened to 2,000 characters.")]
    when: Instant | None
    priority: int
    attempts: Number
    max_retries: Annotated[int, Meta(description="As it is for this job, its own or the configured.")]
    created_at: Instant | None
    took_sec: Annotated[float, Meta(description="The last run.")] | None
    worker: Annotated[str, Meta(description="Who runs it or ran it last.")] | None
    exit: str | None
    last_error: str | None
    drop: Annotated[bool, Meta(description="A file that waits to be admitted; its name is the id.")]


class JobList(Struct, kw_only=True):
    """A page of jobs. Where a filter needs files to be read, a page may be short and go on at `next`."""

    jobs: list[JobRow]
    next: Annotated[str, Meta(description="The cursor of the next page; null at the end.")] | None
    total: Annotated[int, Meta(description="All that match; null where names alone cannot tell.")] | None
    examined: Annotated[int, Meta(description="How many were looked at for this page.")]
    version: Annotated[int, Meta(description="That of the overview in which the jobs are so.")]


class IdList(Struct, kw_only=True):
    """The ids of the jobs that match."""

    ids: list[str]
    next: str | None
    examined: Number


class ErrorGroup(Struct, kw_only=True):
    """Jobs that ended alike."""

    error: str
    jobs: Number
    last_at: Instant | None
    example: str


class ErrorGroups(Struct, kw_only=True):
    """Jobs by their last error, as far as they were looked at."""

    groups: list[ErrorGroup]
    next: str | None
    examined: Number


class Ids(Struct, kw_only=True, forbid_unknown_fields=True):
    """Which jobs."""

    ids: Annotated[list[Id], Meta(min_length=1, max_length=1000)]


class NotChanged(Struct, kw_only=True):
    """A job that was not changed, and why."""

    id: str
    detail: str


class Changed(Struct, kw_only=True):
    """What became of many jobs."""

    changed: list[str]
    not_changed: list[NotChanged]


class Accepted(Struct, kw_only=True):
    """Asked for, not done yet."""

    id: str
    detail: str


class Worker(Struct, kw_only=True):
    """A worker that lives, and the job that it runs, where the system tells."""

    worker: str
    pid: int
    supervisor: int
    started_at: Instant
    job: str | None


class Workers(Struct, kw_only=True):
    """The workers that live."""

    workers: list[Worker]


class Counts(Struct, kw_only=True):
    """How many jobs each state has."""

    pending: Number
    processing: Number
    completed: Number
    failed: Number
    dead: Number
    rejected: Number


class Minutes(Struct, kw_only=True):
    """Jobs that ended in each of the last sixty minutes, by their names; the last minute is still going on."""

    since: Instant
    finished: list[Number]
    failed: list[Number]


class Average(Struct, kw_only=True):
    """How many jobs a state has, and how long their last runs took on average, as far as they have been read."""

    jobs: Number
    avg_time_sec: float | None


class Overview(Struct, kw_only=True):
    """The queue at a glance: what the stream sends at every change."""

    at: Instant
    version: Annotated[int, Meta(description="Changes with every change of any state.")]
    spool: str
    read_only: bool
    paused: bool
    counts: Counts
    workers: list[Worker]
    oldest_pending_at: Instant | None
    next_run_at: Instant | None
    next_retry_at: Instant | None
    minutes: Minutes
    averages: dict[str, Average]


class Pause(Struct, kw_only=True, forbid_unknown_fields=True):
    """Whether workers claim nothing."""

    paused: bool


class Setting(Struct, kw_only=True):
    """A setting in force; `configured` says whether `config.toml` makes it."""

    value: str | float | int | None
    configured: bool


class NewSetting(Struct, kw_only=True, forbid_unknown_fields=True):
    """A value for a setting, as on the command line."""

    value: str | float | int | bool
