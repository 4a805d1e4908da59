"""`sagas.testing.fail_everywhere`: which undo cannot cope with an action that never happened, or left no result."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery

from config.demo import shelves, travel_books
from config.demo.books import audit
from sagas import BestEffort, Child, Pivot, Retriable, Retry, Saga, Sagas, SagaStatus, Step, WaitFor, parallel
from sagas.testing import fail_everywhere
from tasks.fulfilment import fulfilment
from tasks.orders import order
from tasks.services.database import engine
from tasks.services.tables import create_tables
from tasks.travel import travel
from tests.support import journal


class Suite:
    """The application of a suite: its tasks write down that they ran."""

    def __init__(self, database_url: str) -> None:
        self.url = database_url
        self.app = Celery("suite", broker="memory://", set_as_current=False)
        self.sagas = Sagas(self.app, database=database_url)

    def task(self, name: str, result: Any = None) -> Any:
        def body() -> Any:
            journal.write(name)
            return result

        return self.app.task(name=f"suite.{name}", shared=False)(body)

    def step(self, name: str, **options: Any) -> Step:
        return Step(self.task(name), **{"compensation": self.task(f"un{name}"), "name": name} | options)

    def effects(self, runs: list[Any]) -> list[list[str]]:
        return [journal.effects(self.url, run.id) for run in runs]


@pytest.fixture
def suite(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Suite]:
    monkeypatch.setenv("SAGAS_DATABASE_URL", database_url)
    made = Suite(database_url)
    made.sagas.migrate()
    journal.create(database_url)
    yield made
    made.sagas.engine.store.database.dispose()


def test_d34_every_step_fails_before_and_after_its_effect_and_is_undone(suite: Suite) -> None:
    saga = Saga(
        "all",
        steps=[
            suite.step("a"),
            suite.step("b"),
            Pivot(suite.task("p"), name="p"),
            Retriable(suite.task("r"), name="r"),
        ],
    )

    runs = fail_everywhere(suite.sagas, saga, {})

    assert {run.status for run in runs} == {SagaStatus.COMPENSATED}
    assert suite.effects(runs) == [
        ["una"],
        ["a", "una"],
        ["a", "unb", "una"],
        ["a", "b", "unb", "una"],
        ["a", "b", "unb", "una"],  # the pivot said no
    ]


def test_d34_an_undo_that_cannot_cope_is_named_with_its_failure_and_the_moment(suite: Suite) -> None:
    @suite.app.task(shared=False)
    def charge() -> dict[str, Any]:
        return {"charge_id": "ch_1"}

    @suite.app.task(shared=False)
    def refund(charge_id: str | None = None) -> None:
        if charge_id is None:
            raise LookupError("404: no such charge")

    saga = Saga(
        "shop", steps=[suite.step("hold"), Step(charge, compensation=refund), Pivot(suite.task("ship"), name="ship")]
    )

    with pytest.raises(AssertionError) as told:
        fail_everywhere(suite.sagas, saga, {})

    first, *lines = str(told.value).splitlines()
    assert first.startswith("saga 'shop' is not undone after 2 of its failures")
    assert "current_step.action_key" in first
    refused = "refund, which undoes charge, failed: builtins.LookupError: 404: no such charge"
    assert lines == [f"- charge failed before its effect: {refused}", f"- charge failed after its effect: {refused}"]


def test_d34_an_undo_without_the_result_that_it_requires_is_named(suite: Suite) -> None:
    @suite.app.task(shared=False)
    def charge() -> Any:
        return {"charge_id": "ch_1"}

    @suite.app.task(shared=False)
    def refund(charge_id: str) -> None: ...

    saga = Saga("bare", steps=[suite.step("a"), Step(charge, compensation=refund)])

    with pytest.raises(
        AssertionError, match=r"charge failed before its effect: .*in doubt, and no result.*'charge_id'"
    ):
        fail_everywhere(suite.sagas, saga, {})


def test_d34_a_failure_is_not_tried_again_whatever_the_policy_says(suite: Suite) -> None:
    stubborn = suite.step("a", retry=Retry(max_attempts=1000, on=(Exception,)))

    assert suite.effects(fail_everywhere(suite.sagas, Saga("stubborn", steps=[stubborn]), {})) == [
        ["una"],
        ["a", "una"],
    ]


def test_d34_branches_children_and_best_efforts_fail_too(suite: Suite) -> None:
    inner = Saga("inner", steps=[suite.step("i")])
    nice = BestEffort(suite.task("n"), compensation=suite.task("unn"), name="n")
    steps: list[Any] = [parallel(suite.step("a"), suite.step("b")), Child(inner), nice, suite.step("z")]

    runs = fail_everywhere(suite.sagas, Saga("shapes", steps=steps), {})

    assert [sorted(effects) for effects in suite.effects(runs)] == [
        ["una"],
        ["a", "una"],
        ["a", "una", "unb"],
        ["a", "b", "una", "unb"],
        ["a", "b", "una", "unb"],  # the child's step; its effects are the child's own
        ["a", "b", "una", "unb"],
        ["a", "b", "una", "unb", "unn"],  # z said no
        ["a", "b", "n", "una", "unb", "unn"],
        ["a", "b", "n", "una", "unb", "unn", "unz"],
        ["a", "b", "n", "una", "unb", "unn", "unz", "z"],
    ]


def test_d34_what_a_person_decides_is_answered_as_it_was(suite: Suite) -> None:
    unclear = suite.step("b", if_in_doubt="person")
    hopeless = Step(suite.task("c"), compensation=None, name="c", if_in_doubt="person")

    runs = fail_everywhere(suite.sagas, Saga("person", steps=[suite.step("a"), unclear, hopeless]), {})

    assert suite.effects(runs)[2:] == [
        ["a", "una"],
        ["a", "b", "una", "unb"],
        ["a", "b", "unb", "una"],
        ["a", "b", "c", "unb", "una"],
    ]


def test_d34_a_saga_gets_the_signals_it_waits_for_and_is_told_of_without_them(suite: Suite) -> None:
    saga = Saga("waiting", steps=[suite.step("a"), WaitFor("approved", timeout=3600), suite.step("b")])

    assert len(fail_everywhere(suite.sagas, saga, {}, signals={"approved": {}})) == 4
    with pytest.raises(AssertionError, match=r"b failed before its effect: it is running .*signals="):
        fail_everywhere(suite.sagas, saga, {})


def test_d34_a_step_that_the_input_leaves_out_is_not_tried(suite: Suite) -> None:
    saga = Saga("perhaps", steps=[suite.step("a", when="wanted"), suite.step("b")], input=["wanted"])

    assert len(fail_everywhere(suite.sagas, saga, {"wanted": False})) == 2


def test_d34_the_body_is_its_own_again_afterwards(suite: Suite) -> None:
    from sagas.testing import inline

    saga = Saga("after", steps=[suite.step("a")])
    fail_everywhere(suite.sagas, saga, {})

    with inline(suite.sagas):
        run = suite.sagas.start(saga, {})
    assert run.status is SagaStatus.COMPLETED


@pytest.fixture
def shop(suite: Suite) -> Iterator[Suite]:
    create_tables(engine())
    yield suite
    engine().dispose()


@pytest.mark.parametrize("saga", [order, fulfilment], ids=lambda saga: saga.name)
def test_d34_the_shipped_orders_are_undone_whatever_fails(shop: Suite, saga: Saga) -> None:
    shelves.stock_up("pen", 1000)
    numbers = count()

    def new() -> dict[str, Any]:
        return {
            "order_id": f"{saga.name}-{next(numbers)}",
            "items": [{"sku": "pen", "quantity": 2}],
            "total": Decimal(5),
        }

    runs = fail_everywhere(shop.sagas, saga, new)

    books = audit(engine(), compensated=[run.data["order_id"] for run in runs])
    assert len(runs) == 5
    assert books.violations == ()
    assert books.stock["pen"].available == 1000


def test_d34_the_shipped_trip_is_undone_whatever_fails(shop: Suite) -> None:
    for kind, code in (("flight", "LX14"), ("hotel", "Seeblick"), ("car", "small")):
        shelves.put_on_sale(kind, code, 100)  # type: ignore[arg-type]

    def new() -> dict[str, Any]:
        booked = {"flight": "LX14", "hotel": "Seeblick", "car": "small"}
        return booked | {"trip_id": uuid4().hex, "travellers": 2, "price": Decimal(640)}

    runs = fail_everywhere(shop.sagas, travel, new)

    books = travel_books.audit(engine(), compensated=[run.data["trip_id"] for run in runs])
    assert len(runs) == 9
    assert books.violations == ()
