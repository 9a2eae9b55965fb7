"""Jobs over HTTP: list, look at, put in, retry, cancel, delete."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from queuectl import job as job_file
from queuectl.api import cursors, shapes
from queuectl.api.calls import Call, Operation, Reply
from queuectl.api.problems import Trouble
from queuectl.errors import NotFound, QueuectlError, UsageError
from queuectl.job import Job, State

SETTLES_S = 5.0
MOST_IDS = 10_000


def list_jobs(call: Call) -> shapes.JobList:
    """Return a page of jobs."""
    query: shapes.ListQuery = call.query
    wanted = cursors.wanted(query)
    view = call.door.view
    page = view.page(wanted, query.sort, cursors.read(query.after), query.limit)
    usual = call.queue().config().max_retries
    rows = [
        shapes.JobRow(
            **{**msgspec.structs.asdict(row), "max_retries": usual if row.max_retries is None else row.max_retries}
        )
        for row in page.rows
    ]
    total = view.count(wanted) if wanted.by_name else None
    return shapes.JobList(
        jobs=rows, next=cursors.write(page.after), total=total, examined=page.examined, version=page.version
    )


def list_ids(call: Call) -> shapes.IdList:
    """Return the ids of the jobs that match, many at once."""
    query: shapes.JobQuery = call.query
    wanted, after, view = cursors.wanted(query), cursors.read(query.after), call.door.view
    if wanted.by_name:
        ids, last = view.ids(wanted, after, MOST_IDS)
        return shapes.IdList(ids=ids, next=cursors.write(last), examined=len(ids))
    page = view.page(wanted, "-when", after, MOST_IDS)
    found = [row.id for row in page.rows if not row.drop]
    return shapes.IdList(ids=found, next=cursors.write(page.after), examined=page.examined)


def group_errors(call: Call) -> shapes.ErrorGroups:
    """Count jobs by their last error."""
    query: shapes.JobQuery = call.query
    page = call.door.view.page(cursors.wanted(query), "-when", cursors.read(query.after), MOST_IDS)
    groups: dict[str, shapes.ErrorGroup] = {}
    for row in page.rows:  # the latest come first
        error = row.last_error or ""
        if error and error not in groups:
            groups[error] = shapes.ErrorGroup(error=error, jobs=0, last_at=row.when, example=row.id)
        if error:
            groups[error].jobs += 1
    return shapes.ErrorGroups(
        groups=sorted(groups.values(), key=lambda group: -group.jobs),
        next=cursors.write(page.after),
        examined=page.examined,
    )


def get_job(call: Call) -> Job:
    """Return one job whole."""
    view = call.door.view
    for _ in range(3):  # it may move between the two steps
        place = view.place(call.id)
        found = view.load(place) if place else None
        if found:
            return found
        if place is None:
            break
    return call.queue().get(call.id)


def create(call: Call) -> Reply:
    """Put one job in, or many, all or none."""
    many = isinstance(call.body, list)
    new: list[shapes.NewJob] = call.body if many else [call.body]
    queue = call.queue()
    most = queue.config().max_job_bytes
    if not many and len(call.raw) > most:
        raise Trouble(413, f"a job may have {most} bytes", hint="max_job_bytes is the setting")
    twice = job_file.repeated_key(call.raw)
    if twice is not None:
        raise UsageError(f"key {twice!r} stands twice")
    made = queue.enqueue_many(_fields(spec) for spec in new)
    call.door.view.hurry(State.PENDING)
    if many:
        return Reply(made, 201)
    return Reply(made[0], 201, {"Location": f"/api/v1/jobs/{made[0].id}"})


def _fields(spec: shapes.NewJob) -> dict[str, object]:
    found = {name: getattr(spec, name) for name in spec.__struct_fields__}
    return {name: value for name, value in found.items() if value is not msgspec.UNSET}


def retry(call: Call) -> Job:
    """Run a job again that has ended or waits for its next retry."""
    return _changing(call, call.queue().retry)


def remove(call: Call) -> Reply:
    """Delete a job that does not run, with its log."""
    _changing(call, call.queue().remove)
    return Reply(None, 204)


def _changing(call: Call, act: Callable[[str], Job]) -> Job:
    try:
        return act(call.id)
    finally:
        call.door.view.hurry()


def cancel(call: Call) -> Job | Reply:
    """Withdraw a job that waits, or have one ended that runs.

    A command may take its time to end: then the answer comes before it has, and somebody goes on waiting for it.
    """
    done: list[Job | QueuectlError | OSError] = []

    def wait() -> None:
        try:
            done.append(call.queue().cancel(call.id))
        except (QueuectlError, OSError) as error:
            done.append(error)
        call.door.view.hurry()

    waiter = threading.Thread(target=wait, daemon=True)  # it may outlive this request, not the server
    waiter.start()
    waiter.join(SETTLES_S)
    if not done:
        return Reply(shapes.Accepted(id=call.id, detail="its worker has been asked to end it"), 202)
    if isinstance(done[0], Job):
        return done[0]
    raise done[0]


def retry_many(call: Call) -> shapes.Changed:
    """Retry many jobs."""
    queue = call.queue()
    return _each(call, queue.present(call.body.ids), queue.retry)


def cancel_many(call: Call) -> shapes.Changed:
    """Withdraw many jobs that wait; those that run are left alone, for each may take its time to end."""
    queue = call.queue()

    def withdraw(id: str) -> Job:
        place = call.door.view.place(id)
        if place and place[0] is State.PROCESSING:
            raise UsageError(f"{id}: runs; cancel it by itself")
        return queue.cancel(id)

    return _each(call, queue.present(call.body.ids), withdraw)


def remove_many(call: Call) -> shapes.Changed:
    """Delete many jobs."""
    queue = call.queue()
    return _each(call, queue.present(call.body.ids), queue.remove)


def _each(call: Call, present: Iterable[str], act: Callable[[str], Job]) -> shapes.Changed:
    there = set(present)
    done = shapes.Changed(changed=[], not_changed=[])
    for id in dict.fromkeys(call.body.ids):
        try:
            if id not in there:
                raise NotFound(f"{id}: no such job")
            act(id)
            done.changed.append(id)
        except (QueuectlError, OSError) as error:
            done.not_changed.append(shapes.NotChanged(id=id, detail=str(error)))
    call.door.view.hurry()
    return done


_BODY = (400, 413, 415, 422)
_get = partial(Operation, tag="Jobs", method="GET")
_post = partial(Operation, tag="Jobs", method="POST")
_many = partial(_post, body=shapes.Ids, answers={200: shapes.Changed}, problems=_BODY)


def operations() -> list[Operation]:
    """Return what can be asked about jobs."""
    jobs, one = "/api/v1/jobs", "/api/v1/jobs/{id}"
    return [
        _get(
            path=jobs, name="listJobs", summary="List jobs", run=list_jobs,
            query=shapes.ListQuery, answers={200: shapes.JobList}, problems=(422,),
        ),
        _post(
            path=jobs, name="createJobs", summary="Put one job in, or many: all or none", run=create,
            body=shapes.NewJobs, answers={201: Job | list[Job]}, problems=(*_BODY, 409),
            headers={"Location": "Where the job is, when it is one."},
        ),
        _get(
            path="/api/v1/ids", name="listIds", summary="List the ids of jobs, many at once", run=list_ids,
            query=shapes.JobQuery, answers={200: shapes.IdList}, problems=(422,),
        ),
        _get(
            path="/api/v1/errors", name="groupErrors", summary="Count jobs by their last error",
            run=group_errors, query=shapes.JobQuery, answers={200: shapes.ErrorGroups}, problems=(422,),
        ),
        _many(path="/api/v1/retry", name="retryJobs", summary="Run many jobs again", run=retry_many),
        _many(path="/api/v1/cancel", name="cancelJobs", summary="Withdraw many jobs that wait", run=cancel_many),
        _many(path="/api/v1/delete", name="deleteJobs", summary="Delete many jobs", run=remove_many),
        _get(
            path=one, name="getJob", summary="Show one job with all its runs", run=get_job,
            answers={200: Job}, problems=(404,),
        ),
        Operation(
            tag="Jobs", method="DELETE", path=one, name="deleteJob", summary="Delete a job that does not run",
            run=remove, answers={204: None}, problems=(404, 409),
        ),
        _post(
            path=f"{one}/retry", name="retryJob", summary="Run a job again", run=retry,
            answers={200: Job}, problems=(404, 409),
        ),
        _post(
            path=f"{one}/cancel", name="cancelJob", summary="Withdraw a job, or have it ended if it runs",
            run=cancel, answers={200: Job, 202: shapes.Accepted}, problems=(404, 409),
        ),
    ]  # fmt: skip
