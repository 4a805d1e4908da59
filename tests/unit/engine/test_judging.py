"""What an exception says about its effect, by its class and by the shapes that HTTP clients give theirs."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from celery.exceptions import Ignore, Reject
from celery.exceptions import Retry as CeleryRetry

from sagas import BindingError, PermanentError, Retry
from sagas.engine.judging import judge
from sagas.model import RetryPolicy, Verdict

DEFAULT = RetryPolicy()


def verdict(error: BaseException, policy: RetryPolicy = DEFAULT, clean: Sequence[str | type] = ()) -> Verdict:
    return judge(error, policy, "pay", clean=clean).verdict


class Answered(Exception):
    """As requests', httpx's and aiohttp's errors look."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__("answered")
        for name, value in attributes.items():
            setattr(self, name, value)


class Refused(Exception):
    """The service says no, before it does anything."""


class Declined(Refused):
    pass


def response(status: int, **headers: str) -> SimpleNamespace:
    return SimpleNamespace(status_code=status, headers={name.replace("_", "-"): text for name, text in headers.items()})


SHAPES = {
    "requests, httpx": lambda status: Answered(response=response(status)),
    "aiohttp": lambda status: Answered(status=status),
    "stripe": lambda status: Answered(http_status=status),
    "a response and its code": lambda status: Answered(response=SimpleNamespace(), code=status),
    "starlette": lambda status: Answered(status_code=status),
    "elasticsearch": lambda status: Answered(meta=SimpleNamespace(status=status)),
    "botocore": lambda status: Answered(response={"ResponseMetadata": {"HTTPStatusCode": status}}),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504])
def test_c5_an_answer_whose_outcome_is_unknown_is_tried_again(shape: Any, status: int) -> None:
    assert verdict(shape(status)) is Verdict.RETRYABLE


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("status", [400, 402, 404, 409, 422])
def test_a_refusal_is_not_tried_again_and_clean_only_where_the_step_says_so(shape: Any, status: int) -> None:
    assert verdict(shape(status)) is Verdict.UNKNOWN
    assert verdict(shape(status), clean=(Answered,)) is Verdict.CLEAN_NO


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"response": None},
        {"code": "503"},
        {"code": 500},
        {"status": True},
        {"code": 99503},
        {"response": SimpleNamespace()},
    ],
    ids=str,
)
def test_d17_what_need_not_be_an_http_status_is_not_taken_for_one(attributes: dict[str, Any]) -> None:
    assert verdict(Answered(**attributes)) is Verdict.UNKNOWN


@pytest.mark.parametrize("error", [ConnectionError(), ConnectionResetError(), BrokenPipeError(), TimeoutError()])
def test_c5_connection_errors_and_timeouts_are_tried_again(error: Exception) -> None:
    assert verdict(error) is Verdict.RETRYABLE


# -- doubt is the default


@pytest.mark.parametrize("error", [ValueError(), KeyError(), AssertionError(), Declined(), BindingError("no x")])
def test_an_error_that_nothing_calls_clean_is_in_doubt(error: Exception) -> None:
    assert verdict(error) is Verdict.UNKNOWN
    assert verdict(error, Retry(on=(Exception,)).policy()) is Verdict.RETRYABLE


def test_a_permanent_error_is_a_clean_no_also_where_any_error_is_tried_again() -> None:
    class CardDeclined(PermanentError):
        pass

    any_error = Retry(on=(Exception,)).policy()
    assert verdict(ValueError(), any_error) is Verdict.RETRYABLE
    assert verdict(PermanentError()) is Verdict.CLEAN_NO
    assert verdict(CardDeclined(), any_error) is Verdict.CLEAN_NO


@pytest.mark.parametrize("clean", [(Refused,), (Declined,), (f"{__name__}.Declined",)], ids=["base", "class", "name"])
def test_what_the_step_names_as_clean_is_a_clean_no(clean: Sequence[str | type]) -> None:
    assert verdict(Declined(), clean=clean) is Verdict.CLEAN_NO


def test_the_policy_decides_by_class_and_never_on_wins() -> None:
    policy = Retry(on=(OSError,), never_on=(FileNotFoundError,)).policy()

    assert verdict(PermissionError(), policy) is Verdict.RETRYABLE
    assert verdict(ValueError(), policy) is Verdict.UNKNOWN
    assert verdict(KeyError(), Retry(on=(LookupError,), never_on=(KeyError,)).policy()) is Verdict.UNKNOWN


