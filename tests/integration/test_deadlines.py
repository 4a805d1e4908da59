"""A deadline is kept, whatever else happens meanwhile (D26), with real workers."""

from sagas.model import SagaStatus
from tests.conftest import Shop
from tests.support import gates, journal, scripted
from tests.support.workers import eventually


def test_d26_a_saga_that_never_stands_still_is_turned_back(busy_shop: Shop) -> None:
    script = {f"s{number}": ["sleep:0.4"] for number in range(10)}

    run = busy_shop.start(scripted.ten, script, deadline=1.2)

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert run.error is not None
    assert run.error.type == "sagas.DeadlineExceeded"
    effects = busy_shop.effects(run)
    done = effects[: len(effects) // 2]
    assert 0 < len(done) < 10
    assert effects == [*done, *(f"undo {name}" for name in reversed(done))]


def test_d26_a_step_that_is_tried_again_and_again_is_not_tried_after_it(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.patient, {"b": "flaky"}, deadline=1.0)

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert busy_shop.effects(run) == ["a", "undo b", "undo a"]


def test_d26_a_pivot_that_began_in_time_is_tried_until_it_succeeds(busy_shop: Shop) -> None:
    run = busy_shop.start(scripted.pivoted, {"p": ["wait:dock,flaky", "ok"]}, deadline=5.0)
    gates.until_reached(busy_shop.database_url, run, "dock")
    passed = "SELECT deadline < clock_timestamp() FROM sagas.saga_instance WHERE id = %s"
    eventually(lambda: journal.query(busy_shop.database_url, passed, str(run.id))[0][0], "the deadline")

    gates.open_gate(busy_shop.database_url, run, "dock")

    assert run.wait(30) is SagaStatus.COMPLETED
