"""D27: one task used twice with different arguments, in real workers."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sagas import SagaHandle, SagaStatus, StepStatus
from tests.conftest import Shop
from tests.support import transfers
from tests.support.branches import statuses
from tests.support.deploys import let_time_pass
from tests.support.last_release import worker_of
from tests.support.programs import briefly
from tests.support.workers import Worker, eventually

TRANSFER = {"source": "a", "target": "b", "amount": 5}


def new_worker(shop: Shop) -> Worker:
    return shop.worker(SAGAS_TEST_SETTINGS=f"include={transfers.__name__}")


@pytest.fixture(scope="module")
def bank(own_shop: Shop) -> Iterator[Shop]:
    with briefly(new_worker(own_shop)):
        yield own_shop


def start(bank: Shop, saga: Any, **data: Any) -> SagaHandle:
    return bank.sagas.start(saga, {**TRANSFER, **data})


def test_d27_one_task_moves_money_from_one_account_to_the_other(bank: Shop) -> None:
    run = start(bank, transfers.transfer)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert bank.effects(run) == ["debit a -5", "credit b 5"]
    assert run.data["debit"]["entry"] == "a:-5"
    assert run.data["credit"]["entry"] == "b:5"
    assert "entry" not in run.data
    assert run.steps[0].result == run.data["debit"]


def test_d27_its_compensation_gets_what_it_got_and_what_it_returned(bank: Shop) -> None:
    run = start(bank, transfers.transfer, target="closed")

    assert run.wait(30) is SagaStatus.COMPENSATED
    # Not from what the action has returned under the name of its source.
    assert bank.effects(run) == ["debit a -5", "undo debit a 5 a:-5"]


def test_d27_or_what_it_asks_for_itself(bank: Shop) -> None:
    run = start(bank, transfers.dropping, target="closed")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert bank.effects(run) == ["debit a -5", "drop a:-5 a:-5 closed"]


def test_d27_side_by_side_the_results_stay_apart(bank: Shop) -> None:
    run = start(bank, transfers.beside)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert sorted(bank.effects(run)) == ["credit b 5", "debit a -5"]
    assert (run.data["debit"]["entry"], run.data["credit"]["entry"]) == ("a:-5", "b:5")


def test_d27_every_kind_of_step_has_them_and_conditions_see_them(bank: Shop) -> None:
    run = start(bank, transfers.told)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert (run.data["counted"], run.data["again"]) == (2, 2)
    assert bank.effects(run) == ["debit a -5", "credit b 5", "tell 2 b:5", "tell {'by': [1.5, None]} b:5"]


@pytest.mark.parametrize("result", ["text", 7, [1, {"a": 2}], None, Decimal("1.50"), {"kept": 1}], ids=repr)
def test_d27_a_bare_value_is_kept_under_its_name(bank: Shop, result: Any) -> None:
    run = start(bank, transfers.kept, gifts={"a": result})

    assert run.wait(30) is SagaStatus.COMPLETED
    assert run.data["kept"] == result
    assert run.steps[0].result == result


def test_d27_a_parent_gets_its_childs_outputs(bank: Shop) -> None:
    run = start(bank, transfers.family, gifts={"give": {"given": 1}})

    assert run.wait(30) is SagaStatus.COMPLETED
    assert run.data["credit"]["entry"] == "b:5"
    assert "debit" not in run.data


def test_d27_a_clash_that_nobody_could_see_is_one_of_the_outputs_name(bank: Shop) -> None:
    run = start(bank, transfers.clashing, gifts={"a": {"y": 1}, "b": {"x": 2}})
    beside = start(bank, transfers.clashing, gifts={"a": {"y": 1}, "b": {"y": 2}})

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert "'x'" in str(run.error)
    assert beside.wait(30) is SagaStatus.COMPLETED
    assert (beside.data["x"], beside.data["y"]) == ({"y": 1}, 2)


def test_d27_what_a_person_gives_for_a_skipped_step_is_kept_under_its_name(bank: Shop) -> None:
    run = start(bank, transfers.stuck, target="closed")
    assert run.wait(30) is SagaStatus.FAILED

    run.skip("moved by hand", result={"entry": "by hand"})

    assert run.wait(30) is SagaStatus.COMPLETED
    assert bank.effects(run)[-1] == "tell 0 by hand"


def test_d27_and_so_is_what_a_person_has_found_out(bank: Shop) -> None:
    run = start(bank, transfers.doubtful, target="mute")
    assert run.wait(30) is SagaStatus.FAILED

    run.resolve("seen in the books", happened=True, result={"entry": "seen"})

    assert run.wait(30) is SagaStatus.COMPLETED
    assert bank.effects(run) == ["tell 0 seen"]


def test_d4_a_worker_of_the_last_release_leaves_such_a_saga_alone(shop: Shop, last_release: Path) -> None:
    (last_release / "tests/support/transfers.py").write_text(
        # The tasks as that release has them; without its steps, which it cannot declare.
        Path(transfers.__file__).read_text().partition("def debit(")[0].replace(" Const,", "")
    )
    old = worker_of(last_release, shop.database_url, shop.broker_url, shop.directory / "old.log")
    old.environment["SAGAS_TEST_SETTINGS"] = f"include={transfers.__name__}"
    with briefly(old):
        run = start(shop, transfers.transfer)
        eventually(lambda: "malformed saga message dropped" in old.text(), "its message to be dropped")
        let_time_pass(shop, run)  # else nobody would look at it for an hour
        eventually(lambda: "written by a newer release" in old.text(), "its sweep to leave it alone")
        assert (shop.effects(run), run.steps[0].attempts, run.steps[0].in_doubt) == ([], 0, False)

        with briefly(new_worker(shop)):
            eventually(lambda: let_time_pass(shop, run) or run.status.is_final, "it to end", every=0.3)
    assert run.status is SagaStatus.COMPLETED
    assert shop.effects(run) == ["debit a -5", "credit b 5"]
    assert {*statuses(run).values()} == {StepStatus.COMPLETED}
    assert run.steps[0].losses == 0
