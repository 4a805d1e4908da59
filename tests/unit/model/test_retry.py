"""When to try again, how long to wait, and what an error says about its effect."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagas.model import RetryPolicy, Signs, Verdict

policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 100),
    on=st.lists(st.sampled_from(["connection", "http", "builtins.Exception", "shop.Busy"])).map(tuple),
    never_on=st.lists(st.sampled_from(["builtins.OSError", "shop.Busy"])).map(tuple),
    backoff=st.floats(0, 7 * 24 * 3600),
    factor=st.floats(1, 100),
    max_backoff=st.floats(0, 7 * 24 * 3600),
    jitter=st.floats(0, 1),
)
dice = st.floats(0, 1, exclude_max=True)


def test_the_delay_doubles_with_every_failure() -> None:
    policy = RetryPolicy(backoff=0.5, factor=2.0, max_backoff=100.0, jitter=0.0)

    assert [policy.delay(failures, 0.9) for failures in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 4.0]


def test_the_delay_has_a_cap() -> None:
    policy = RetryPolicy(backoff=1.0, factor=10.0, max_backoff=60.0, jitter=0.0)

    assert [policy.delay(failures, 0.0) for failures in (1, 2, 3, 10_000)] == [1.0, 10.0, 60.0, 60.0]


def test_jitter_takes_away_its_share_and_no_more() -> None:
    half, full = RetryPolicy(backoff=8.0, jitter=0.5), RetryPolicy(backoff=8.0, jitter=1.0)

    assert (half.delay(1, 0.0), half.delay(1, 0.5)) == (8.0, 6.0)
    assert full.delay(1, 0.75) == 2.0


def test_jitter_is_of_the_capped_delay() -> None:
    """Else a storm would end in step at the cap."""
    policy = RetryPolicy(backoff=100.0, max_backoff=10.0, jitter=0.5)

    assert policy.delay(5, 0.5) == 7.5


@given(policies, st.integers(-1, 10_000), dice)
def test_every_delay_lies_between_nothing_and_the_cap(policy: RetryPolicy, failures: int, dice: float) -> None:
    assert 0 <= policy.delay(failures, dice) <= policy.max_backoff


@given(policies, dice)
def test_no_delay_is_shorter_than_the_one_before(policy: RetryPolicy, dice: float) -> None:
    delays = [policy.delay(failures, dice) for failures in range(1, 80)]

    assert all(earlier <= later for earlier, later in pairwise(delays))


@given(policies)
def test_a_policy_survives_its_json(policy: RetryPolicy) -> None:
    assert RetryPolicy.from_json(json.loads(json.dumps(policy.to_json()))) == policy


# -- whether an error is tried again; what its signs are is the engine's business (see `test_signs`)

LOST = Signs(names=frozenset({"shop.Gone", "builtins.Exception"}), is_lost=True)
BUSY = Signs(names=frozenset({"shop.Busy", "builtins.Exception"}), is_refused_for_now=True)
ASKS = Signs(names=frozenset({"shop.Later", "builtins.Exception"}), asks_again=True)
OTHER = Signs(names=frozenset({"shop.Declined", "shop.Refused", "builtins.Exception"}))
NEVER = Signs(names=frozenset({"shop.Final", "sagas.errors.PermanentError", "builtins.Exception"}))


def test_by_default_lost_connections_and_answers_that_ask_for_it_are_tried_again() -> None:
    assert [RetryPolicy().is_again(signs) for signs in (LOST, BUSY, ASKS, OTHER)] == [True, True, True, False]


def test_a_policy_that_names_classes_means_these_and_their_subclasses_alone() -> None:
    policy = RetryPolicy(on=("shop.Refused",))

    assert policy.is_again(OTHER)
    assert not any(policy.is_again(signs) for signs in (LOST, BUSY, ASKS))
    assert all(RetryPolicy(on=("builtins.Exception",)).is_again(signs) for signs in (LOST, BUSY, OTHER))


def test_never_on_wins() -> None:
    policy = RetryPolicy(on=("builtins.Exception", "connection"), never_on=("shop.Refused", "shop.Gone"))

    assert not policy.is_again(OTHER)
    assert not policy.is_again(LOST)
    assert policy.is_again(BUSY)


def test_a_permanent_error_is_tried_again_only_where_the_policy_names_it_by_itself() -> None:
    assert not RetryPolicy(on=("builtins.Exception",)).is_again(NEVER)
    assert RetryPolicy(on=("builtins.Exception", "shop.Final")).is_again(NEVER)
    assert RetryPolicy(on=("sagas.errors.PermanentError",)).is_again(NEVER)


# -- the two answers


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("clean", [True, False])
def test_d2_a_verdict_is_two_answers(again: bool, clean: bool) -> None:
    verdict = Verdict.of(again=again, clean=clean)

    assert (verdict.is_again, verdict.is_clean) == (again, clean)


def test_whatever_is_not_said_to_be_clean_is_in_doubt() -> None:
    assert {verdict for verdict in Verdict if verdict.is_clean} == {Verdict.CLEAN_NO, Verdict.CLEAN_RETRYABLE}