def test_c5_an_unknown_outcome_that_the_policy_does_not_try_again_is_in_doubt() -> None:
    policy = Retry(on=(ValueError,), never_on=(ConnectionError,)).policy()

    assert verdict(ConnectionError(), policy) is Verdict.UNKNOWN
    assert verdict(TimeoutError(), policy) is Verdict.UNKNOWN
    assert verdict(Answered(status=503), policy) is Verdict.UNKNOWN
    assert verdict(Answered(status=400), policy) is Verdict.UNKNOWN


def test_d2_what_is_clean_stays_clean_when_it_is_tried_again() -> None:
    busy = Retry(on=(Declined,)).policy()
    permanent = Retry(on=(PermanentError,)).policy()

    assert verdict(Declined(), busy, clean=(Declined,)) is Verdict.CLEAN_RETRYABLE
    assert verdict(PermanentError(), permanent) is Verdict.CLEAN_RETRYABLE
    assert verdict(CeleryRetry("again", exc=Declined()), clean=(Declined,)) is Verdict.CLEAN_RETRYABLE
    assert verdict(CeleryRetry("again", exc=Declined())) is Verdict.RETRYABLE


def test_d2_what_was_raised_before_the_body_is_clean_whatever_it_was() -> None:
    for error in (ValueError(), ConnectionError(), SoftTimeLimitExceeded()):
        assert judge(error, DEFAULT, "pay").by_place().verdict.is_clean
    assert judge(ConnectionError(), DEFAULT, "pay").by_place().verdict.is_again


# -- transient beats clean


class ServiceError(Exception):
    """The base of all errors of a client, as stripe's and requests' have one."""


class ServiceConnectionError(ServiceError):
    pass


class ServiceBusy(ServiceError):
    http_status = 503


@pytest.mark.parametrize("error", [ServiceConnectionError(), ServiceBusy(), TimeoutError(), SoftTimeLimitExceeded()])
def test_d5_a_lost_connection_is_not_clean_whichever_base_of_it_is_named(error: Exception) -> None:
    clean = (ServiceError, "builtins.OSError", "builtins.Exception")

    assert not verdict(error, clean=clean).is_clean
    assert verdict(error, clean=clean).is_again
    assert verdict(ServiceError(), clean=clean) is Verdict.CLEAN_NO


def test_d17_a_mere_name_costs_tries_and_no_cleanliness() -> None:
    """The application knows better than a pattern what its own class means."""

    class TrialTimeout(Exception):
        pass

    assert verdict(TrialTimeout()) is Verdict.RETRYABLE
    assert verdict(TrialTimeout(), clean=(TrialTimeout,)) is Verdict.CLEAN_RETRYABLE


# -- a clean no that is none


