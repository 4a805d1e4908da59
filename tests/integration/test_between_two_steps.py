"""``continuation="inline"``, between two steps: a worker that is killed there, answers that are lost, redeliveries."""

import base64
import json
from typing import Any

import pytest

from sagas import SagaHandle, SagaStatus
from tests.conftest import Shop
from tests.integration.test_continuation import messages
from tests.support import between_steps, continuing, queues, scripted
from tests.support.bench import Bench
from tests.support.inline import run_messages
from tests.support.programs import briefly
from tests.support.workers import eventually

MODULE = ("-I", "tests.support.between_steps")


@pytest.fixture
def rows(shop: Shop) -> Bench:
    """The shop's own rows."""
    return Bench(shop.database_url, shop.sagas.engine.store)


def counts(run: SagaHandle) -> list[tuple[int, int, bool]]:
    """Of each action: its attempts, its losses, and whether it is in doubt."""
    return [(step.attempts, step.losses, step.in_doubt) for step in run.steps]


ONCE = (1, 0, False)


def test_c3_the_next_step_is_born_with_the_completion_and_claimed_by_a_statement_of_its_own(shop: Shop) -> None:
    with briefly(shop.worker("-c", "1", *MODULE)):
        run = shop.sagas.start(between_steps.watched, {"script": {}})

        assert run.wait(30) is SagaStatus.COMPLETED
    assert shop.effects(run) == ["a", "then ('b', 'pending', 0, None, None)", "b"]
    assert messages(run, shop) == ["A", "A"]


def test_c4_a_process_that_is_killed_between_two_steps_leaves_nothing_in_doubt(shop: Shop) -> None:
    with briefly(shop.worker("-c", "2", *MODULE)):
        run = shop.sagas.start(between_steps.dying, {"script": {}})

        assert run.wait(60) is SagaStatus.COMPLETED
    assert shop.effects(run) == ["a", "b", "c", "d"]
    assert counts(run) == [ONCE] * 4
    assert messages(run, shop) == ["A", "A", "B", "B"]


def test_c4_what_a_lost_answer_did_is_found_by_the_token_of_its_step(shop: Shop) -> None:
    with briefly(shop.worker("-c", "1", *MODULE, SAGAS_TEST_LOSES_ANSWERS="1")):
        run = shop.start(continuing.plain)

        assert run.wait(60) is SagaStatus.COMPLETED
    assert shop.effects(run) == ["a", "b", "c", "d"]
    assert counts(run) == [ONCE] * 4
    assert messages(run, shop) == ["A"] * 4


def test_c6_its_message_has_no_tail(shop: Shop) -> None:
    def tail(run: SagaHandle) -> Any:
        (message,) = [one for one in queues.take_out(shop.sagas) if one["headers"]["root_id"] == str(run.id)]
        return json.loads(base64.b64decode(message["body"]))[2]["chain"]

    assert tail(shop.start(scripted.three))
    assert tail(shop.start(continuing.plain)) is None


def test_c6_redelivered_after_several_steps_it_sends_the_one_that_was_never_sent(shop: Shop, rows: Bench) -> None:
    # Given: a worker that falls after three steps of one message; the broker has it still
    run = shop.sagas.start(between_steps.falling, {"script": {}})
    (message,) = queues.take_out(shop.sagas)
    queues.put_back(shop.sagas, message)
    fallen = shop.worker("-c", "1", *MODULE, name="fallen")
    with briefly(fallen):
        eventually(lambda: fallen.process is not None and fallen.process.poll() is not None, "the worker to fall")
    assert shop.effects(run) == ["a", "b", "c"]
    assert (rows.steps(run.id)[3]["attempts"], rows.steps(run.id)[3]["line"]) == (0, None)

    # When, Then: nothing else has looked meanwhile
    queues.put_back(shop.sagas, message)
    assert len(run_messages(shop.sagas.app)) == 1
    assert rows.steps(run.id)[3]["line"] is None, "a mere copy of it sends nothing"
    queues.redeliver(shop.sagas, message)
    assert len(run_messages(shop.sagas.app)) == 1
    assert rows.steps(run.id)[3]["line"] is not None

    with briefly(shop.worker("-c", "1", *MODULE, name="next")):
        assert run.wait(60) is SagaStatus.COMPLETED
    assert shop.effects(run) == ["a", "b", "c", "d", "e"]
    assert counts(run) == [ONCE] * 5


def test_c15_a_steps_own_transaction_has_committed_before_the_next_one_is_claimed(shop: Shop) -> None:
    with briefly(shop.worker("-c", "1", *MODULE)):
        run = shop.sagas.start(between_steps.looking_back, {})

        assert run.wait(30) is SagaStatus.COMPLETED
    assert shop.effects(run) == ["a sees []", "b sees ['a']", "c sees ['a', 'b']"]
    assert messages(run, shop) == ["A", "A", "A"]
    assert counts(run) == [ONCE] * 3
