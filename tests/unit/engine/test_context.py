"""`current_step`: ambient inside a step, false and telling outside."""

import threading
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from celery import Celery

from sagas import NoCurrentStep, current_step
from sagas.engine import Engine
from sagas.engine.context import StepContext, as_current
from sagas.engine.outgoing import Outbox
from sagas.engine.recorder import Recorder
from sagas.engine.transaction import StepTransaction
from sagas.model import Address
from sagas.store import Timing

ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
ENGINE = Engine(Celery(), "postgresql://nobody@/nowhere?host=/nonexistent", "sagas", Timing())
PUBLIC = ["saga_id", "saga", "name", "attempt", "idempotency_key", "action_key", "deadline", "connection"]


def context(round_: int = 0, **changes: Any) -> StepContext:
    given: dict[str, Any] = {
        "saga_id": ID,
        "saga": "order",
        "name": "pay",
        "round": round_,
        "attempt": 2,
        "deadline": datetime(2040, 1, 1, tzinfo=UTC),
        "recorder": Recorder(ENGINE, ID, Address(0), UUID(int=1), "pay"),
        "outbox": Outbox(ENGINE, ID),
        "transaction": StepTransaction(ENGINE.store.database),
    }
    return StepContext(**given | changes)


@pytest.mark.parametrize("name", PUBLIC)
def test_outside_a_step_every_attribute_says_so_with_the_cure(name: str) -> None:
    with pytest.raises(NoCurrentStep, match="test `if current_step:` first"):
        getattr(current_step, name)


def test_outside_a_step_it_is_false_and_can_be_printed() -> None:
    assert not current_step
    assert "None" in repr(current_step)


def test_inside_a_step_it_tells_what_runs() -> None:
    with as_current(context()):
        assert current_step
        assert (current_step.saga_id, current_step.saga, current_step.name) == (ID, "order", "pay")
        assert current_step.attempt == 2
        assert current_step.deadline == datetime(2040, 1, 1, tzinfo=UTC)
        assert isinstance(current_step.saga_id, UUID)
    assert not current_step


@pytest.mark.parametrize(
    ("round_", "key"),
    [(0, f"{ID}:pay"), (1, f"comp:{ID}:pay"), (2, f"comp:{ID}:pay:2"), (3, f"comp:{ID}:pay:3")],
)
def test_c8_each_round_of_a_compensation_has_its_own_key_and_the_actions_key_stays(round_: int, key: str) -> None:
    with as_current(context(round_)):
        assert current_step.idempotency_key == key
        assert current_step.action_key == f"{ID}:pay"


def body_that_raises() -> None:
    with as_current(context(name="inner")):
        assert current_step.name == "inner"
        raise ZeroDivisionError


def test_it_ends_also_when_the_body_raises_and_nests() -> None:
    with as_current(context(name="outer")):
        with pytest.raises(ZeroDivisionError):
            body_that_raises()
        assert current_step.name == "outer"


def test_another_thread_runs_no_step() -> None:
    seen = []
    with as_current(context()):
        thread = threading.Thread(target=lambda: seen.append(bool(current_step)))
        thread.start()
        thread.join()
    assert seen == [False]


def test_looking_at_it_opens_no_connection() -> None:
    given = context()
    with as_current(given):
        repr(current_step)
    assert not given.transaction.is_open
