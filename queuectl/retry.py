"""What becomes of a job after an attempt (pure): complete it, retry it at an instant, or bury it.

The k-th retry waits `backoff_base ** k` seconds, at most `backoff_max`; `max_retries` counts the runs after the
first. Times are instants in milliseconds, passed in.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """A job's retry policy with every default filled in; durations in seconds, `jitter` a fraction 0..1."""

    max_retries: int
    backoff_base: float
    backoff_max: float
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class Complete:
    """The command succeeded."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Run it again, at the instant `at`."""

    at: int


@dataclass(frozen=True, slots=True)
class Bury:
    """Its retries are used up."""


Decision = Complete | Retry | Bury


def backoff_s(policy: Policy, retry: int) -> float:
    """Return the seconds before the `retry`-th retry (1-based), without jitter."""
    try:
        wait = float(policy.backoff_base) ** retry
    except OverflowError:
        return policy.backoff_max
    return min(wait, policy.backoff_max)


def decide(*, succeeded: bool, attempts: int, policy: Policy, now: int, chance: float = 0.0) -> Decision:
    """Decide after the `attempts`-th run; `chance` in 0..1 spreads the wait by the policy's jitter."""
    if succeeded:
        return Complete()
    if attempts > policy.max_retries:
        return Bury()
    wait = backoff_s(policy, attempts) * (1.0 + policy.jitter * chance)
    return Retry(at=now + round(wait * 1000))
