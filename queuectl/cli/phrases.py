"""How jobs and instants read: relative and local for people, ISO 8601 in UTC for pipes. Prints nothing."""

from __future__ import annotations

from queuectl import clock
from queuectl.cli.output import quoted, visible
from queuectl.job import Attempt, Job, State

NOTHING = "-"


def command(job: Job) -> str:
    """Spell a job's command as one would type it."""
    return job.command if isinstance(job.command, str) else " ".join(quoted(word) for word in job.command)


def relative(instant: int) -> str:
    """Spell how far an instant is: `in 2 h`, `5 m ago`, `now`."""
    seconds = round((instant - clock.now()) / 1000)
    if seconds == 0:
        return "now"
    return f"in {clock.brief(seconds)}" if seconds > 0 else f"{clock.brief(-seconds)} ago"


def moment(instant: int) -> str:
    """Spell an instant for people: local time, and how far it is."""
    return f"{clock.local(instant)} ({relative(instant)})"


def instant(text: str | None, *, human: bool) -> str:
    """Spell an instant of a job file for the reader at hand."""
    if not text:
        return NOTHING
    return moment(clock.uniso(text)) if human else text


def turning_point(job: Job) -> str | None:
    """Return the instant that matters in the job's state: when it is due, when it started, when it ended."""
    if job.state in (State.PENDING, State.FAILED):
        return job.due_at or job.run_at or job.created_at
    return job.updated_at


def when(job: Job, *, human: bool) -> str:
    """Spell a job's turning point; on a terminal in a few words."""
    point = turning_point(job)
    if not point or not human:
        return point or NOTHING
    at = clock.uniso(point)
    if job.state in (State.PENDING, State.FAILED):
        return "ready" if at <= clock.now() else relative(at)
    if job.state is State.PROCESSING:
        return f"for {clock.brief(max(round((clock.now() - at) / 1000), 0))}"
    return relative(at)


def ended(attempt: Attempt) -> str:
    """Say how an attempt ended."""
    if attempt.error:
        return attempt.error
    if attempt.signal is not None:
        return f"signal {attempt.signal}"
    return f"exit {attempt.exit_code}" if attempt.exit_code is not None else NOTHING


def took(attempt: Attempt) -> str:
    """Spell how long an attempt took."""
    return clock.brief(max(clock.uniso(attempt.finished_at) - clock.uniso(attempt.started_at), 0) / 1000)


def counted(number: int, noun: str) -> str:
    """Spell a number of things: `1 job`, `2 jobs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def enqueued(job: Job, columns: int) -> str:
    """Spell what was enqueued as one line of at most that many columns; a job for later says when."""
    from queuectl.cli.output import shorten

    head = f"Enqueued {job.id}"
    due = job.due_at or job.run_at
    later = clock.uniso(due) if due else 0
    tail = f"  run at {moment(later)}" if later > clock.now() else ""
    room = max(columns - len(head) - len(tail) - 2, 16)
    return f"{head}  {shorten(visible(command(job)), room)}{tail}"
