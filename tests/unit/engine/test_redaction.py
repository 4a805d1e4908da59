"""What is stored, logged and announced of an instance tells none of its secrets."""

import traceback
from uuid import uuid4

import pytest

from sagas.engine.redaction import redacted, redacted_value, shown_error, shown_result, writes_text
from sagas.errors import SagaError
from sagas.model import (
    Address,
    Decision,
    ErrorInfo,
    InstanceState,
    Note,
    Secrecy,
    StepState,
    Stop,
    StopKind,
)

CARD = "4111-1111"
SECRECY = Secrecy(["card"])
redact = SECRECY.redactor({"card": CARD})


def error(text: str) -> ErrorInfo:
    return ErrorInfo(type="shop.Declined", message=text, traceback=f"Traceback…\n{text}", step="pay")


BEFORE = InstanceState(id=uuid4(), steps=(StepState(address=Address(0), name="pay"),))


def test_errors_reasons_and_the_history_are_redacted_and_results_are_not() -> None:
    told = error(f"no {CARD}")
    stop = Stop(kind=StopKind.CANCELLED, reason=f"{CARD} was stolen")
    step = StepState(address=Address(0), name="pay", error=told, result=f'{{"card": "{CARD}"}}')
    note = Note(event="attempt_failed", detail={**told.to_json(), "attempt": 1, "more": [{"deep": CARD}]})
    decision = Decision(
        state=InstanceState(id=BEFORE.id, steps=(step,), error=told, stop=stop), notes=(note,), consumed=frozenset({7})
    )

    safe = redacted(decision, redact)

    assert safe.state.steps[0].result == step.result
    assert CARD not in repr(safe).replace(repr(step.result), "")
    assert safe.state.error == error("no •••")
    assert (safe.state.stop, safe.consumed) == (Stop(kind=StopKind.CANCELLED, reason="••• was stolen"), frozenset({7}))
    assert safe.notes[0].detail["attempt"] == 1


def test_a_decision_without_secrets_is_the_same_value() -> None:
    decision = Decision(
        state=InstanceState(id=BEFORE.id, steps=BEFORE.steps, error=error("no")), notes=(Note(event="x"),)
    )

    assert redacted(decision, redact) == decision


def test_only_a_decision_that_words_something_is_looked_at() -> None:
    failed = StepState(address=Address(0), name="pay", error=error("no"))

    assert not writes_text(BEFORE, Decision(state=BEFORE))
    assert writes_text(BEFORE, Decision(state=BEFORE, notes=(Note(event="x"),)))
    assert writes_text(BEFORE, Decision(state=InstanceState(id=BEFORE.id, steps=(failed,))))
    assert writes_text(BEFORE, Decision(state=InstanceState(id=BEFORE.id, steps=BEFORE.steps, error=error("no"))))


def test_values_are_redacted_all_the_way_down() -> None:
    value = {"note": f"by {CARD}", "lines": [{"text": CARD}, 7, None]}

    assert redacted_value(value, redact) == {"note": "by •••", "lines": [{"text": "•••"}, 7, None]}


# -- what Celery gets to see


def test_a_result_is_shown_without_its_secrets() -> None:
    assert shown_result({"card": CARD, "id": 7}, SECRECY, redact) == {"card": "•••", "id": 7}
    assert shown_result({"note": f"by {CARD}"}, SECRECY, redact) == "{'note': 'by •••'}"
    assert shown_result({"card": CARD}, Secrecy(), str) == {"card": CARD}
    assert shown_result(None, SECRECY, redact) is None
    assert shown_result(Unspeakable(), SECRECY, redact) is None


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no text for you")


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        try:
            if cause is not None:
                raise cause
        finally:
            raise error
    except BaseException as caught:
        return caught


def test_an_exception_that_tells_nothing_stays_what_it_is() -> None:
    harmless = raised(ValueError("no"), KeyError("before"))

    assert shown_error(harmless, redact) is harmless


@pytest.mark.parametrize(
    "telling",
    [ValueError(f"no {CARD}"), ValueError({"card": CARD}), KeyError(CARD)],
    ids=lambda error: repr(error)[:20],
)
def test_one_that_tells_a_secret_is_replaced_by_its_name_and_the_rest_of_its_text(telling: Exception) -> None:
    caught = raised(telling)

    try:
        try:
            raise caught
        except BaseException as error:
            raise shown_error(error, redact)  # noqa: B904 - as it is raised where the other one is being handled
    except SagaError as told:
        text = "".join(traceback.format_exception(told))

    assert CARD not in text
    assert f"SagaError: {type(telling).__name__}: " in text


def test_one_whose_cause_tells_a_secret_is_replaced_too() -> None:
    told = shown_error(raised(ValueError("no"), KeyError(CARD)), redact)

    assert (type(told), str(told)) == (SagaError, "ValueError: no")


def test_an_interruption_that_tells_a_secret_ends_its_process_all_the_same() -> None:
    told = shown_error(raised(SystemExit(f"stopped at {CARD}")), redact)

    assert isinstance(told, SystemExit)
    assert told.code == 1
