"""What an exception says about its effect, by its class and by the shapes that HTTP clients give theirs."""

from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from celery.exceptions import Ignore, Reject
from celery.exceptions import Retry as CeleryRetry

from sagas import PermanentError, Retry
from sagas.engine.judging import describe, judge
from sagas.model import RetryPolicy, Verdict

DEFAULT = RetryPolicy()


def verdict(error: BaseException, policy: RetryPolicy = DEFAULT) -> Verdict:
    return judge(error, policy, "pay").verdict


class Answered(Exception):
    """As requests', httpx's and aiohttp's errors look."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__("answered")
        for name, value in attributes.items():
            setattr(self, name, value)


def response(status: int, **headers: str) -> SimpleNamespace:
    return SimpleNamespace(status_code=status, headers={name.replace("_", "-"): text for name, text in headers.items()})


SHAPES = {
    "requests, httpx": lambda status: Answered(response=response(status)),
    "aiohttp": lambda status: Answered(status=status),
    "urllib": lambda status: Answered(code=status),
    "starlette": lambda status: Answered(status_code=status),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504])
def test_c5_an_answer_whose_outcome_is_unknown_is_retryable(shape: Any, status: int) -> None:
    assert verdict(shape(status)) is Verdict.RETRYABLE


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("status", [400, 402, 404, 409, 422])
def test_a_refusal_is_a_clean_no(shape: Any, status: int) -> None:
    assert verdict(shape(status)) is Verdict.CLEAN_NO


@pytest.mark.parametrize(
    "attributes",
    [{}, {"response": None}, {"code": "503"}, {"status": True}, {"code": 99503}, {"response": SimpleNamespace()}],
    ids=str,
)
def test_what_is_no_http_status_is_not_taken_for_one(attributes: dict[str, Any]) -> None:
    assert verdict(Answered(**attributes)) is Verdict.CLEAN_NO


@pytest.mark.parametrize("error", [ConnectionError(), ConnectionResetError(), BrokenPipeError(), TimeoutError()])
def test_c5_connection_errors_and_timeouts_are_retryable(error: Exception) -> None:
    assert verdict(error) is Verdict.RETRYABLE


@pytest.mark.parametrize("error", [ValueError(), KeyError(), PermanentError(), AssertionError()])
def test_other_errors_are_a_clean_no(error: Exception) -> None:
    assert verdict(error) is Verdict.CLEAN_NO


def test_the_policy_decides_by_class_and_never_on_wins() -> None:
    policy = Retry(on=(OSError,), never_on=(FileNotFoundError,)).policy()

    assert verdict(PermissionError(), policy) is Verdict.RETRYABLE
    assert verdict(ValueError(), policy) is Verdict.CLEAN_NO
    assert verdict(KeyError(), Retry(on=(LookupError,), never_on=(KeyError,)).policy()) is Verdict.CLEAN_NO


def test_c5_an_unknown_outcome_that_the_policy_does_not_try_again_is_no_clean_no() -> None:
    policy = Retry(on=(ValueError,), never_on=(ConnectionError,)).policy()

    assert verdict(ConnectionError(), policy) is Verdict.UNKNOWN
    assert verdict(TimeoutError(), policy) is Verdict.UNKNOWN
    assert verdict(Answered(status=503), policy) is Verdict.UNKNOWN
    assert verdict(Answered(status=400), policy) is Verdict.CLEAN_NO


def test_a_permanent_error_is_a_clean_no_also_where_any_error_is_retried() -> None:
    class CardDeclined(PermanentError):
        pass

    any_error = Retry(on=(Exception,)).policy()
    assert verdict(ValueError(), any_error) is Verdict.RETRYABLE
    assert verdict(CardDeclined(), any_error) is Verdict.CLEAN_NO


@pytest.mark.parametrize("error", [SoftTimeLimitExceeded(), TimeLimitExceeded(3)])
def test_a_time_limit_is_a_timeout(error: Exception) -> None:
    assert verdict(error) is Verdict.TIMEOUT


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_a_process_that_is_told_to_stop_is_interrupted_not_failed(error: BaseException) -> None:
    assert verdict(error) is Verdict.INTERRUPTED


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


# -- text and traceback


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_type_text_traceback_and_step_are_kept() -> None:
    info = judge(raised(ValueError("why")), DEFAULT, "pay").error

    assert (info.type, info.message, info.step) == ("builtins.ValueError", "why", "pay")
    assert "raise error" in info.traceback


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "\x00" * 5000, "x" * 100_000, "✓ ünïcödé"])
def test_whatever_a_message_contains_it_can_be_stored(text: str) -> None:
    info = describe(raised(ValueError(text)))

    for kept in (info.message, info.traceback):
        assert "\x00" not in kept
        kept.encode("utf-8")
    assert 0 < len(info.message) <= 4_000
    assert len(info.traceback) <= 20_000


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")

    __repr__ = __str__


def test_an_exception_that_cannot_be_shown_is_recorded_nevertheless() -> None:
    info = judge(raised(Unspeakable()), DEFAULT, "pay").error

    assert info.type.endswith("Unspeakable")
    assert "no text for you" in info.message


class Unreadable(Exception):
    """Attributes that raise when they are looked at, as lazy responses do."""

    @property
    def response(self) -> Any:
        raise RuntimeError("the connection is closed")

    @property
    def retry_after(self) -> Any:
        raise RuntimeError("the connection is closed")


def test_an_exception_whose_attributes_raise_is_judged_nevertheless() -> None:
    assert verdict(raised(Unreadable())) is Verdict.CLEAN_NO


def test_an_exception_group_and_a_chain_of_causes_are_described() -> None:
    group = ExceptionGroup("several", [ValueError("one"), KeyError("two")])
    assert "one" in describe(raised(group)).traceback

    def chained() -> None:
        try:
            raise ValueError("first")
        except ValueError as error:
            raise KeyError("second") from error

    with pytest.raises(KeyError) as caught:
        chained()
    assert "first" in describe(caught.value).traceback
