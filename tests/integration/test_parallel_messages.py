"""Branches whose messages are doubled or lost, and whose processes die: each is done once, and all are joined once."""

import time
from collections import Counter

import pytest

from sagas import Saga, SagaHandle, SagaStatus, StepStatus
from sagas.engine.messages import window_from
from sagas.model import Address
from tests.conftest import Shop
from tests.support import gates, journal, queues, shapes
from tests.support.application import make
from tests.support.bench import Bench
from tests.support.branches import claims, done_and_undone, pending, statuses, steps_begun, undo_effects
from tests.support.programs import briefly
from tests.support.workers import Worker, eventually


@pytest.fixture
def worker(shop: Shop) -> Worker:
    """Not started yet. One sweep in an hour, so that every message that it takes in is of the test's making."""
    return shop.worker("-c", "4", SAGAS_SWEEP_EVERY="3600")


def send_again(shop: Shop, saga: Saga, run: SagaHandle, *names: str) -> None:
    """A copy of each branch's message, with the rest of its lane, as a redelivery or an eager sweep makes one."""
    engine = shop.sagas.engine
    plan = saga.plan(engine)
    for step in plan.steps:
        if step.name in names:
            engine.messages.send(run.id, plan, window_from(plan, None, Address(step.position, step.branch)))


def test_h1_copies_of_branches_in_the_middle_are_dropped(shop: Shop, worker: Worker) -> None:
    run = shop.start(shapes.beside, dict.fromkeys("bcd", "wait:meeting"))
    with briefly(worker):
        gates.until_reached(shop.database_url, run, "meeting", times=3)
        for _ in range(3):
            send_again(shop, shapes.beside, run, *"bcd")
        eventually(lambda: worker.text().count("succeeded in") == 1 + 9, "the copies to be dropped")
        gates.open_gate(shop.database_url, run, "meeting")

        assert run.wait(30) is SagaStatus.COMPLETED
        eventually(lambda: queues.received(worker).count("beside/e") == 1, "the last step")
    assert (Counter(shop.effects(run)), claims(shop, run)) == (dict.fromkeys("abcde", 1), 5)


def test_h1_copies_of_completed_branches_join_nothing_twice(shop: Shop, worker: Worker) -> None:
    # Given: two branches are done, the third is in the middle, or the step after them
    run = shop.start(shapes.beside, {"d": ["wait:meeting"], "e": ["wait:end"]})
    with briefly(worker):
        gates.until_reached(shop.database_url, run, "meeting")
        eventually(lambda: pending(shop, run) == 1, "the siblings to be done")
        for _ in range(3):
            send_again(shop, shapes.beside, run, *"bc")
        eventually(lambda: worker.text().count("succeeded in") == 3 + 6, "the copies to be dropped")
        assert (pending(shop, run), statuses(run)["e"]) == (1, StepStatus.PENDING)
        gates.open_gate(shop.database_url, run, "meeting")
        gates.until_reached(shop.database_url, run, "end")

        send_again(shop, shapes.beside, run, *"bcd")
        eventually(lambda: worker.text().count("succeeded in") == 4 + 9, "the copies to be dropped")
        gates.open_gate(shop.database_url, run, "end")

        assert run.wait(30) is SagaStatus.COMPLETED
        assert queues.received(worker).count("beside/e") == 1
    assert (Counter(shop.effects(run)), claims(shop, run)) == (dict.fromkeys("abcde", 1), 5)


def test_h1_copies_that_queue_behind_one_another_make_one_walker_a_lane(shop: Shop) -> None:
    run = shop.start(shapes.lanes)
    for _ in range(5):
        send_again(shop, shapes.lanes, run, "a", "b")
    worker = shop.worker("-c", "1", SAGAS_SWEEP_EVERY="3600")

    with briefly(worker):
        assert run.wait(30) is SagaStatus.COMPLETED
        eventually(lambda: not queues.queued(shop.sagas), "the queue to be empty")
    received = Counter(queues.received(worker))
    assert [received[f"lanes/{name}"] for name in ("a", "b", "a2", "b2", "b3", "c")] == [6, 6, 1, 1, 1, 1]
    assert (len(shop.effects(run)), claims(shop, run)) == (6, 6)


def test_copies_of_branches_that_were_never_begun_find_nothing_after_the_end(shop: Shop, worker: Worker) -> None:
    run = shop.start(shapes.lanes, {"a": ["no"]})
    with briefly(worker):
        assert run.wait(30) is SagaStatus.COMPENSATED
        before = shop.effects(run)
        ended = worker.text().count("succeeded in")
        send_again(shop, shapes.lanes, run, "a", "a2", "b", "b2", "b3", "c")
        eventually(lambda: worker.text().count("succeeded in") >= ended + 6, "the copies to be dropped")
    assert (run.status, shop.effects(run)) == (SagaStatus.COMPENSATED, before)


def test_branches_whose_messages_were_lost_are_sent_again_and_only_they(shop: Shop) -> None:
    # Given: one process is in the middle of one branch, the messages of the others lie in the broker
    run = shop.start(shapes.beside, dict.fromkeys("bcd", "wait:meeting"))
    worker = shop.worker("-c", "1")
    with briefly(worker):
        gates.until_reached(shop.database_url, run, "meeting")
        eventually(lambda: len(queues.queued(shop.sagas)) == 2, "the others to lie in the broker")

        queues.forget_everything(shop.sagas)
        gates.open_gate(shop.database_url, run, "meeting")

        assert run.wait(60) is SagaStatus.COMPLETED
    assert (Counter(shop.effects(run)), claims(shop, run)) == (dict.fromkeys("abcde", 1), 5)
    assert queues.received(worker).count("beside/b") == 1


