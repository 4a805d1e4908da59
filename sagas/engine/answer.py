"""The answer to a message whose execution is over, which Celery acts on: pure functions of what the rows say."""

from dataclasses import dataclass
from typing import Any

from celery.exceptions import Retry

from sagas.engine.redaction import for_celery
from sagas.errors import SagaError
from sagas.model import ExecutionStatus, StepState
from sagas.model.limits import Limits


@dataclass(frozen=True, slots=True)
class Answer:
    """Return a value or raise an error, and let the message's chain go on or end."""

    value: Any = None
    goes_on: bool = False  # Celery publishes the chain's next message
    limits: Limits | None = None  # of that next message; None: those that it was sent with
    raises: BaseException | None = None
    is_expected: bool = False  # Celery logs the error as an answer, without a traceback


#: The message is answered, and nothing follows by its chain.
END = Answer()


@dataclass(frozen=True, slots=True)
class FailureTaken:
    """The rows have taken a failure."""

    error: BaseException  # as Celery may see it
    is_original: bool  # it is the body's own error: nothing had to be hidden
    is_answer: bool  # the error itself says that nothing was done
    row: StepState


def answer_to_failure(taken: FailureTaken) -> Answer:
    """Return a retry, if the execution is to be tried again, otherwise the error, for Celery's error callback."""
    row = taken.row
    if row.status is ExecutionStatus.PENDING:
        # Celery ends this chain, calls no error callback, and Flower shows the attempt as a retry.
        retry = Retry(f"attempt {row.attempts} failed", exc=for_celery(taken.error), when=row.not_before)
        retry.__context__ = taken.error if taken.is_original else None
        return Answer(raises=retry)
    expected = taken.is_answer and row.address.is_action and not row.doubt
    return Answer(raises=for_celery(taken.error), is_expected=expected)


def answer_to_report(row: StepState | None, token: object, *, carried: bool, limits: Limits | None) -> Answer:
    """Return what follows an end that was reported through the loop.

    Args:
        row: the execution as it is now; None: it no longer exists.
        token: that of the execution that reported.
        carried: whether the chain carries the message that is to be sent next.
        limits: those of that message.
    """
    if row is not None and row.status is ExecutionStatus.FAILED and row.token == token and row.error is not None:
        return Answer(raises=SagaError(str(row.error)))  # shown by Flower
    return Answer(goes_on=carried, limits=limits if carried else None)
