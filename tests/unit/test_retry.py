from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl.retry import Policy, at, backoff_s

NOW = 1_800_000_000_000
policies = st.builds(Policy, st.integers(0, 10**6), st.floats(0, 1e9), st.floats(0, 3.2e9), st.floats(0, 1))


def test_the_waits_before_the_retries_are_the_powers_of_the_base() -> None:
    policy = Policy(5, 2.0, 3600.0)
    assert [backoff_s(policy, retry) for retry in (1, 2, 3, 4)] == [2, 4, 8, 16]


@pytest.mark.parametrize(
    ("base", "waits"), [(0, [0, 0, 0]), (1, [1, 1, 1]), (0.5, [0.5, 0.25, 0.125]), (3, [3, 9, 27])]
)
def test_any_base_may_be_given(base: float, waits: list[float]) -> None:
    assert [backoff_s(Policy(3, base, 3600.0), retry) for retry in (1, 2, 3)] == waits


def test_no_wait_is_longer_than_the_cap() -> None:
    assert backoff_s(Policy(99, 2.0, 60.0), 6) == 60.0


def test_a_power_that_no_float_can_hold_is_the_cap() -> None:
    assert backoff_s(Policy(10**9, 1e9, 60.0), 10**6) == 60.0


def test_a_job_with_three_retries_runs_four_times() -> None:
    policy = Policy(3, 2.0, 3600.0)
    instants = [at(attempts, policy, NOW) for attempts in (1, 2, 3, 4)]
    assert instants == [NOW + 2000, NOW + 4000, NOW + 8000, None]


def test_a_job_without_retries_is_buried_after_its_first_failure() -> None:
    assert at(1, Policy(0, 2.0, 60.0), NOW) is None


@pytest.mark.parametrize(("chance", "wait"), [(0.0, 10_000), (0.5, 11_000), (1.0, 12_000)])
def test_jitter_lengthens_a_wait_by_its_share_at_most(chance: float, wait: int) -> None:
    policy = Policy(3, 10.0, 3600.0, jitter=0.2)
    assert at(1, policy, NOW, chance) == NOW + wait


@given(policies, st.integers(1, 10**6), st.floats(0, 1))
def test_a_retry_is_never_before_now_nor_beyond_twice_the_cap(policy: Policy, attempts: int, chance: float) -> None:
    instant = at(attempts, policy, NOW, chance)
    if instant is None:
        assert attempts > policy.max_retries
    else:
        assert NOW <= instant <= NOW + 2000 * policy.backoff_max + 1