def raised_from(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def raised_amid(error: BaseException, context: BaseException, *, from_none: bool = False) -> BaseException:
    error.__context__, error.__suppress_context__ = context, from_none
    return error


@pytest.mark.parametrize(
    "transient",
    [TimeoutError(), ConnectionError(), Answered(status=503), SoftTimeLimitExceeded(), ServiceConnectionError()],
    ids=lambda error: type(error).__name__,
)
def test_d6_a_clean_no_that_was_raised_from_a_lost_connection_is_in_doubt(transient: BaseException) -> None:
    assert not verdict(raised_from(PermanentError("the bank says no"), transient)).is_clean
    assert not verdict(raised_amid(PermanentError("the bank says no"), transient)).is_clean
    assert not verdict(raised_from(PermanentError("no"), raised_from(KeyError(), transient))).is_clean
    assert not verdict(raised_from(Declined(), transient), clean=(Declined,)).is_clean
    assert not verdict(raised_from(PermanentError("no"), ExceptionGroup("two", [KeyError(), TimeoutError()]))).is_clean


def test_d6_raise_from_none_is_the_authors_word() -> None:
    error = raised_amid(PermanentError("the bank says no"), TimeoutError(), from_none=True)

    assert verdict(error) is Verdict.CLEAN_NO
    assert verdict(raised_from(PermanentError("no"), KeyError("card"))) is Verdict.CLEAN_NO


def test_d6_a_body_that_has_recorded_something_is_not_clean() -> None:
    assert judge(PermanentError(), DEFAULT, "pay").in_doubt().verdict is Verdict.UNKNOWN


# -- causes and groups


def test_d17_a_cause_is_asked_whether_to_try_again() -> None:
    assert verdict(raised_from(ValueError(), ConnectionError())) is Verdict.RETRYABLE
    assert verdict(raised_amid(ValueError(), ConnectionError())) is Verdict.UNKNOWN
    assert verdict(raised_from(ValueError(), KeyError())) is Verdict.UNKNOWN
    never = Retry(on=(Exception,), never_on=(ValueError,)).policy()
    assert verdict(raised_from(ValueError(), ConnectionError()), never) is Verdict.UNKNOWN


def test_d17_a_timeout_is_one_behind_another_error_and_in_a_group_too() -> None:
    assert verdict(raised_from(ValueError(), SoftTimeLimitExceeded())) is Verdict.TIMEOUT
    assert verdict(ExceptionGroup("two", [ValueError(), SoftTimeLimitExceeded()])) is Verdict.TIMEOUT


def test_d17_a_group_is_tried_again_if_every_member_is_and_is_never_clean() -> None:
    assert verdict(ExceptionGroup("two", [TimeoutError(), ConnectionError()])) is Verdict.RETRYABLE
    assert verdict(ExceptionGroup("two", [TimeoutError(), ValueError()])) is Verdict.UNKNOWN
    assert verdict(ExceptionGroup("two", [PermanentError(), PermanentError()])) is Verdict.UNKNOWN


def test_d17_what_a_client_says_against_another_try_takes_none_away() -> None:
    lost = ServiceConnectionError()
    lost.should_retry = False  # type: ignore[attr-defined]

    assert verdict(lost) is Verdict.RETRYABLE
    assert verdict(Answered(should_retry=True)) is Verdict.RETRYABLE
    assert verdict(Answered(retriable=1)) is Verdict.UNKNOWN  # only True says something


# -- what ends a process


@pytest.mark.parametrize("error", [SoftTimeLimitExceeded(), TimeLimitExceeded(3)])
def test_a_time_limit_is_a_timeout(error: Exception) -> None:
    assert verdict(error) is Verdict.TIMEOUT


def test_gevents_time_limit_is_one_too() -> None:
    assert verdict(gevent.Timeout(3)) is Verdict.TIMEOUT


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), gevent.GreenletExit()])
def test_a_process_that_is_told_to_stop_is_interrupted_not_failed(error: BaseException) -> None:
    assert verdict(error) is Verdict.INTERRUPTED


@pytest.mark.parametrize(
    "error", [GeneratorExit(), asyncio.CancelledError(), BaseExceptionGroup("two", [KeyboardInterrupt()])]
)
def test_d18_any_other_base_exception_is_the_bodys_own_failure(error: BaseException) -> None:
    """Counted as a loss, it would run an action again that was never to run twice."""
    assert verdict(error) is Verdict.UNKNOWN


@pytest.mark.parametrize("error", [Ignore(), Reject("no")])
def test_celerys_ways_to_end_a_chain_silently_are_no_answer(error: Exception) -> None:
    assert verdict(error) is Verdict.UNUSABLE


def test_a_retry_raised_by_the_body_is_honoured_with_its_cause_and_its_delay() -> None:
    judged = judge(CeleryRetry("again", exc=ValueError("why"), when=17), DEFAULT, "pay")

    assert (judged.verdict, judged.retry_after) == (Verdict.RETRYABLE, 17.0)
    assert (judged.error.type, judged.error.message) == ("builtins.ValueError", "why")
    assert judge(CeleryRetry("again"), DEFAULT, "pay").verdict is Verdict.RETRYABLE


# -- Retry-After


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (Answered(response=response(503, Retry_After="30")), 30.0),
        (Answered(response=response(429, Retry_After="1.5")), 1.5),
        (Answered(response=response(429)), 0.0),
        (Answered(response=response(429, Retry_After="-5")), 0.0),
        (Answered(response=response(429, Retry_After="soon")), 0.0),
        (Answered(retry_after=7), 7.0),
        (Answered(retry_after=None), 0.0),
        (Answered(response=SimpleNamespace(status_code=503, headers=None)), 0.0),
    ],
)
def test_the_wait_that_a_service_asks_for_is_read(error: Exception, seconds: float) -> None:
    assert judge(error, DEFAULT, "pay").retry_after == seconds


@pytest.mark.parametrize("asked", ["nan", "inf", "1e400", float("inf"), float("nan"), "99999999999"])
def test_a_wait_that_nobody_can_keep_is_not_taken_over(asked: Any) -> None:
    """It would end as an overflow in the failing process, before its failure is recorded."""
    wait = judge(Answered(retry_after=asked), DEFAULT, "pay").retry_after

    assert 0 <= wait <= 7 * 86_400


def test_an_http_date_as_retry_after_is_no_trouble() -> None:
    error = Answered(response=response(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"))

    assert judge(error, DEFAULT, "pay").retry_after == 0.0
