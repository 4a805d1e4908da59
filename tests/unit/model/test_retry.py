"""When to try again, how long to wait, and what an error says about its effect."""

import json
import ssl
import urllib.error
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagas.engine.judging import lineage
from sagas.errors import PermanentError
from sagas.model import RetryPolicy, Verdict

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


def test_a_policy_that_a_newer_release_stored_can_be_read() -> None:
    assert RetryPolicy.from_json(RetryPolicy().to_json() | {"hedge": 2}) == RetryPolicy()


# -- what an error says


class Declined(Exception):
    pass


def judged(error: BaseException, policy: RetryPolicy | None = None, status: int | None = None) -> Verdict:
    return (policy or RetryPolicy()).classify(lineage(error), status)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        BrokenPipeError(),
        TimeoutError(),
        ssl.SSLError(),
        urllib.error.URLError("refused"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_c5_ii_lost_connections_and_timeouts_are_no_clean_no(error: Exception) -> None:
    assert judged(error) is Verdict.RETRYABLE


@pytest.mark.parametrize(
    "names",
    [
        # As their classes' lineages read; the clients need not be installed.
        ["requests.exceptions.ReadTimeout", "requests.exceptions.Timeout", "builtins.OSError", "builtins.Exception"],
        ["httpx.ReadTimeout", "httpx.TimeoutException", "httpx.TransportError", "builtins.Exception"],
        ["aiohttp.client_exceptions.ServerDisconnectedError", "aiohttp.client_exceptions.ClientError"],
        ["redis.exceptions.TimeoutError", "redis.exceptions.RedisError", "builtins.Exception"],
        ["sqlalchemy.exc.OperationalError", "sqlalchemy.exc.DBAPIError", "builtins.Exception"],
    ],
    ids=lambda names: names[0],
)
def test_c5_ii_so_are_those_of_the_common_clients(names: list[str]) -> None:
    assert RetryPolicy().classify(names, None) is Verdict.RETRYABLE


def test_what_the_policy_does_not_know_is_a_clean_no() -> None:
    assert judged(Declined()) is Verdict.CLEAN_NO


def test_a_policy_means_an_exceptions_subclasses_too() -> None:
    assert judged(ConnectionResetError(), RetryPolicy(on=("builtins.ConnectionError",))) is Verdict.RETRYABLE
    assert judged(Declined(), RetryPolicy(on=("builtins.Exception",))) is Verdict.RETRYABLE


def test_never_on_wins() -> None:
    policy = RetryPolicy(on=("builtins.Exception",), never_on=(lineage(Declined())[0],))

    assert judged(Declined(), policy) is Verdict.CLEAN_NO


@pytest.mark.parametrize("policy", [RetryPolicy(on=("shop.Busy",)), RetryPolicy(never_on=("builtins.TimeoutError",))])
def test_c5_ii_a_timeout_that_is_not_to_be_tried_again_is_in_doubt_all_the_same(policy: RetryPolicy) -> None:
    """Whether it is worth another try and whether its outcome is known are two questions."""
    assert judged(TimeoutError(), policy) is Verdict.UNKNOWN


def test_a_permanent_error_is_a_clean_no() -> None:
    assert judged(PermanentError("no")) is Verdict.CLEAN_NO
    assert judged(PermanentError("no"), RetryPolicy(on=("builtins.Exception",))) is Verdict.CLEAN_NO


def test_a_permanent_error_that_the_policy_names_is_tried_again() -> None:
    assert judged(PermanentError("no"), RetryPolicy(on=("sagas.errors.PermanentError",))) is Verdict.RETRYABLE


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 507, 599])
def test_http_answers_that_leave_the_outcome_open_are_tried_again(status: int) -> None:
    assert judged(Declined(), status=status) is Verdict.RETRYABLE


@pytest.mark.parametrize("status", [200, 301, 400, 401, 402, 404, 409, 422])
def test_http_answers_that_say_no_are_a_clean_no(status: int) -> None:
    assert judged(Declined(), status=status) is Verdict.CLEAN_NO


def test_an_answer_decides_and_not_the_class_that_a_client_wraps_it_in() -> None:
    """HTTPError is an OSError in urllib and in requests; a 404 is no broken connection."""
    assert judged(urllib.error.URLError("x"), status=404) is Verdict.CLEAN_NO
    assert judged(urllib.error.URLError("x"), status=503) is Verdict.RETRYABLE


def test_c5_ii_a_503_under_a_policy_without_http_is_in_doubt() -> None:
    assert judged(Declined(), RetryPolicy(on=()), status=503) is Verdict.UNKNOWN
