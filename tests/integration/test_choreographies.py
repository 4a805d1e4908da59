"""Choreographed runs through a real broker and real workers: start, deliver, end."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import create_engine

from sagas import SagaHandle, SagaStatus, StepStatus
from sagas.errors import KeyInUse, NotRegistered, PayloadError, StartRefused, TransitionRefused
from tests.conftest import Shop
from tests.support import journal, scripted
from tests.support.choreographed import Charged, Noted, Ordered, Shipped, ring
from tests.support.workers import eventually, running


@pytest.fixture(scope="module")
def ring_shop(own_shop: Shop) -> Iterator[Shop]:
    """A shop whose worker knows the choreography."""
    with running(own_shop.worker("-c", "4", "-I", "tests.support.choreographed")):
        eventually(
            lambda: own_shop.sagas.engine.store.runs.whole_graph(ring.plan(own_shop.sagas.engine)), "the graph", 60
        )
        yield own_shop


def start(shop: Shop, script: dict[str, Any] | None = None, **options: Any) -> SagaHandle:
    return ring.start_on(shop.sagas.engine, Ordered(script=script or {}), **options)


def publish(shop: Shop, event: Any, **options: Any) -> bool:
    return ring.publish_on(shop.sagas.engine, event, **options)


def deliveries(run: SagaHandle) -> list[tuple[str, StepStatus]]:
    return [(step.name, step.status) for step in run.steps]


def events(shop: Shop, run: SagaHandle) -> list[tuple[int, str]]:
    return journal.query(
        shop.database_url,
        "SELECT number, name FROM sagas.saga_inbox WHERE instance_id = %s AND number IS NOT NULL ORDER BY number",
        str(run.id),
    )


def test_a_run_is_delivered_from_event_to_event_and_ends(ring_shop: Shop) -> None:
    run = start(ring_shop)

    assert run.wait(60) is SagaStatus.COMPLETED
    assert ring_shop.effects(run) == ["reserve", "charge", "ship", "mail Shipped"]
    assert events(ring_shop, run) == [(1, "Ordered"), (2, "Reserved"), (3, "Charged"), (4, "Shipped")]
    assert deliveries(run) == [(name, StepStatus.COMPLETED) for name in ("reserve", "charge", "ship", "mail")]
    assert [step.position for step in run.steps] == [1, 2, 3, 4]


def test_what_a_body_publishes_itself_comes_before_what_it_returns(ring_shop: Shop) -> None:
    run = start(ring_shop, {"reserve": ["say:by itself"]})

    assert run.wait(60) is SagaStatus.COMPLETED
    first = [(1, "Ordered"), (2, "Noted"), (3, "Reserved"), (4, "Charged"), (5, "Shipped")]
    assert events(ring_shop, run) == first


@pytest.mark.parametrize(
    ("handler", "does", "error"),
    [
        ("ship", "publish a note", "Noted"),
        ("reserve", "too often", "current_event.publish: one execution publishes at most 100 events"),
    ],
)
def test_what_a_body_publishes_itself_is_refused_where_it_publishes_it(
    ring_shop: Shop, handler: str, does: str, error: str
) -> None:
    run = start(ring_shop, {handler: [f"say:{does}"]})

    letters = ring_shop.sagas.dead_letters
    eventually(lambda: [one for one in letters.list(handler=handler) if one.run == run.id], "the letter")
    (letter,) = (one for one in letters.list(handler=handler) if one.run == run.id)
    assert letter.error is not None
    assert error in letter.error.message


def test_the_key_of_a_delivery_is_its_event_and_its_handler(ring_shop: Shop) -> None:
    run = start(ring_shop, {"charge": ["flaky", "ok"]})
    assert run.wait(60) is SagaStatus.COMPLETED

    keys = journal.entries(ring_shop.database_url, run.id)
    ids = dict(
        journal.query(
            ring_shop.database_url,
            "SELECT name, event_id::text FROM sagas.saga_inbox WHERE instance_id = %s",
            str(run.id),
        )
    )

    assert keys == [
        ("reserve", f"{ids['Ordered']}:reserve"),
        ("charge", f"{ids['Reserved']}:charge"),
        ("ship", f"{ids['Charged']}:ship"),
        ("mail Shipped", f"{ids['Shipped']}:mail"),
    ]
    assert [step.attempts for step in run.steps] == [1, 2, 1, 1]


def test_an_undo_event_undoes_its_handler_and_a_refusing_one_turns_the_run_back(ring_shop: Shop) -> None:
    run = start(ring_shop, {"charge": ["say:declined"]})

    assert run.wait(60) is SagaStatus.COMPENSATED
    effects = ring_shop.effects(run)
    assert effects[:2] == ["reserve", "charge"]
    # The undo event is heard, too; `charge` did something, and is undone when the run turns back.
    assert sorted(effects[2:]) == sorted(["mail Declined", "release for 3", "release", "refund", "mail Cancelled"])
    assert [name for _, name in events(ring_shop, run)] == ["Ordered", "Reserved", "Declined", "Refused", "Cancelled"]
    assert {step.name: step.status for step in run.steps} == {
        "reserve": StepStatus.COMPENSATED,
        "charge": StepStatus.COMPENSATED,
        "mail": StepStatus.COMPLETED,
    }


def test_a_cancel_turns_a_run_back_in_the_reverse_order_and_tells_of_it(ring_shop: Shop) -> None:
    run = start(ring_shop, {"ship": ["wait:harbour"]})
    eventually(lambda: deliveries(run)[-1:] == [("ship", StepStatus.RUNNING)], "ship to run", 60)

    run.cancel("changed mind")
    harbour_opens(ring_shop, run)

    assert run.wait(60) is SagaStatus.COMPENSATED
    undone = [what for what in ring_shop.effects(run) if what in ("refund", "release")]
    assert undone == ["refund", "release"]
    assert "mail Cancelled" in ring_shop.effects(run)
    payload = journal.query(
        ring_shop.database_url,
        "SELECT payload ->> 'reason' FROM sagas.saga_inbox WHERE instance_id = %s AND name = 'Cancelled'",
        str(run.id),
    )
    assert payload == [("changed mind",)]
    assert run.error is not None
    assert "changed mind" in run.error.message


def harbour_opens(shop: Shop, run: SagaHandle) -> None:
    journal.query(
        shop.database_url,
        "INSERT INTO public.gate (saga_id, name, open) VALUES (%s, 'harbour', true) "
        "ON CONFLICT (saga_id, name) DO UPDATE SET open = true RETURNING open",
        str(run.id),
    )


def test_a_dead_letter_leaves_its_run_for_a_person(ring_shop: Shop) -> None:
    run = start(ring_shop, {"charge": "no"})

    assert run.wait(60) is SagaStatus.FAILED
    assert [step.name for step in run.snapshot().needs_a_person] == ["charge"]
    assert run.error is not None
    assert "dead_letter" in [entry.event for entry in run.history()]


def test_a_run_refuses_the_answers_to_sagas_and_names_those_to_runs(ring_shop: Shop) -> None:
    run, done = start(ring_shop, {"charge": "no"}), start(ring_shop)
    assert (run.wait(60), done.wait(60)) == (SagaStatus.FAILED, SagaStatus.COMPLETED)

    for answer in (run.retry, run.skip, run.resolve):
        with pytest.raises(TransitionRefused, match=f"run {run.id} is failed and is not answered step by step: replay"):
            answer("mended")
    with pytest.raises(TransitionRefused, match=f"run {run.id} of ring takes no signals: publish an event"):
        run.signal("approved")
    with pytest.raises(TransitionRefused, match=f"run {done.id} is completed and cannot be cancelled: it has ended"):
        done.cancel("too late")


def test_v24_what_a_handler_may_not_return_is_doubt_and_never_runs_again(ring_shop: Shop) -> None:
    run = start(ring_shop, {"ship": ["return:set"]})

    assert run.wait(60) is SagaStatus.COMPLETED  # what it returns is the handler's own event

    run = start(ring_shop, {"ship": ["say:no event"]})
    assert run.wait(60) is SagaStatus.FAILED
    (dead,) = run.snapshot().needs_a_person
    assert (dead.name, dead.attempts, dead.in_doubt) == ("ship", 1, True)
    assert dead.error is not None
    assert "Reserved" in dead.error.message
    assert ring_shop.effects(run) == ["reserve", "charge", "ship"]


def test_an_effect_in_the_handlers_transaction_commits_with_its_completion(ring_shop: Shop) -> None:
    run = start(ring_shop, {"charge": ["write:charged"], "ship": ["write:shipped, invalid", "ok"]})
    assert run.wait(60) is SagaStatus.FAILED

    ledger = journal.query(ring_shop.database_url, "SELECT entry FROM public.ledger WHERE saga_id = %s", str(run.id))

    assert ledger == [("charged",)]


def test_events_from_outside_are_handled_in_the_order_of_their_numbers(ring_shop: Shop) -> None:
    run = start(ring_shop, {"ship": ["wait:harbour"]})
    for number in range(5):
        assert publish(ring_shop, Noted(script={}, number=number), run=run, key=f"note-{number}")
        assert not publish(ring_shop, Noted(script={}, number=number), run=run.id, key=f"note-{number}")
    harbour_opens(ring_shop, run)

    assert run.wait(60) is SagaStatus.COMPLETED
    notes = [what for what in ring_shop.effects(run) if what.startswith("note")]
    assert notes == [f"note {number}" for number in range(5)]


def test_a_run_and_its_events_are_committed_with_the_callers_transaction_or_not_at_all(ring_shop: Shop) -> None:
    """V42: a start and an event for it in one transaction, with a savepoint that is rolled back in between."""
    key = uuid4().hex
    engine = create_engine(ring_shop.database_url)
    with engine.connect() as connection:
        lost = start(ring_shop, connection=connection)
        connection.rollback()
    with engine.connect() as connection, connection.begin():
        run = start(ring_shop, key=key, connection=connection)
        with connection.begin_nested() as savepoint:
            publish(ring_shop, Noted(script={}, number=1), run=key, connection=connection)
            savepoint.rollback()
        publish(ring_shop, Noted(script={}, number=2), run=key, connection=connection)
    engine.dispose()

    assert run.wait(60) is SagaStatus.COMPLETED
    assert [what for what in ring_shop.effects(run) if what.startswith("note")] == ["note 2"]
    assert ring_shop.sagas.engine.store.instances.read(lost.id) is None


def test_v16_an_event_by_key_may_come_before_its_run(ring_shop: Shop) -> None:
    key = uuid4().hex
    assert publish(ring_shop, Noted(script={}, number=7), run=key)

    run = start(ring_shop, key=key)

    assert run.wait(60) is SagaStatus.COMPLETED
    assert "note 7" in ring_shop.effects(run)
    assert events(ring_shop, run)[0] == (1, "Ordered")


def test_starts_with_one_key_are_one_run_and_another_beginning_is_told(ring_shop: Shop) -> None:
    key = uuid4().hex
    run = start(ring_shop, key=key)

    assert start(ring_shop, key=key).id == run.id
    with pytest.raises(KeyInUse, match="began with another event"):
        start(ring_shop, {"charge": "no"}, key=key)
    with pytest.raises(KeyInUse, match="already"):
        start(ring_shop, key=key, if_exists="reject")


def test_v18_an_event_after_the_end_is_kept_and_changes_nothing(ring_shop: Shop) -> None:
    run = start(ring_shop)
    assert run.wait(60) is SagaStatus.COMPLETED

    publish(ring_shop, Charged(script={}), run=run)

    letters = "SELECT letter FROM sagas.saga_inbox WHERE instance_id = %s AND letter IS NOT NULL"
    eventually(lambda: journal.query(ring_shop.database_url, letters, str(run.id)) == [("late",)], "the letter", 30)
    assert run.status is SagaStatus.COMPLETED
    assert len(run.steps) == 4


def test_what_cannot_be_published_is_refused_with_the_reason(ring_shop: Shop) -> None:
    run = start(ring_shop)

    with pytest.raises(StartRefused, match="starts with Ordered, not with Shipped"):
        ring.start_on(ring_shop.sagas.engine, Shipped(script={}))
    with pytest.raises(PayloadError, match="is not an event"):
        publish(ring_shop, {"order_id": "42"}, run=run)
    with pytest.raises(PayloadError, match="must be a handle, a UUID"):
        publish(ring_shop, Charged(script={}), run=42)  # type: ignore[arg-type]
    with pytest.raises(StartRefused, match="must be text of 1 to"):
        publish(ring_shop, Charged(script={}), run=run, key="")
    with pytest.raises(StartRefused, match="not both"):
        publish(ring_shop, Charged(script={}), run=run, session=object(), connection=object())  # type: ignore[arg-type]
    assert run.wait(60) is SagaStatus.COMPLETED


@pytest.mark.parametrize("key", [None, "psp-77"])
def test_an_event_for_a_saga_is_refused_and_not_kept_where_nothing_hears_it(ring_shop: Shop, key: str | None) -> None:
    saga = ring_shop.start(scripted.three)

    for run in (saga, saga.id):
        with pytest.raises(StartRefused, match="is a saga, which hears no events: publish Noted into a run"):
            ring.publish_on(ring_shop.sagas.engine, Noted(script={}, number=1), run=run, key=key)


def test_v9_a_run_is_not_started_before_a_worker_has_registered_the_graph(shop: Shop) -> None:
    engine = shop.sagas.engine
    with pytest.raises(NotRegistered, match=r"Start a worker, or call Sagas.register\(\)"):
        ring.start_on(engine, Ordered(script={}))

    shop.sagas.register()
    run = ring.start_on(engine, Ordered(script={}))
    with running(shop.worker("-c", "2", "-I", "tests.support.choreographed")):
        assert run.wait(60) is SagaStatus.COMPLETED


@pytest.mark.slow
def test_a_delivery_whose_process_is_killed_runs_again_under_its_key(shop: Shop) -> None:
    shop.sagas.register()
    run = ring.start_on(shop.sagas.engine, Ordered(script={"charge": ["after:die", "ok"]}))

    with running(shop.worker("-c", "2", "-I", "tests.support.choreographed")):
        assert run.wait(90) is SagaStatus.COMPLETED

    charged = [key for what, key in journal.entries(shop.database_url, run.id) if what == "charge"]
    assert len(charged) == 2
    assert len(set(charged)) == 1
    (step,) = (step for step in run.steps if step.name == "charge")
    assert (step.attempts, step.losses) == (2, 1)
