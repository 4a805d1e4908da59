"""The table of answers: which of them Celery gets, by what the rows say."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from celery.exceptions import Ignore, Retry

from sagas.engine.answer import END, Answer, FailureTaken, answer_to_failure, answer_to_report
from sagas.errors import SagaError
from sagas.model import Address, ErrorInfo, ExecutionStatus, StepState
from sagas.model.limits import Limits

TOKEN = uuid4()
FAILED = StepState(
    address=Address(1),
    name="charge",
    status=ExecutionStatus.FAILED,
    attempts=2,
    token=TOKEN,
    error=ErrorInfo(type="builtins.ValueError", message="no funds"),
)
PENDING = replace(FAILED, status=ExecutionStatus.PENDING, not_before=datetime(2026, 1, 1, tzinfo=UTC))


def taken(error: BaseException, row: StepState, *, is_original: bool = True, is_answer: bool = False) -> FailureTaken:
    return FailureTaken(error, is_original, is_answer, row)


def test_a_message_that_is_answered_by_nothing_ends_its_chain_without_an_error() -> None:
    assert Answer(value=None, goes_on=False, raises=None) == END


def test_a_failure_that_is_tried_again_is_shown_as_a_retry_at_its_moment() -> None:
    error = ValueError("not yet")

    answer = answer_to_failure(taken(error, PENDING))

    assert isinstance(answer.raises, Retry)
    assert answer.raises.when == PENDING.not_before
    assert "attempt 2 failed" in str(answer.raises)
    assert answer.raises.__context__ is error


def test_a_retry_does_not_lead_to_an_error_whose_secrets_were_hidden() -> None:
    answer = answer_to_failure(taken(SagaError("…"), PENDING, is_original=False))

    assert answer.raises is not None
    assert answer.raises.__context__ is None


@pytest.mark.parametrize(
    ("row", "is_answer", "expected"),
    [
        pytest.param(FAILED, True, True, id="a clean no of an action"),
        pytest.param(FAILED, False, False, id="a mistake"),
        pytest.param(replace(FAILED, doubt=True), True, False, id="a clean no of an action in doubt"),
        pytest.param(replace(FAILED, address=Address(1, round=1)), True, False, id="a clean no of a compensation"),
    ],
)
def test_only_a_clean_no_of_an_action_is_logged_as_an_answer(row: StepState, is_answer: bool, expected: bool) -> None:
    error = ValueError("no funds")

    answer = answer_to_failure(taken(error, row, is_answer=is_answer))

    assert answer.raises is error
    assert answer.is_expected is expected


@pytest.mark.parametrize(
    "error", [MemoryError("full"), Ignore(), SystemExit(3)], ids=lambda error: type(error).__name__
)
def test_an_error_that_celery_would_act_on_is_shown_as_a_failure(error: BaseException) -> None:
    answer = answer_to_failure(taken(error, FAILED))

    assert type(answer.raises) is SagaError
    assert type(error).__name__ in str(answer.raises)


def test_a_reported_end_lets_the_chain_go_on_if_it_carries_the_next_message() -> None:
    row = replace(FAILED, status=ExecutionStatus.COMPLETED, error=None)

    assert answer_to_report(row, TOKEN, carried=True, limits=Limits(9.0)) == Answer(goes_on=True, limits=Limits(9.0))
    assert answer_to_report(row, TOKEN, carried=False, limits=Limits(9.0)) == END
    assert answer_to_report(None, TOKEN, carried=False, limits=None) == END


def test_a_reported_end_that_the_rows_refuse_is_raised_by_the_execution_that_reported_it_alone() -> None:
    refused = answer_to_report(FAILED, TOKEN, carried=False, limits=None)

    assert isinstance(refused.raises, SagaError)
    assert "no funds" in str(refused.raises)
    assert answer_to_report(FAILED, uuid4(), carried=False, limits=None) == END
