"""Sagas that start on an event: for a choreography, each of them is one more handler, with an undo that cancels it."""

from collections.abc import Mapping
from typing import Any

from celery import Celery

from sagas.choreography.events import EventType
from sagas.choreography.known import is_same_kind
from sagas.definition import Saga
from sagas.definition.retry import COMPENSATION_RETRY, Retry
from sagas.engine import CANCEL_TASK, START_TASK, Engine, PlanTarget, current_event, current_step, declared
from sagas.errors import InstanceNotFound, NotBound, TransitionRefused
from sagas.handle import SagaHandle
from sagas.model import PlanStep, SagaStatus, UndoOutcome, payload
from sagas.model.choreography import HandlerPlan
from sagas.model.choreography.plan import starter_name
from sagas.store import Kinship, Runs

#: A start waits for a key that another transaction holds, and for a database that is away.
START_RETRY = Retry(max_attempts=20, on=(Exception,), max_backoff=300.0)


def starters(engine: PlanTarget, types: Mapping[str, EventType]) -> dict[str, Saga]:
    """Return the sagas of an app that start on one of some events, by the names of their handlers."""
    found = {}
    for saga in declared():
        if isinstance(saga, Saga) and saga.starts_on is not None:
            heard = types.get(saga.starts_on.type)
            if heard is not None and is_same_kind(heard.kind, saga.starts_on.kind) and _belongs(saga, engine):
                found[starter_name(saga.name)] = saga
    return found


def _belongs(saga: Saga, engine: PlanTarget) -> bool:
    try:
        saga.plan(engine)
    except NotBound:  # of another app
        return False
    return True


def starter_plan(name: str, saga: Saga, place: int) -> HandlerPlan:
    """Return the handler that starts a saga, as a graph has it."""
    assert saga.starts_on is not None
    step = PlanStep(
        position=0,
        branch=place,
        name=name,
        task=START_TASK,
        compensation=CANCEL_TASK,
        retry=START_RETRY.policy(),
        compensation_retry=COMPENSATION_RETRY.policy(),
    )
    return HandlerPlan(step=step, hears=(saga.starts_on.type,))


# -- the library's tasks


def add_starting_tasks(app: Celery, engine: Engine) -> None:
    """Add the tasks of the deliveries that start sagas to an app. They are fenced as the app's own are."""
    runs, kinship = engine.store.runs, engine.store.kinship

    @app.task(name=START_TASK, shared=False, ignore_result=True)
    def start_saga(event: Any) -> None:
        start_on_event(engine, runs, event)

    @app.task(name=CANCEL_TASK, shared=False, ignore_result=True)
    def cancel_saga(event: Any) -> str | None:
        return cancel_on_undo(engine, kinship)


def start_on_event(engine: Engine, runs: Runs, event: Any) -> None:
    """Start the saga of the running delivery, in one commit with its completion. It takes no other key there."""
    saga = _saga_of_delivery()
    assert saga.starts_on is not None
    data = payload.fields_of(event, f"event {current_event.type!r}")
    key = saga.starts_on.key_for(data, saga.name)
    connection, beginning = current_event.connection, engine.begin(saga.plan(engine))
    handle = saga.start_on(engine, data, key=key, connection=connection, beginning=beginning)
    if handle.id == beginning.id:
        cause = current_event.idempotency_key
        runs.correlate(connection.scalar, handle.id, current_event.run_id, cause, number=current_event.number)


def cancel_on_undo(engine: Engine, kinship: Kinship) -> str | None:
    """Cancel the saga that the undone delivery started. A person is asked if it can no longer turn back.

    It is found by its cause: a later release may make other keys of the same event.
    """
    found = kinship.begun_by(current_event.correlation_id, current_event.action_key)
    if found is None:
        return None  # it was not started, or its key had a saga of others already
    handle = SagaHandle(engine, found)
    reason = f"what began it was undone: {current_step.saga} {current_event.run_id}"
    try:
        handle.cancel(reason, by="sagas")
    except InstanceNotFound:
        return None
    except TransitionRefused:
        undone = (SagaStatus.COMPENSATED, SagaStatus.COMPENSATING)
        return None if handle.status in undone else UndoOutcome.MANUAL.value
    return None


def _saga_of_delivery() -> Saga:
    name = current_step.name
    return next(saga for saga in declared() if isinstance(saga, Saga) and starter_name(saga.name) == name)
