"""The broker only makes sagas fast: it may forget, repeat and revoke what it likes."""

import pytest
from sqlalchemy import event

from sagas import Saga, SagaHandle, SagaStatus
from sagas.engine import CALLBACK_TASK, CONTROL_QUEUE
from sagas.engine.messages import window_from
from sagas.model import Address
from tests.conftest import Shop
from tests.support import gates, journal, queues, scripted
from tests.support.bench import Bench
from tests.support.inline import run_messages
from tests.support.programs import briefly
from tests.support.workers import Worker, eventually


def test_all_sagas_end_when_the_broker_forgets_everything(shop: Shop) -> None:
    runs = [shop.start(scripted.three, script_of(number)) for number in range(100)]
    with briefly(shop.worker("-c", "4")):
        eventually(lambda: sum(run.status.is_final for run in runs[:30]) > 10, "the first sagas to end")
        queues.forget_everything(shop.sagas)

        for number, run in enumerate(runs):
            assert run.wait(40) is (SagaStatus.COMPENSATED if number % 3 == 0 else SagaStatus.COMPLETED)
            assert shop.effects(run) == (["a", "b", "undo b", "undo a"] if number % 3 == 0 else ["a", "b", "c"])


def script_of(number: int) -> dict[str, list[str]]:
    return {"c": ["no"]} if number % 3 == 0 else {}


def test_a_start_whose_message_was_lost_before_any_worker_came_is_not_lost(shop: Shop) -> None:
    run = shop.start(scripted.three)
    queues.forget_everything(shop.sagas)

    # By evidence (a worker sits idle), not by patience, which is a minute.
    with briefly(shop.worker()):
        assert run.wait(40) is SagaStatus.COMPLETED
        assert shop.effects(run) == ["a", "b", "c"]


@pytest.fixture
def worker(shop: Shop) -> Worker:
    """Not started yet. One sweep in an hour, so that every message that it takes in is of the test's making."""
    return shop.worker("-c", "4", SAGAS_SWEEP_EVERY="3600")


def test_h1_copies_of_a_message_that_arrive_together_make_one_walker(shop: Shop, worker: Worker) -> None:
    # Given: the chain's first message, and nine copies of it
    run = shop.start(scripted.five, {"a": ["wait:stock"]})
    for _ in range(9):
        send_again(shop, scripted.five, run, Address(0))

    with briefly(worker):
        # When: one of them runs, and the others find it running
        gates.until_reached(shop.database_url, run, "stock")
        eventually(lambda: queues.received(worker).count("five/a") == 10, "all copies")
        eventually(lambda: worker.text().count("succeeded in") == 9, "the other copies to be dropped")
        gates.open_gate(shop.database_url, run, "stock")

        # Then: from there on there is one message a step
        assert run.wait(30) is SagaStatus.COMPLETED
        assert shop.effects(run) == ["a", "b", "c", "d", "e"]
    assert {name: queues.received(worker).count(f"five/{name}") for name in "bcde"} == dict.fromkeys("bcde", 1)
    assert claims(shop, run) == 5


def test_h1_a_copy_of_a_completed_step_does_not_walk_on_beside_the_first_walker(shop: Shop, worker: Worker) -> None:
    run = shop.start(scripted.five, {"b": ["wait:payment"]})
    with briefly(worker):
        gates.until_reached(shop.database_url, run, "payment")
        for _ in range(5):
            send_again(shop, scripted.five, run, Address(0))
        eventually(lambda: worker.text().count("succeeded in") == 1 + 5, "the copies to be dropped")
        gates.open_gate(shop.database_url, run, "payment")

        assert run.wait(30) is SagaStatus.COMPLETED
    assert shop.effects(run) == ["a", "b", "c", "d", "e"]
    assert {name: queues.received(worker).count(f"five/{name}") for name in "bcde"} == dict.fromkeys("bcde", 1)


def test_h1_copies_that_queue_behind_one_another_make_one_walker(shop: Shop) -> None:
    # Given: one process, so that each message of the chain lines up behind the copies of the one before
    run = shop.start(scripted.five)
    for _ in range(9):
        send_again(shop, scripted.five, run, Address(0))
    worker = shop.worker("-c", "1", SAGAS_SWEEP_EVERY="3600")

    with briefly(worker):
        assert run.wait(30) is SagaStatus.COMPLETED
        eventually(lambda: not queues.queued(shop.sagas), "the queue to be empty")
    assert shop.effects(run) == ["a", "b", "c", "d", "e"]
    assert {name: queues.received(worker).count(f"five/{name}") for name in "bcde"} == dict.fromkeys("bcde", 1)


