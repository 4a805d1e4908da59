"""What is put in comes out: through JSON, PostgreSQL, several processes, and into the compensations."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from sagas import Saga, SagaStatus, Step, StepStatus
from tests.conftest import Shop
from tests.support import journal, scripted
from tests.support.programs import briefly
from tests.support.workers import eventually

GIFTS: dict[str, Any] = {
    "decimal": Decimal("9.90"),
    "cents": Decimal("0.10"),
    "uuid": UUID("01890a5d-ac96-774b-bcce-b302099a8057"),
    "aware": datetime(2026, 2, 28, 23, 59, 59, 999999, tzinfo=UTC),
    "naive": datetime(2026, 2, 28),
    "date": date(2028, 2, 29),
    "time": time(23, 59),
    "timedelta": timedelta(days=-1, microseconds=1),
    "text": "Grüße, 東京, 😀, \u2028, ' \" \\ %s {} :name",
    "empty": "",
    "large": 2**63,
    "float": 1e300,
    "negative zero": -0.0,
    "none": None,
    "true": True,
    "nested": {"list": [1, [2.5, {"deep": Decimal("1E+3")}]], "": {}},
    "like a tag": {"$decimal": "no"},
    "200 kB": "ä" * 100_000,
}


PASSING_ON = Saga(
    "passing-on",
    steps=[
        Step(scripted.give, name="a", compensation=None),
        Step(scripted.pass_on, name="b", compensation=None),
        Step(scripted.pass_on_again, name="c", compensation=None),
    ],
)


def test_everything_comes_back_as_it_was_through_the_steps(busy_shop: Shop) -> None:
    run = busy_shop.sagas.start(PASSING_ON, {"gifts": {"a": {"gift": GIFTS}}, "as_input": GIFTS})

    assert run.wait(30) is SagaStatus.COMPLETED
    for stored in (
        run.data["as_input"],
        run.data["gift"],
        run.data["passed"],
        run.data["again"],
        run.steps[1].result["passed"],
    ):
        assert stored == GIFTS
        assert {name: type(value) for name, value in stored.items()} == {n: type(v) for n, v in GIFTS.items()}
    assert str(run.data["again"]["cents"]) == "0.10"
    assert str(run.data["again"]["negative zero"]) == "-0.0"


@pytest.mark.parametrize("result", ["text", 7, [1, 2], None, Decimal("1.50")], ids=repr)
def test_a_result_that_is_no_mapping_is_kept_and_merges_nothing(busy_shop: Shop, result: Any) -> None:
    saga = Saga("giving", steps=[Step(scripted.give, name=name, compensation=None) for name in "ab"])
    run = busy_shop.sagas.start(saga, {"gifts": {"a": result, "b": {"c": 1}}})

    assert run.wait(30) is SagaStatus.COMPLETED
    assert run.steps[0].result == result
    assert run.data == {"gifts": {"a": result, "b": {"c": 1}}, "c": 1}


def test_results_are_merged_into_the_data_and_a_later_one_wins(busy_shop: Shop) -> None:
    saga = Saga("merging", steps=[Step(scripted.give, name=name, compensation=None) for name in "abc"])
    gifts = {"a": {"x": 1, "y": 1}, "b": {"y": 2, "z": 2}, "c": {"gifts": {}}}
    run = busy_shop.sagas.start(saga, {"gifts": gifts, "x": 0})

    assert run.wait(30) is SagaStatus.COMPLETED
    assert run.data == {"gifts": {}, "x": 1, "y": 2, "z": 2}
    assert [step.result for step in run.steps] == [gifts["a"], gifts["b"], gifts["c"]]


def test_h11_a_compensation_sees_its_own_actions_result_first_and_the_data_as_of_its_actions_claim(
    busy_shop: Shop,
) -> None:
    undo = {"compensation": scripted.tell_what_is_seen}
    saga = Saga(
        "seeing",
        steps=[*(Step(scripted.give, name=name, **undo) for name in "abc"), scripted.step("d")],
    )
    gifts = {"a": {"reservation": "of a", "a": 1}, "b": {"b": 1}, "c": {"reservation": "of c", "c": 1}}
    run = busy_shop.sagas.start(saga, {"gifts": gifts, "reservation": "none", "script": {"d": ["no"]}})

    assert run.wait(30) is SagaStatus.COMPENSATED
    script = "script={'d': ['no']}"
    assert busy_shop.effects(run) == [
        "a",
        "b",
        "c",
        f"undo c with a=1, b=1, c=1, reservation=of c, {script}",
        f"undo b with a=1, b=1, reservation=of a, {script}",
        f"undo a with a=1, reservation=of a, {script}",
    ]


def test_h11_a_compensation_of_an_action_in_doubt_gets_what_was_known_before_it(busy_shop: Shop) -> None:
    saga = Saga(
        "doubting",
        steps=[
            Step(scripted.give, name="a", compensation=scripted.tell_what_is_seen),
            scripted.step("b", compensation=scripted.tell_what_is_seen),
        ],
    )
    run = busy_shop.sagas.start(saga, {"gifts": {"a": {"x": 1}}, "script": {"b": "flaky"}})

    assert run.wait(30) is SagaStatus.COMPENSATED
    script = "script={'b': 'flaky'}"
    assert busy_shop.effects(run) == ["a", f"undo b with {script}, x=1", f"undo a with {script}, x=1"]


def test_h11_a_missing_parameter_parks_the_step_in_the_open_until_a_deploy_cures_it(shop: Shop) -> None:
    saga = Saga(
        "signing", steps=[scripted.step("a"), Step(scripted.demand, name="b", compensation=None), scripted.step("c")]
    )
    run = shop.start(saga)

    with briefly(shop.worker(name="old")):
        eventually(lambda: "parked" in [entry.event for entry in run.history()], "the step to be parked")
    # Visible, not counted, and nothing was undone.
    step = run.steps[1]
    assert (run.status, step.status, step.attempts) == (SagaStatus.RUNNING, StepStatus.PENDING, 0)
    assert step.error is not None
    assert step.error.type == "sagas.errors.BindingError"
    assert "'signature'" in step.error.message
    assert shop.effects(run) == ["a"]

    with briefly(shop.worker(name="new", TEST_RELEASE="2")):
        # It looks again after a minute; let that be now.
        journal.query(shop.database_url, "UPDATE sagas.saga_step SET not_before = clock_timestamp() WHERE name = 'b'")
        journal.query(shop.database_url, "UPDATE sagas.saga_instance SET due_at = clock_timestamp()")
        assert run.wait(30) is SagaStatus.COMPLETED
    assert shop.effects(run) == ["a", "b with none needed", "c"]


def test_h11_a_parked_step_can_be_cancelled(shop: Shop) -> None:
    saga = Saga("signing", steps=[scripted.step("a"), Step(scripted.demand, name="b", compensation=None)])
    run = shop.start(saga)

    with briefly(shop.worker()):
        eventually(lambda: "parked" in [entry.event for entry in run.history()], "the step to be parked")
        run.cancel("nobody will sign this")
        assert run.wait(30) is SagaStatus.COMPENSATED
    assert shop.effects(run) == ["a", "undo a"]


def test_h11_a_parked_compensation_is_no_failed_one(shop: Shop) -> None:
    saga = Saga(
        "countersigning",
        steps=[scripted.step("a"), scripted.step("b", compensation=scripted.demand), scripted.step("c")],
    )
    run = shop.start(saga, {"c": ["no"]})

    with briefly(shop.worker(name="old")):
        eventually(lambda: "parked" in [entry.event for entry in run.history()], "the undo to be parked")
    assert run.status is SagaStatus.COMPENSATING

    with briefly(shop.worker(name="new", TEST_RELEASE="2")):
        journal.query(shop.database_url, "UPDATE sagas.saga_step SET not_before = clock_timestamp() WHERE round = 1")
        journal.query(shop.database_url, "UPDATE sagas.saga_instance SET due_at = clock_timestamp()")
        assert run.wait(30) is SagaStatus.COMPENSATED
    assert shop.effects(run) == ["a", "b", "b with none needed", "undo a"]