def test_all_sagas_with_branches_end_when_the_broker_forgets_everything(shop: Shop) -> None:
    runs = [shop.start(shapes.eight, {"b3": ["no"]} if number % 4 == 0 else {}) for number in range(24)]
    with briefly(shop.worker("-c", "4")):
        eventually(lambda: sum(run.status.is_final for run in runs) > 4, "the first sagas to end")
        queues.forget_everything(shop.sagas)

        for number, run in enumerate(runs):
            assert run.wait(60) is (SagaStatus.COMPENSATED if number % 4 == 0 else SagaStatus.COMPLETED)
            done, undos = done_and_undone(shop.effects(run))
            assert len(set(done)) == len(done)
            if number % 4 == 0:
                assert undos == undo_effects([name for name in steps_begun(run) if name != "b3"])
            else:
                assert (len(done), undos) == (9, [])


def test_undos_side_by_side_whose_messages_were_lost_are_sent_again(shop: Shop) -> None:
    run = shop.start(shapes.undone_beside, {"e": ["no"]} | {f"undo {name}": ["wait:bank"] for name in "bcd"})
    with briefly(shop.worker("-c", "1")):
        gates.until_reached(shop.database_url, run, "bank")
        eventually(lambda: len(queues.queued(shop.sagas)) == 2, "the others to lie in the broker")

        queues.forget_everything(shop.sagas)
        gates.open_gate(shop.database_url, run, "bank")

        assert run.wait(60) is SagaStatus.COMPENSATED
    undos = done_and_undone(shop.effects(run))[1]
    assert (sorted(undos[:3]), undos[3:]) == (["undo b", "undo c", "undo d"], ["undo a"])


def test_a_process_that_dies_in_a_branch_costs_its_siblings_nothing(shop: Shop) -> None:
    with briefly(shop.worker("-c", "4")):
        before = shop.start(shapes.beside, {"c": ["die"]})
        after = shop.start(shapes.lanes, {"b2": ["after:die"]})
        undoing = shop.start(shapes.undone_beside, {"e": ["no"], "undo c": ["after:die"]})
        every_time = shop.start(shapes.beside, {"c": "die"})

        assert before.wait(60) is SagaStatus.COMPLETED
        assert Counter(shop.effects(before)) == dict.fromkeys("abcde", 1)
        assert after.wait(60) is SagaStatus.COMPLETED
        assert Counter(shop.effects(after)) == dict.fromkeys(["a", "a2", "b", "b3", "c"], 1) | {"b2": 2}
        assert undoing.wait(60) is SagaStatus.COMPENSATED
        undos = done_and_undone(shop.effects(undoing))[1]
        assert (Counter(undos), undos[-1]) == ({"undo b": 1, "undo c": 2, "undo d": 1, "undo a": 1}, "undo a")
        assert every_time.wait(90) is SagaStatus.COMPENSATED
        assert done_and_undone(shop.effects(every_time))[1] == undo_effects(steps_begun(every_time))
    assert [before.steps[2].losses, after.steps[3].losses, every_time.steps[2].losses] == [1, 1, 4]


def test_the_step_after_a_join_runs_when_the_processes_died_between_the_join_and_its_message(shop: Shop) -> None:
    # Given: all eight branches completed by processes that sent nothing any more
    run = shop.start(shapes.eight)
    queues.forget_everything(shop.sagas)
    rows, plan = Bench(shop.database_url, shop.sagas.engine.store), shapes.eight.plan(shop.sagas.engine)
    for branch in range(8):
        rows.step(run.id, plan, Address(0, branch))

    with briefly(shop.worker()):
        assert run.wait(60) is SagaStatus.COMPLETED
    assert (shop.effects(run), claims(shop, run)) == (["last"], 9)


def test_branches_that_no_broker_takes_hold_up_no_start_and_are_sent_by_the_sweep(shop: Shop) -> None:
    sagas = make(f"redis+socket://{shop.directory}/nobody", shop.database_url)
    began = time.monotonic()
    run = sagas.start(shapes.fifty_branches, {"script": {}})
    assert time.monotonic() - began < 5
    sagas.engine.store.database.dispose()

    with briefly(shop.worker("-c", "4")):
        assert shop.sagas.get(run.id).wait(60) is SagaStatus.COMPLETED
    assert Counter(shop.effects(run)) == dict.fromkeys([part.name for part in shapes.fifty_branches.parts], 1)


def test_h10_revoking_a_branch_does_not_stop_its_saga(shop: Shop) -> None:
    worker = shop.worker("-c", "1")
    with briefly(worker):
        run = shop.start(shapes.beside, dict.fromkeys("bcd", "wait:meeting"))
        gates.until_reached(shop.database_url, run, "meeting")
        messages = eventually(lambda: queues.of(run.id, queues.queued(shop.sagas)), "messages to wait")
        shop.sagas.app.control.revoke([message["id"] for message in messages])
        eventually(lambda: "Tasks flagged as revoked" in worker.text(), "the worker to know it")
        gates.open_gate(shop.database_url, run, "meeting")

        assert run.wait(60) is SagaStatus.COMPLETED
    assert Counter(shop.effects(run)) == dict.fromkeys("abcde", 1)


def test_what_a_step_writes_by_its_own_connection_commits_with_its_branch(busy_shop: Shop) -> None:
    script = {name: [f"write:{name}"] for name in "bcd"} | {"c": ["write:lost,flaky", "write:c"]}
    run = busy_shop.start(shapes.beside, script)

    assert run.wait(30) is SagaStatus.COMPLETED
    assert sorted(journal.ledger(busy_shop.database_url, run.id)) == ["b", "c", "d"]
