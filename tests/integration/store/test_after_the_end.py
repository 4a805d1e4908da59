"""An event that came after the end is delivered to one handler: claimed, found and recorded as any delivery (V18)."""

from datetime import datetime
from uuid import UUID, uuid4

import pytest
from psycopg2.errors import CheckViolation
from sqlalchemy import Row

from sagas.handle.letter_pages import after_deliveries
from sagas.model import Address, ExecutionStatus, SagaStatus, Verdict
from sagas.model.choreography import ChoreographyPlan
from sagas.model.choreography.events import ReplayRequested
from sagas.model.choreography.state import Delivery
from tests.integration.store.test_early_and_late import purge
from tests.support.bench import Background, Bench
from tests.support.runs import RunBench
from tests.unit.model.choreography.graphs import graph, handler
from tests.unit.model.story import tries

PLAN = graph(
    handler("one", "A", publishes=("E",)),
    handler("repay", "B", publishes=("C",), retry=tries(2, backoff=600.0)),
    handler("tell", "C"),
    ends=("E",),
)
REPAY = "tasks.repay"


@pytest.fixture
def runs(bench: Bench) -> RunBench:
    return RunBench(bench.store)


def ended(runs: RunBench, plan: ChoreographyPlan = PLAN) -> tuple[UUID, Address]:
    """A run that is completed, and whose late event is to be delivered."""
    run = runs.start(plan)
    assert runs.works(run, plan, lambda _: ("E",))
    assert runs.state(run).status is SagaStatus.COMPLETED
    runs.publish(run, "B")
    (letter,) = runs.late(run)
    said = runs.delivers(run, letter, "repay")
    assert said.accepted, said.refusal
    return run, said.sends[0].address


def stands(bench: Bench, run: UUID) -> tuple[str, int, bool]:
    row = bench.row("saga_instance", run)
    return row["status"], row["pending"], row["due_at"] is not None


def of_delivery(runs: RunBench, run: UUID, address: Address) -> Delivery:
    row = runs.state(run).at(address)
    assert isinstance(row, Delivery)
    return row


def dead(bench: Bench, run: UUID) -> list[Row]:
    return bench.store.letters.dead(limit=10, run=run, **after_deliveries(None))


def test_v18_a_late_event_is_delivered_once_and_its_run_stays_completed(runs: RunBench, bench: Bench) -> None:
    run, address = ended(runs)
    before = bench.row("saga_instance", run)
    assert stands(bench, run) == ("completed", 1, True)
    assert runs.late(run) == []

    token = runs.claim(run, address, REPAY)
    assert token is not None
    said = runs.ends(run, address, token, "C")

    assert stands(bench, run) == ("completed", 0, False)
    assert bench.row("saga_instance", run)["finished_at"] == before["finished_at"]
    assert getattr(said, "accepted", False)
    (letter,) = runs.late(run)
    assert (letter.number, letter.type) == (4, "C"), "what it returned is late itself"
    assert of_delivery(runs, run, address).status is ExecutionStatus.COMPLETED


def test_v18_the_sweep_tries_a_late_delivery_again_and_finds_the_one_of_a_dead_worker(
    runs: RunBench, bench: Bench
) -> None:
    run, address = ended(runs)
    token = runs.claim(run, address, REPAY)
    assert token is not None
    runs.fails(run, address, token, Verdict.RETRYABLE)
    assert of_delivery(runs, run, address).status is ExecutionStatus.PENDING
    assert bench.store.sweeping.take_due(10) == []
    bench.sql("UPDATE {s}.saga_step SET not_before = clock_timestamp() WHERE instance_id = %s", run)
    bench.sql("UPDATE {s}.saga_instance SET due_at = clock_timestamp() WHERE id = %s", run)

    assert bench.store.sweeping.take_due(10) == [run]
    said = runs.look(run)

    assert said is not None
    assert [send.address for send in said.sends] == [address]
    assert runs.claim(run, address, REPAY)
    assert bench.store.sweeping.lost(10) == []
    worker = uuid4()
    bench.beat(worker)
    bench.sql("UPDATE {s}.saga_step SET worker_id = %s WHERE status = 'running'", worker)
    bench.store.sweeping.say_goodbye(worker)
    assert bench.store.sweeping.lost(10) == [run]
    said = runs.look(run)
    assert said is not None
    assert [send.address for send in said.sends] == [address]
    assert of_delivery(runs, run, address).doubt
    assert stands(bench, run) == ("completed", 1, True)


def test_v18_a_late_delivery_that_is_given_up_is_a_late_letter_again_and_is_replayed(
    runs: RunBench, bench: Bench
) -> None:
    run, address = ended(runs)
    token = runs.claim(run, address, REPAY)
    assert token is not None

    runs.fails(run, address, token, Verdict.UNKNOWN)

    assert stands(bench, run) == ("completed", 0, False)
    (letter,) = dead(bench, run)
    assert (letter.handler, letter.is_late, letter.in_doubt) == ("repay", True, True)
    seen = of_delivery(runs, run, address).dead_at
    assert isinstance(seen, datetime)
    said = runs.happens(run, ReplayRequested(address=address, seen=seen, reason="mended"))
    assert said is not None
    assert said.accepted, said.refusal
    assert stands(bench, run) == ("completed", 1, True)


def test_v18_a_purge_waits_for_a_late_delivery(runs: RunBench, bench: Bench) -> None:
    run, address = ended(runs)
    assert purge(bench) == 0
    token = runs.claim(run, address, REPAY)
    assert token is not None
    assert purge(bench) == 0

    runs.ends(run, address, token)

    assert purge(bench) == 1


def test_v18_a_handler_whose_pause_is_over_goes_on_with_what_came_late(runs: RunBench, bench: Bench) -> None:
    run, address = ended(runs)
    token = runs.claim(run, address, REPAY)
    assert token is not None
    runs.fails(run, address, token, Verdict.RETRYABLE)

    assert of_delivery(runs, run, address).not_before is not None
    bench.sql(
        "INSERT INTO {s}.saga_handler (choreography, handler, dead_in_row, paused_at) "
        "VALUES ('fulfilment', 'repay', 20, clock_timestamp())"
    )

    assert bench.store.handlers.resume(PLAN.name, "repay") is not None

    assert bench.store.sweeping.take_due(10) == [run]
    said = runs.look(run)
    assert said is not None
    assert [send.address for send in said.sends] == [address]


def test_v18_one_person_skips_a_late_event_while_another_has_it_delivered(runs: RunBench, bench: Bench) -> None:
    """Both take the lock of the run first: they neither wait for each other crosswise nor both answer it."""
    run = runs.start(PLAN)
    runs.works(run, PLAN, lambda _: ("E",))
    for number in range(3, 23):
        runs.publish(run, "B")
        (letter,) = runs.late(run)
        skipping = Background(lambda event=letter.event: bench.store.letters.acknowledge(run, event, {"reason": "x"}))

        said = runs.delivers(run, letter, "repay")

        skipped = skipping.join()
        assert said.accepted is not skipped
        assert runs.late(run) == []
        assert (runs.state(run).at(Address(number, 1)) is not None) is said.accepted


def test_v18_what_has_ended_is_due_only_while_something_that_came_late_is_open(runs: RunBench, bench: Bench) -> None:
    run, _ = ended(runs)

    with pytest.raises(CheckViolation):
        bench.sql("UPDATE {s}.saga_instance SET pending = 0 WHERE id = %s", run)
    saga = bench.start()
    with pytest.raises(CheckViolation):
        bench.sql("UPDATE {s}.saga_instance SET status = 'completed', finished_at = now() WHERE id = %s", saga)
