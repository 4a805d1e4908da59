"""Where a saga's messages go, and which of them go first."""

from collections.abc import Iterator
from typing import Any

import pytest

from sagas import Saga, SagaHandle, SagaStatus, StepStatus, parallel
from tests.conftest import Shop
from tests.support import gates, journal, queues, scripted, shapes
from tests.support.branches import done_and_undone, statuses
from tests.support.programs import briefly
from tests.support.workers import eventually

#: What kombu's Redis transport puts between a queue's name and a priority other than the first.
SEPARATOR = "\x06\x16"


@pytest.fixture(scope="module")
def usual(own_shop: Shop) -> Iterator[Shop]:
    """A shop with a worker of the usual queue only."""
    with briefly(own_shop.worker("-c", "2", "-Q", "celery", name="usual")):
        yield own_shop


def workers_of(run: SagaHandle) -> list[str]:
    return [str(step.worker).partition("@")[0] for step in run.steps]


def queue_of(shop: Shop, run: SagaHandle, name: str, round_: int = 0) -> Any:
    stored = "SELECT queue FROM sagas.saga_step WHERE instance_id = %s AND name = %s AND round = %s"
    return journal.query(shop.database_url, stored, str(run.id), name, round_)[0][0]


def test_a_step_with_a_queue_of_its_own_waits_for_a_worker_of_that_queue(usual: Shop) -> None:
    run = usual.start(shapes.queued_elsewhere)
    (message,) = eventually(lambda: queues.of(run.id, queues.queued(usual.sagas, "slow")), "its message")
    assert message["shadow"] == "queued-elsewhere/b"
    # The worker of the usual queue has time for others, and leaves it alone.
    assert usual.start(scripted.three).wait(30) is SagaStatus.COMPLETED
    assert (run.status, statuses(run)["b"], usual.effects(run)) == (SagaStatus.RUNNING, StepStatus.PENDING, ["a"])
    assert queue_of(usual, run, "b") == "slow"

    with briefly(usual.worker("-c", "1", "-Q", "slow", name="slow")):
        assert run.wait(30) is SagaStatus.COMPLETED
    assert usual.effects(run) == ["a", "b", "c"]
    assert workers_of(run) == ["usual", "slow", "usual"]


def test_its_compensation_goes_to_that_queue_too(usual: Shop) -> None:
    with briefly(usual.worker("-c", "1", "-Q", "slow", name="slow")):
        run = usual.start(shapes.queued_elsewhere, {"c": ["wait:slow to be gone,no"]})
        gates.until_reached(usual.database_url, run, "slow to be gone")
    gates.open_gate(usual.database_url, run, "slow to be gone")
    eventually(lambda: queues.of(run.id, queues.queued(usual.sagas, "slow")), "its message")
    assert usual.start(scripted.three).wait(30) is SagaStatus.COMPLETED
    assert (run.status, usual.effects(run)) == (SagaStatus.COMPENSATING, ["a", "b"])
    assert (queue_of(usual, run, "b", 1), statuses(run)["b"]) == ("slow", StepStatus.COMPENSATING)

    with briefly(usual.worker("-c", "1", "-Q", "slow", name="slow-again")):
        assert run.wait(30) is SagaStatus.COMPENSATED
    assert usual.effects(run) == ["a", "b", "undo b", "undo a"]
    rows = """
    SELECT split_part(worker.hostname, '@', 1) FROM sagas.saga_step AS step
    JOIN sagas.saga_worker AS worker ON worker.id = step.worker_id
    WHERE instance_id = %s AND round = 1 ORDER BY step.first_claimed_at
    """
    assert journal.query(usual.database_url, rows, str(run.id)) == [("slow-again",), ("usual",)]


def test_a_retry_and_a_lost_message_go_to_that_queue_again(usual: Shop) -> None:
    run = usual.start(shapes.queued_elsewhere, {"b": ["flaky", "die"]})
    eventually(lambda: queues.of(run.id, queues.queued(usual.sagas, "slow")), "its message")
    with usual.sagas.app.connection_for_read() as connection:
        connection.default_channel.client.delete("slow")

    with briefly(usual.worker("-c", "1", "-Q", "slow", name="slow")):
        assert run.wait(60) is SagaStatus.COMPLETED
    assert (usual.effects(run), run.steps[1].attempts) == (["a", "b", "c"], 3)
    assert workers_of(run) == ["usual", "slow", "usual"]