def test_h1_a_redelivery_walks_on_when_its_process_died_before_it_published_the_next_message(
    shop: Shop, worker: Worker
) -> None:
    # Given: a completed step, whose successor was never published
    run = shop.start(scripted.three, {"a": ["wait:stock"]})
    (first,) = queues.take_out(shop.sagas)
    with briefly(worker):
        queues.redeliver(shop.sagas, first)
        gates.until_reached(shop.database_url, run, "stock")
        shop.sagas.app.control.cancel_consumer("celery", reply=True, timeout=30, limit=1)
        gates.open_gate(shop.database_url, run, "stock")
        eventually(lambda: queues.take_out(shop.sagas), "the next message, which is lost")

        # When: the message of the completed step comes again
        shop.sagas.app.control.add_consumer("celery", reply=True, timeout=30, limit=1)
        queues.redeliver(shop.sagas, first)

        # Then: nothing waits for the sweep
        assert run.wait(30) is SagaStatus.COMPLETED
    assert shop.effects(run) == ["a", "b", "c"]


def test_c4_a_message_that_is_delivered_again_while_it_runs_runs_once(shop: Shop, worker: Worker) -> None:
    """A redelivery has the task id of the delivery before it: what tells the two apart is made for each execution."""
    run = shop.start(scripted.three, {"a": ["wait:stock", "wait:stock"]})
    (first,) = queues.take_out(shop.sagas)
    with briefly(worker):
        queues.redeliver(shop.sagas, first)
        gates.until_reached(shop.database_url, run, "stock")
        queues.redeliver(shop.sagas, first)
        eventually(lambda: worker.text().count("succeeded in") == 1, "the second delivery to be dropped", 10)
        gates.open_gate(shop.database_url, run, "stock")

        assert run.wait(30) is SagaStatus.COMPLETED
    assert shop.effects(run) == ["a", "b", "c"]
    assert claims(shop, run) == 3


def test_h2_an_error_callback_that_comes_late_turns_nobody_back(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given: an attempt that was lost, and another one that has been sent
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)
    run = shop.start(scripted.three)
    Bench(shop.database_url, shop.sagas.engine.store).step(run.id, scripted.three.plan(shop.sagas.engine))

    # When: the error callback of the first one arrives
    shop.sagas.app.send_task(CALLBACK_TASK, kwargs={"saga_id": str(run.id)}, queue=CONTROL_QUEUE)
    assert run_messages(shop.sagas.app, CONTROL_QUEUE) == [CALLBACK_TASK]

    # Then
    assert run.status is SagaStatus.RUNNING
    send_again(shop, scripted.three, run, Address(1))
    run_messages(shop.sagas.app)
    assert run.status is SagaStatus.COMPLETED


def test_messages_that_are_delivered_again_after_the_end_do_nothing(shop: Shop, worker: Worker) -> None:
    completed = shop.start(scripted.three)
    compensated = shop.start(scripted.three, {"c": ["no"]})
    with briefly(worker):
        for run in (completed, compensated):
            run.wait(30)
        until_ended(worker, 3 + 6)
        for run in (completed, compensated):
            before = shop.effects(run), run.history(), claims(shop, run)
            taken_in = len(queues.received(worker))
            for address in (Address(0), Address(1), Address(2), Address(1, 0, 1), Address(0, 0, 1)):
                send_again(shop, scripted.three, run, address)
            until_ended(worker, taken_in + 5)
            assert len(queues.received(worker)) == taken_in + 5
            assert (shop.effects(run), run.history(), claims(shop, run)) == before
    assert (completed.status, compensated.status) == (SagaStatus.COMPLETED, SagaStatus.COMPENSATED)


def test_a_compensation_that_is_delivered_twice_at_once_undoes_once(shop: Shop, worker: Worker) -> None:
    run = shop.start(scripted.three, {"c": ["no"], "undo b": ["wait:bank"]})
    with briefly(worker):
        gates.until_reached(shop.database_url, run, "bank")
        for address in (Address(1, 0, 1), Address(1, 0, 1), Address(0, 0, 1), Address(2)):
            send_again(shop, scripted.three, run, address)
        eventually(lambda: queues.received(worker).count("three/undo") == 1 + 3, "the copies")
        eventually(lambda: queues.received(worker).count("three/c") == 2, "the copy of the failed step")
        eventually(lambda: succeeded_or_failed(worker) == len(queues.received(worker)) - 1, "them to be dropped")
        assert shop.effects(run) == ["a", "b"]
        gates.open_gate(shop.database_url, run, "bank")

        assert run.wait(30) is SagaStatus.COMPENSATED
    assert shop.effects(run) == ["a", "b", "undo b", "undo a"]


