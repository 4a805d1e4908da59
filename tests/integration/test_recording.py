"""`current_step.record`: undo data that is there whatever becomes of the execution, on real workers that are killed."""

from collections.abc import Iterator

import pytest

from sagas import Retry, Saga, SagaHandle, SagaStatus, Step
from tests.conftest import Shop
from tests.support import journal, scripted
from tests.support.programs import briefly
from tests.support.workers import Worker

ONCE = Retry(max_attempts=1)


def charging(name: str, **options: object) -> Saga:
    """Its second step charges a card, and records what undoes that; its undo tells what it was given."""
    charge = scripted.step("b", compensation=scripted.tell_what_is_seen, records=("charge_id",), **options)
    return Saga(name, steps=[scripted.step("a"), charge, Step(scripted.act, name="c", compensation=None)])


LOSES_ONCE = charging("charging-once", max_losses=0, retry=ONCE)
TWICE = charging("charging-twice", retry=Retry(max_attempts=2, backoff=0.05))


@pytest.fixture
def worker(shop: Shop) -> Iterator[Worker]:
    """One whose children are killed."""
    worker = shop.worker("-c", "4")
    with briefly(worker):
        yield worker


def undo_of(shop: Shop, run: SagaHandle) -> list[str]:
    """What the undo of the charge was given of what the charge had recorded."""
    told = [what for what in shop.effects(run) if what.startswith("undo b with")]
    return [next((part for part in what.split(", ") if "charge_id=" in part), "nothing") for what in told]


def kept(shop: Shop, run: SagaHandle) -> list[str]:
    kept = f"SELECT data::text FROM sagas.saga_record WHERE instance_id = '{run.id}' ORDER BY id"
    return [data for (data,) in journal.query(shop.database_url, kept)]


def test_d12_a_kill_between_the_effect_and_the_record_leaves_none_and_the_undo_has_its_default(
    shop: Shop, worker: Worker
) -> None:
    run = shop.start(LOSES_ONCE, {"b": "after:die,after:record:ch_1"})

    assert run.wait(60) is SagaStatus.COMPENSATED
    assert shop.effects(run)[:2] == ["a", "b"]
    assert undo_of(shop, run) == ["nothing"]
    assert kept(shop, run) == []
    assert run.steps[1].in_doubt


def test_d12_a_kill_after_the_record_leaves_it_to_the_undo(shop: Shop, worker: Worker) -> None:
    run = shop.start(LOSES_ONCE, {"b": "after:record:ch_1,after:die"})

    assert run.wait(60) is SagaStatus.COMPENSATED
    assert undo_of(shop, run) == ["charge_id=ch_1"]
    assert len(kept(shop, run)) == 1


def test_d12_two_attempts_leave_two_records_and_the_undo_gets_the_latest(busy_shop: Shop) -> None:
    run = busy_shop.start(TWICE, {"b": ["record:ch_1,flaky", "record:ch_2,flaky"]})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert undo_of(busy_shop, run) == ["charge_id=ch_2"]
    assert [("ch_1" in data, "ch_2" in data) for data in kept(busy_shop, run)] == [(True, False), (False, True)]


def test_d12_what_an_action_returns_goes_before_what_it_has_recorded(busy_shop: Shop) -> None:
    run = busy_shop.start(TWICE, {"b": "record:ch_1", "c": ["no"]})

    assert run.wait(30) is SagaStatus.COMPENSATED
    # It is there although the step was closed with a result, and no later step has seen it.
    assert undo_of(busy_shop, run) == ["charge_id=ch_1"]
    assert "charge_id" not in run.data


def test_d6_a_body_that_has_recorded_and_then_says_no_is_in_doubt(busy_shop: Shop) -> None:
    run = busy_shop.start(TWICE, {"b": "record:ch_1,no"})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert run.steps[1].in_doubt
    assert undo_of(busy_shop, run) == ["charge_id=ch_1"]