def test_branches_may_have_queues_of_their_own(usual: Shop) -> None:
    branches = [scripted.step("b", queue="left"), scripted.step("c", queue="right"), scripted.step("d")]
    saga = Saga("scattered", steps=[scripted.step("a"), parallel(*branches, undo="parallel"), scripted.step("e")])
    there = [usual.worker("-c", "1", "-Q", name, name=name) for name in ("left", "right")]
    with briefly(*there):
        done = usual.start(saga, dict.fromkeys("bcd", "wait:meeting"))
        gates.until_reached(usual.database_url, done, "meeting", times=3)
        gates.open_gate(usual.database_url, done, "meeting")
        back = usual.start(saga, {"e": ["no"]})

        assert done.wait(30) is SagaStatus.COMPLETED
        assert back.wait(30) is SagaStatus.COMPENSATED
    assert workers_of(done) == ["usual", "left", "right", "usual", "usual"]
    assert sorted(done_and_undone(usual.effects(back))[1]) == ["undo a", "undo b", "undo c", "undo d"]


def test_a_worker_of_several_queues_runs_all_of_a_saga(shop: Shop) -> None:
    run = shop.start(shapes.queued_elsewhere, {"c": ["no"]})
    with briefly(shop.worker("-c", "1", "-Q", "celery,slow")):
        assert run.wait(30) is SagaStatus.COMPENSATED
    assert shop.effects(run) == ["a", "b", "undo b", "undo a"]


def started(shop: Shop) -> list[str]:
    """The ids of the sagas, in the order of their first steps' beginnings."""
    order = "SELECT instance_id::text FROM sagas.saga_step WHERE position = 0 AND round = 0 ORDER BY first_claimed_at"
    return [row[0] for row in journal.query(shop.database_url, order)]


def backlog(shop: Shop, priority: int, queue: str = "celery") -> int:
    name = f"{queue}{SEPARATOR}{priority}" if priority else queue
    return len(queues.queued(shop.sagas, name))


def test_urgent_sagas_begin_before_leisurely_ones_that_came_first(shop: Shop) -> None:
    leisurely = [shop.start(shapes.leisurely) for _ in range(6)]
    urgent = [shop.start(shapes.urgent) for _ in range(6)]
    assert (backlog(shop, 0), backlog(shop, 9)) == (6, 6)

    with briefly(shop.worker("-c", "1", "--prefetch-multiplier", "1")):
        for run in (*urgent, *leisurely):
            assert run.wait(30) is SagaStatus.COMPLETED
    assert started(shop) == [str(run.id) for run in (*urgent, *leisurely)]


def test_every_message_of_a_saga_has_its_priority(shop: Shop) -> None:
    # Given: sagas of several steps, so that each step lines up anew, and undos
    urgent = Saga("urgent-three", steps=[scripted.step(name) for name in "abc"], priority=0)
    leisurely = Saga("leisurely-three", steps=[scripted.step(name) for name in "abc"], priority=9)
    late = [shop.start(leisurely, {"c": ["no"]}) for _ in range(3)]
    soon = [shop.start(urgent, {"c": ["no"]}) for _ in range(3)]

    with briefly(shop.worker("-c", "1", "--prefetch-multiplier", "1")):
        for run in (*soon, *late):
            assert run.wait(30) is SagaStatus.COMPENSATED

    # Then: the last undo of the urgent ones is done before the first step of the others
    happened = [
        str(saga_id)
        for (saga_id,) in journal.query(shop.database_url, "SELECT saga_id FROM public.journal ORDER BY id")
    ]
    assert len(happened) == 6 * 4
    assert set(happened[: 3 * 4]) == {str(run.id) for run in soon}


def test_branches_have_the_priority_of_their_saga(shop: Shop) -> None:
    branches = [scripted.step(name) for name in "bcd"]
    saga = Saga("leisurely-beside", steps=[parallel(*branches), scripted.step("e")], priority=9)
    run = shop.start(saga)
    assert (backlog(shop, 0), backlog(shop, 9)) == (0, 3)
    urgent = [shop.start(shapes.urgent) for _ in range(3)]

    with briefly(shop.worker("-c", "1", "--prefetch-multiplier", "1")):
        assert run.wait(30) is SagaStatus.COMPLETED
    first = min(step.started_at for step in run.steps if step.started_at is not None)
    assert all(one.steps[0].started_at is not None and one.steps[0].started_at < first for one in urgent)


def test_a_leisurely_saga_whose_message_was_lost_is_sent_again_as_leisurely(shop: Shop) -> None:
    run = shop.start(shapes.leisurely)
    queues.forget_everything(shop.sagas)
    journal.query(shop.database_url, "UPDATE sagas.saga_step SET dispatched_at = NULL")
    journal.query(shop.database_url, "UPDATE sagas.saga_instance SET due_at = clock_timestamp()")

    assert shop.sagas.sweep() == 1
    assert (backlog(shop, 0), backlog(shop, 9)) == (0, 1)
    with briefly(shop.worker("-c", "1")):
        assert run.wait(30) is SagaStatus.COMPLETED
