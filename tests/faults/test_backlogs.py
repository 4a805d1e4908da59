"""A backlog is not a loss, whoever starts to work on it in the middle (H5), and keeps no timer waiting (B14)."""

from sagas import Saga, SagaStatus, Sleep, StepStatus
from sagas.engine import SWEEP_TASK
from tests.conftest import Shop
from tests.faults.killed_at_end import with_a_message_a_step
from tests.support import gates, journal, queues, scripted
from tests.support.workers import Worker, eventually, running

#: Longer than the lease and every doubling of it that could matter here.
A_WHILE = "SELECT count(*) FROM sagas.saga_step WHERE round = 0 AND status = 'completed'"
SAGAS, STEPS = 30, 3
nap = Saga("begins-with-a-nap", steps=[Sleep(seconds=0.5), scripted.step("a")])


def messages_of_steps(*workers: Worker) -> int:
    """How many these have taken in."""
    return sum(name != SWEEP_TASK for worker in workers for name in queues.received(worker))


@with_a_message_a_step
def test_h5_a_worker_that_starts_behind_a_backlog_makes_nobody_send_it_again(shop: Shop) -> None:
    # Given: many that wait behind one worker for longer than a lease
    runs = [shop.start(scripted.three, {"a": "sleep:0.3", "b": "sleep:0.3", "c": "sleep:0.3"}) for _ in range(SAGAS)]
    workers = [shop.worker("-c", "1", name=name) for name in ("first", "second", "third")]
    with running(workers[0]):
        eventually(lambda: journal.query(shop.database_url, A_WHILE)[0][0] >= 8, "the first to have worked a while")

        # When: others come to help
        with running(workers[1]), running(workers[2]):
            for run in runs:
                run.wait(90)

    # Then: each step had one message
    assert messages_of_steps(*workers) == SAGAS * STEPS
    assert all(shop.effects(run) == ["a", "b", "c"] for run in runs)


def test_b14_while_all_slots_are_in_long_steps_passes_are_made(shop: Shop) -> None:
    """No beat runs, and the pool would have no process for its messages."""
    # Given
    with running(shop.worker("-c", "1")):
        busy = shop.start(scripted.three, {"a": ["wait:the end of a long step"]})
        gates.until_reached(shop.database_url, busy, "the end of a long step")

        # When
        asleep = shop.start(nap)

        # Then
        eventually(lambda: asleep.steps[0].status is StepStatus.COMPLETED, "the sleep to end")
        assert busy.steps[0].status is StepStatus.RUNNING
        gates.open_gate(shop.database_url, busy, "the end of a long step")
        assert {busy.wait(30), asleep.wait(30)} == {SagaStatus.COMPLETED}
