"""When a job that has failed runs again, if it does (pure).

The k-th retry waits `backoff_base ** k` seconds, at most `backoff_max`; `max_retries` counts the runs after the
first. Times are instants in milliseconds, passed in.
"""

from __future__ import annotations

from msgspec import Struct


class Policy(Struct, frozen=True):
    """A job's retry policy with every default filled in; durations in seconds, `jitter` a fraction 0..1."""

    max_retries: int
    backoff_base: float
    backoff_max: float
    jitter: float = 0.0


def backoff_s(policy: Policy, retry: int) -> float:
    """Return the seconds before the `retry`-th retry (1-based), without jitter."""
    try:
        wait = float(policy.backoff_base) ** retry
    except OverflowError:
        return policy.backoff_max
    return min(wait, policy.backoff_max)


def at(attempts: int, policy: Policy, now: int, chance: float = 0.0) -> int | None:
    """Return when to run again after the `attempts`-th run, which failed; None when the retries are used up.

    `chance` in 0..1 spreads the wait by the policy's jitter.
    """
    if attempts > policy.max_retries:
        return None
    wait = backoff_s(policy, attempts) * (1.0 + policy.jitter * chance)
    return now + round(wait * 1000)
