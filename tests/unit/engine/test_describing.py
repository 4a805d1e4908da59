"""What is kept of an exception, and that neither keeping nor judging it ever fails."""

from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded

from sagas import PermanentError
from sagas.engine.judging import describe, judge
from sagas.model import RetryPolicy, Verdict

DEFAULT = RetryPolicy()


def verdict(error: BaseException, *clean: type) -> Verdict:
    return judge(error, DEFAULT, "pay", clean=clean).verdict


def raised_from(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


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


# -- judging never fails


class Unreadable(Exception):
    """Attributes that raise when they are looked at, as lazy responses do."""

    @property
    def response(self) -> Any:
        raise RuntimeError("the connection is closed")

    @property
    def retry_after(self) -> Any:
        raise SystemExit("asked over the network")

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise SystemExit("no")


class AnswersEverything(Exception):
    def __getattr__(self, name: str) -> Any:
        return 503


class Speechless(Exception):
    def __str__(self) -> str:
        raise SystemExit("no text for you")

    __repr__ = __str__


class Anonymous(type):
    """A metaclass that refuses whatever it is asked."""

    @property
    def __module__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("no module for you")

    @property
    def __mro__(cls) -> Any:  # type: ignore[override]
        raise RuntimeError("no bases for you")


class Masked(Exception, metaclass=Anonymous):
    pass


@pytest.mark.parametrize("kind", [Unreadable, AnswersEverything, Speechless, Masked, Unspeakable])
def test_d16_an_exception_that_cannot_be_looked_at_is_judged_nevertheless(kind: type[Exception]) -> None:
    assert verdict(raised(kind())) is Verdict.UNKNOWN
    assert verdict(raised(kind()), ValueError) is Verdict.UNKNOWN


def test_d16_an_endless_chain_of_causes_is_followed_so_far_and_no_further() -> None:
    first, second = KeyError("one"), KeyError("two")
    first.__cause__, second.__cause__ = second, first

    assert verdict(first) is Verdict.UNKNOWN
    assert verdict(raised_from(PermanentError(), first)) is Verdict.CLEAN_NO


def test_d16_a_time_limit_that_strikes_while_it_is_judged_is_the_timeout() -> None:
    class Slow(Exception):
        def __str__(self) -> str:
            raise SoftTimeLimitExceeded

    assert verdict(Slow()) is Verdict.TIMEOUT


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
