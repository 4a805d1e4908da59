"""Which functions a saga can call: none whose body would never run, and none that no name can fill."""

import asyncio
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial, wraps
from typing import Any

import pytest
from celery import Celery

from sagas import DefinitionError, PayloadError, Step
from sagas.engine import TaskFace, condition, face_of, refuse_unfit
from sagas.engine.conditions import is_wanted
from sagas.engine.fitness import refuse_unawaited
from tests.unit.model.story import plan_of, step


async def waits(order_id: str) -> None: ...


async def waits_and_yields(order_id: str) -> AsyncIterator[str]:
    yield order_id


def yields(order_id: str) -> Iterator[str]:
    yield order_id


def by_place(order_id: str, /) -> None: ...


def by_place_if_at_all(order_id: str = "1", /) -> None: ...


class Called:
    async def __call__(self, order_id: str) -> None: ...


@pytest.fixture
def app() -> Celery:
    return Celery("fitness", set_as_current=False)


def run_to_its_end(function: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(function(*args, **kwargs))  # type: ignore[arg-type]

    return run


NEVER_RUN = [
    pytest.param(waits, "waits is `async def`.*asyncio.run", id="coroutine"),
    pytest.param(waits_and_yields, "waits_and_yields is `async def`", id="asynchronous generator"),
    pytest.param(Called(), "is `async def`", id="called object"),
    pytest.param(partial(waits, order_id="1"), "is `async def`", id="partial"),
    pytest.param(yields, "yields is a generator.*return", id="generator"),
    pytest.param(by_place, "'order_id' of by_place is positional-only.*take the `/` out", id="positional-only"),
    pytest.param(by_place_if_at_all, "positional-only", id="positional-only with a default"),
]


@pytest.mark.parametrize(("function", "refusal"), NEVER_RUN)
def test_what_would_never_run_or_be_filled_is_refused_with_the_cure(function: Any, refusal: str) -> None:
    with pytest.raises(DefinitionError, match=f"^step 'a': .*{refusal}"):
        refuse_unfit(TaskFace(function, False, None, None, {}), "step 'a'")


def test_it_is_refused_when_the_step_is_defined_and_so_is_such_a_compensation(app: Celery) -> None:
    never, fine = app.task(shared=False)(waits), app.task(shared=False)(print_it)
    with pytest.raises(DefinitionError, match=r"^Step\(…\): waits is `async def`"):
        Step(never, compensation=None)
    with pytest.raises(DefinitionError, match=r"^compensation of 'print_it': waits is `async def`"):
        Step(fine, compensation=never)


def print_it(order_id: str) -> None: ...


def test_an_async_run_of_a_class_based_task_is_refused(app: Celery) -> None:
    class Act(app.Task):  # type: ignore[misc,name-defined]
        name = "fitness.class"

        async def run(self, order_id: str) -> None: ...

    with pytest.raises(DefinitionError, match=r"Act\.run is `async def`"):
        Step(app.register_task(Act()), name="act", compensation=None)


def test_a_function_that_runs_its_coroutine_itself_is_as_good_as_any(app: Celery) -> None:
    refuse_unfit(face_of(app.task(shared=False)(run_to_its_end(waits))), "step 'a'")


def test_a_bound_task_may_take_itself_by_place(app: Celery) -> None:
    def act(self: Any, /, order_id: str) -> None: ...

    refuse_unfit(face_of(app.task(bind=True, shared=False)(act)), "step 'a'")


@pytest.mark.parametrize("make", [lambda: waits("1"), lambda: yields("1"), lambda: waits_and_yields("1")])
def test_what_nothing_runs_is_no_answer_and_is_closed(make: Callable[[], Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PayloadError, match=r"the answer is a \w+, which nothing runs: `await` it"):
            refuse_unawaited(make(), "the answer")


def test_a_future_is_cancelled() -> None:
    async def ask() -> bool:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with pytest.raises(PayloadError, match="Future"):
            refuse_unawaited(future, "the answer")
        return future.cancelled()

    assert asyncio.run(ask())


@pytest.mark.parametrize("value", [None, {}, [], "text", iter([]), range(3), object()])
def test_everything_else_is_let_through(value: Any) -> None:
    refuse_unawaited(value, "the answer")


def test_an_async_condition_is_refused_since_its_coroutine_would_always_be_true() -> None:
    async def is_abroad(data: Any) -> bool:
        return False

    with pytest.raises(DefinitionError, match="is_abroad' is `async def`"):
        condition(is_abroad)  # type: ignore[arg-type]


@condition
def is_answered_later(data: Any) -> bool:
    return waits("1")  # type: ignore[return-value]


def test_a_condition_that_gives_a_coroutine_holds_for_nobody() -> None:
    asked = replace(plan_of(step()).step(0), predicate=f"{__name__}.is_answered_later")
    with pytest.raises(PayloadError, match="is_answered_later' is a coroutine"):
        is_wanted(asked, {})