def test_a_message_of_a_saga_that_does_not_exist_is_dropped(shop: Shop, worker: Worker) -> None:
    run = shop.start(scripted.three)
    journal.query(shop.database_url, "DELETE FROM sagas.saga_instance")
    with briefly(worker):
        eventually(lambda: worker.text().count("succeeded in") == 1, "the message to be dropped")
        assert "message without a saga dropped" in worker.text()
    assert queues.received(worker) == ["three/a"]
    assert shop.effects(run) == []


@pytest.mark.parametrize("saga", [scripted.ten, scripted.fifty], ids=lambda saga: saga.name)
def test_a_long_saga_goes_on_from_window_to_window(busy_shop: Shop, saga: Saga) -> None:
    run = busy_shop.start(saga)

    assert run.wait(60) is SagaStatus.COMPLETED
    assert busy_shop.effects(run) == [step.name for step in saga.steps]
    assert [step.attempts for step in run.steps] == [1] * len(saga.steps)


@pytest.mark.parametrize(("saga", "failing"), [(scripted.ten, 7), (scripted.fifty, 37)], ids=["ten", "fifty"])
def test_a_long_saga_comes_back_from_window_to_window(busy_shop: Shop, saga: Saga, failing: int) -> None:
    run = busy_shop.start(saga, {f"s{failing}": ["no"]})

    assert run.wait(60) is SagaStatus.COMPENSATED
    done = [f"s{number}" for number in range(failing)]
    assert busy_shop.effects(run) == [*done, *(f"undo {name}" for name in reversed(done))]


def test_h10_every_dispatch_has_a_fresh_task_id_under_the_sagas_id(shop: Shop) -> None:
    run = shop.start(scripted.three)
    send_again(shop, scripted.three, run, Address(0))

    messages = queues.queued(shop.sagas)
    assert [message["root_id"] for message in messages] == [str(run.id)] * 2
    assert len({message["id"] for message in messages} | {str(run.id)}) == 3


def test_h10_revoking_a_message_does_not_stop_its_saga(shop: Shop) -> None:
    worker = shop.worker("-c", "1")
    with briefly(worker):
        # Given: one saga occupies the worker, the message of another one waits
        first = shop.start(scripted.three, {"a": ["wait:stock"]})
        gates.until_reached(shop.database_url, first, "stock")
        run = shop.start(scripted.three)
        (message,) = eventually(lambda: queues.of(run.id, queues.queued(shop.sagas)), "the message to wait")

        # When: somebody clicks "revoke" on it
        shop.sagas.app.control.revoke(message["id"])
        eventually(lambda: f"Tasks flagged as revoked: {message['id']}" in worker.text(), "the worker to know it")
        gates.open_gate(shop.database_url, first, "stock")

        # Then: that message is discarded, and another one takes its place
        assert run.wait(60) is SagaStatus.COMPLETED
        assert shop.effects(run) == ["a", "b", "c"]
        assert f"Discarding revoked task: three/a[{message['id']}]" in worker.text()


def test_b11_a_duplicate_costs_a_claim_in_vain_and_one_read(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not cost more than what it doubles: after an outage there may be many."""
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)
    run, sent = shop.start(scripted.three), []
    (first,) = queues.take_out(shop.sagas)
    queues.redeliver(shop.sagas, first)
    run_messages(shop.sagas.app)

    event.listen(shop.sagas.engine.store.database.engine, "before_cursor_execute", lambda *given: sent.append(given[2]))
    queues.redeliver(shop.sagas, first)

    assert len(run_messages(shop.sagas.app)) == 1
    assert len(sent) == 2, sent
    assert shop.effects(run) == ["a", "b", "c"]


def send_again(shop: Shop, saga: Saga, run: SagaHandle, address: Address) -> None:
    """A copy of a message, with the whole of its window, as a redelivery or an eager sweep makes one."""
    engine = shop.sagas.engine
    plan = saga.plan(engine)
    window = window_from(plan, None, address) if address.is_action else [address]
    engine.messages.send(run.id, plan, window)


def until_ended(worker: Worker, messages: int) -> None:
    eventually(lambda: len(queues.received(worker)) >= messages, "all copies")
    eventually(lambda: succeeded_or_failed(worker) == len(queues.received(worker)), "them to be dropped")


def succeeded_or_failed(worker: Worker) -> int:
    text = worker.text()
    ends = (" succeeded in ", " raised unexpected: ", " raised expected: ", " retry: ")
    return sum(map(text.count, ends))


def claims(shop: Shop, run: SagaHandle) -> int:
    counted = "SELECT sum(attempts) FROM sagas.saga_step WHERE instance_id = %s"
    return int(journal.query(shop.database_url, counted, str(run.id))[0][0])
