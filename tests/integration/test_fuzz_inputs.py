"""Whatever an application gives to `start`, `signal` and the others, and whatever its steps return or raise."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from celery import shared_task
from hypothesis import example, given, settings
from hypothesis import strategies as st

from config.servers import EmbeddedPostgres
from sagas import InstanceNotFound, Retry, Saga, SagaError, Sagas, SagaStatus, Step, StepStatus, WaitFor
from sagas.testing import inline
from tests.conftest import GivenPostgres
from tests.support.application import make
from tests.support.inline import empty_memory
from tests.unit.model.test_payload import data, same

#: What PostgreSQL cannot keep, and what it can.
text = st.text(max_size=10) | st.sampled_from(["", "\x00", "\ud800", "a\x00b", "x" * 5000, "%s", "{s}", ":id", "'; --"])
junk = st.recursive(
    st.sampled_from([object(), b"bytes", {1, 2}, 1j, float("nan"), float("inf"), Decimal("Infinity"), range(3), int])
    | text
    | data,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text | st.integers() | st.none(), inner, max_size=3),
    max_leaves=8,
)
mappings = st.dictionaries(text, data, max_size=4)

#: What the next step returns or raises; nothing else can hand it over as it is.
answers: list[Any] = []


@shared_task
def answer() -> Any:
    given = answers[0]
    if isinstance(given, BaseException):
        raise given
    return given


@shared_task
def take_back() -> Any:
    return answers[0] if not isinstance(answers[0], BaseException) else None


@shared_task
def see(data: Any) -> None:
    assert isinstance(data, dict)


QUICK = Retry(max_attempts=2, backoff=0.01)
saying = Saga(
    "saying",
    steps=[
        Step(answer, compensation=take_back, retry=QUICK, compensation_retry=QUICK),
        Step(see, compensation=None, retry=QUICK),
    ],
)
waiting = Saga("waiting", steps=[WaitFor("go", timeout=3600), Step(see, compensation=None)])


@pytest.fixture(scope="module")
def sagas(postgres: EmbeddedPostgres | GivenPostgres) -> Iterator[Sagas]:
    empty_memory()
    made = make("memory://", postgres.create_database(f"test_{uuid4().hex}"))
    made.migrate()
    yield made
    made.engine.store.database.dispose()


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What is logged of a lone surrogate is no text that a parallel run's processes could tell each other."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def count(sagas: Sagas) -> int:
    return len(sagas.list(limit=10_000))


@settings(max_examples=80)
@given(data=mappings | junk, key=st.none() | text | junk, if_exists=st.just("return") | text)
def test_a_start_inserts_what_it_was_given_or_refuses_it(sagas: Sagas, data: Any, key: Any, if_exists: Any) -> None:
    before = count(sagas)
    try:
        run = sagas.start(waiting, data, key=key, if_exists=if_exists)
    except SagaError as error:
        assert count(sagas) == before
        assert len(str(error)) < 1000  # noqa: PT017 - it may as well be started
    else:
        assert same(run.data, as_lists(dict(data)))
        assert run.key == key
        assert sagas.find(saga="waiting", key=key) == run if key is not None else True
        sagas.engine.store.instances.delete([run.id])


def as_lists(value: Any) -> Any:
    """As the payload keeps it."""
    if isinstance(value, list | tuple | range):
        return [as_lists(item) for item in value]
    if isinstance(value, dict):
        return {name: as_lists(item) for name, item in value.items()}
    return value


@settings(max_examples=40)
@given(
    st.sampled_from([float("nan"), float("-inf"), -1, 0, True, "soon", [], datetime(2040, 1, 1), timedelta(-1), 1e308])
    | st.floats()
    | st.timedeltas()
    | st.datetimes(timezones=st.just(UTC))
)
@example(timedelta.max)
@example(datetime.max.replace(tzinfo=UTC))
@example(datetime.min.replace(tzinfo=UTC))
def test_a_deadline_is_kept_or_refused(sagas: Sagas, deadline: Any) -> None:
    try:
        run = sagas.start(waiting, {}, deadline=deadline)
    except SagaError:
        return
    sagas.sweep()
    assert run.status in SagaStatus
    sagas.engine.store.instances.delete([run.id])


class Unspeakable(Exception):
    """Cannot even be told."""

    def __str__(self) -> str:
        raise RuntimeError("no text for you")

    __repr__ = __str__


def raised(argument: Any) -> BaseException:
    return ConnectionError(argument)


errors = st.sampled_from(
    [Unspeakable(), KeyError(), ExceptionGroup("several", [ValueError("one")]), AssertionError(None)]
)


@settings(max_examples=60)
@given(junk | mappings | errors | junk.map(raised) | text.map(ValueError))
@example({"data": {"a": 1}})
@example({"$secret": "x"})
@example("manual")
@example({"outcome": "manual"})
def test_whatever_a_step_returns_or_raises_its_saga_ends(sagas: Sagas, said: Any) -> None:
    answers[:] = [said]

    with inline(sagas):
        run = sagas.start(saying, {})

    assert run.status in (SagaStatus.COMPLETED, SagaStatus.COMPENSATED, SagaStatus.FAILED)
    assert run.timeline()
    if run.status is SagaStatus.COMPLETED and isinstance(said, dict):
        assert same(run.data, as_lists(said))
    sagas.engine.store.instances.delete([run.id])


@settings(max_examples=60)
@given(
    name=st.just("go") | text | junk, payload=st.none() | mappings | junk, key=st.none() | text | junk, by=text | junk
)
def test_a_signal_is_taken_or_refused(sagas: Sagas, name: Any, payload: Any, key: Any, by: Any) -> None:
    run = sagas.start(waiting, {"input": 1})
    try:
        was_new = run.signal(name, payload, key=key, by=by)
    except SagaError as error:
        assert len(str(error)) < 1000  # noqa: PT017 - it may as well be taken
        assert run.steps[0].status is StepStatus.PENDING
    else:
        assert was_new
        assert (name, run.steps[0].status) == ("go", StepStatus.COMPLETED)
        if isinstance(payload, dict):
            assert same(run.data, {"input": 1} | as_lists(payload))
    sagas.engine.store.instances.delete([run.id])


@settings(max_examples=40)
@given(reason=text | junk, by=text | junk, step=st.none() | text)
def test_a_reason_is_kept_or_refused(sagas: Sagas, reason: Any, by: Any, step: Any) -> None:
    run = sagas.start(waiting, {})
    for act in (
        lambda: run.retry(reason, by=by),
        lambda: run.skip(reason, by=by, step=step, result={"a": reason}),
        lambda: run.resolve(reason, by=by, step=step),
        lambda: run.cancel(reason, by=by),
    ):
        try:
            act()
        except SagaError as error:
            assert len(str(error)) < 10_000  # noqa: PT017 - each of several
    entries = [entry for entry in run.history() if entry.event == "stop_requested"]
    assert all(entry.detail["reason"] == reason.strip() and entry.detail["by"] == by for entry in entries)
    assert bool(entries) == (run.status is SagaStatus.COMPENSATED)
    sagas.engine.store.instances.delete([run.id])


@settings(max_examples=60)
@given(st.one_of(text, junk))
def test_what_is_no_id_is_told_so_and_what_is_no_key_finds_nothing(sagas: Sagas, said: Any) -> None:
    with pytest.raises(InstanceNotFound):
        sagas.get(said)
    if isinstance(said, str):
        assert sagas.find(saga=said, key=said) is None
