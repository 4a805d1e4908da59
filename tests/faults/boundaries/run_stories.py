"""What is done to a choreographed run, from its start to its end, while one of its processes dies somewhere."""

from functools import partial
from typing import Any

from sagas import DeadLetter, SagaHandle, SagaStatus, StepStatus
from tests.faults.boundaries.stories import PATIENCE, Trial, must_exist
from tests.support import gates, journal
from tests.support.choreographed import Noted, Shipped, ring
from tests.support.started_on_events import Closed, Left, depot, unloading
from tests.support.workers import eventually

#: More events than one look numbers.
MANY = 101


def started_elsewhere(trial: Trial) -> SagaHandle:
    """Whoever finds out that it died starts it once more: the key makes one run of it."""
    trial.arm()
    trial.errand("start_run", key=trial.key)
    assert trial.exists() is must_exist(trial)
    trial.start()
    return trial.until_ended()


def started_in_a_transaction(trial: Trial) -> SagaHandle:
    """The application's own row and the run are there together, or neither is."""
    trial.arm()
    trial.errand("start_run_in_transaction", key=trial.key)
    assert trial.exists() is must_exist(trial)
    assert journal.ledger(trial.url, trial.saga_id) == (["order"] if trial.exists() else [])
    trial.start()
    return trial.until_ended()


def expected_early(trial: Trial) -> SagaHandle:
    """So many events are there before their run that its first look does not read the one that starts it.

    It is its start that looks at it: the sweep has seen the events, and the first delivery does not end before.
    """
    for number in range(MANY):
        publish(trial, number)
    unseen = "SELECT 1 FROM sagas.saga_inbox WHERE instance_id = %s AND seen_at IS NULL"
    eventually(lambda: not journal.query(trial.url, unseen, str(trial.saga_id)), "the events to wait", PATIENCE)
    trial.arm()
    trial.errand("start_run", key=trial.key)
    trial.start()
    gates.open_gate(trial.url, trial.run, "begun")
    until_resting(trial)
    return shipped(trial)


def expected_too_long(trial: Trial) -> SagaHandle:
    """Its run comes after an event has been given up; a person delivers that."""
    publish(trial, 1)
    of_it = "saga_inbox WHERE instance_id = %s AND name = 'Noted'"
    waits = f"SELECT 1 FROM sagas.{of_it} AND seen_at IS NOT NULL"
    eventually(lambda: journal.query(trial.url, waits, str(trial.saga_id)), "the event to wait", PATIENCE)
    trial.arm_nobodys()
    its_time = of_it.replace("WHERE", "SET early_until = clock_timestamp() WHERE")
    journal.query(trial.url, f"UPDATE sagas.{its_time}", str(trial.saga_id))
    eventually(lambda: letters_of(trial), "the letter", PATIENCE)
    trial.start()
    until_resting(trial)
    trial.arm()
    trial.errand("replay", reason="its run has come")
    replay(trial)
    return shipped(trial)


def published_elsewhere(trial: Trial) -> SagaHandle:
    """Whoever publishes does it once more if it died: the key makes one event of it."""
    trial.start()
    until_resting(trial)
    trial.arm()
    trial.errand("publish", key="once")
    publish(trial, 1, key="once")
    return shipped(trial)


def published_and_swept(trial: Trial) -> SagaHandle:
    """Whoever publishes dies before it has looked, and is not heard of again."""
    trial.start()
    until_resting(trial)
    trial.arm()
    trial.arm_nobodys()
    trial.errand("publish")
    return shipped(trial)


def published_in_a_transaction(trial: Trial) -> SagaHandle:
    """The application's own row and the event are there together, or neither is."""
    trial.start()
    until_resting(trial)
    trial.arm()
    trial.errand("publish_in_transaction")
    is_there = "SELECT 1 FROM sagas.saga_inbox WHERE instance_id = %s AND name = 'Noted'"
    was_published = bool(journal.query(trial.url, is_there, str(trial.saga_id)))
    assert journal.ledger(trial.url, trial.saga_id) == (["order"] if was_published else [])
    if not was_published:
        publish(trial, 1)
    return shipped(trial)


def cancelled(trial: Trial) -> SagaHandle:
    trial.start()
    until_resting(trial)
    trial.arm()
    if not trial.errand("cancel", reason="changed mind") and trial.run.status.is_forward:
        trial.run.cancel("changed mind")
    return trial.until_ended()


def overdue(trial: Trial) -> SagaHandle:
    """Its deadline passes while it waits for an event from outside."""
    trial.start()
    until_resting(trial)
    trial.arm()
    journal.query(
        trial.url,
        "UPDATE sagas.saga_instance SET deadline = clock_timestamp(), due_at = clock_timestamp() WHERE id = %s",
        str(trial.saga_id),
    )
    return trial.until_ended()


def replayed(trial: Trial) -> SagaHandle:
    """A person delivers a dead letter again; whoever does not know whether it was done does it once more."""
    trial.arm()
    trial.start()
    assert trial.until_ended().status is SagaStatus.FAILED
    gates.open_gate(trial.url, trial.run, "mended")
    trial.errand("replay", reason="mended")
    replay(trial)
    eventually(lambda: trial.run.status is not SagaStatus.FAILED, "the replay to have an effect", PATIENCE)
    return trial.until_ended()


def edited(trial: Trial) -> SagaHandle:
    """A person gives a letter another payload; whoever does not know whether it was taken does it once more."""
    trial.start()
    assert trial.until_ended().status is SagaStatus.FAILED
    trial.arm()
    mended = {"payload": {"script": {}}, "reason": "mistyped"}
    trial.errand("edit", **mended)
    for letter in letters_of(trial):
        trial.lane.shop.sagas.dead_letters.edit(letter, **mended)
    eventually(lambda: trial.run.status is not SagaStatus.FAILED, "the edit to have an effect", PATIENCE)
    return trial.until_ended()


def begins_a_saga(trial: Trial) -> SagaHandle:
    """An event starts a saga, which is there once however often the delivery ran."""
    trial.arm()
    trial.start()
    saga = begun_by(trial)
    assert saga.wait(PATIENCE) is SagaStatus.COMPLETED
    assert journal.effects(trial.url, saga.id) == ["unload", "seal"]
    depot.publish_on(trial.lane.shop.sagas.engine, Left(script={}), run=trial.saga_id)
    return trial.until_ended()


def turns_from_its_saga(trial: Trial) -> SagaHandle:
    """A run turns back while the saga that it started is under way: that turns back, too."""
    trial.start()
    saga = begun_by(trial)
    gates.until_reached(trial.url, saga, "yard")
    trial.arm()
    depot.publish_on(trial.lane.shop.sagas.engine, Closed(script={}), run=trial.saga_id)
    run = trial.until_ended()
    gates.open_gate(trial.url, saga, "yard")
    assert saga.wait(PATIENCE) is SagaStatus.COMPENSATED
    assert journal.effects(trial.url, saga.id) == ["unload", "load"]
    return run


def let_go(trial: Trial) -> SagaHandle:
    trial.start()
    assert trial.until_ended().status is SagaStatus.FAILED
    trial.arm()
    trial.errand("let_go", reason="told by phone")
    skip(trial)
    eventually(lambda: trial.run.status is not SagaStatus.FAILED, "the skip to have an effect", PATIENCE)
    return trial.until_ended()


def too_late(trial: Trial) -> SagaHandle:
    """An event comes after the end, and a person has looked at it."""
    trial.start()
    trial.until_ended()
    publish(trial, 1)
    trial.arm()
    trial.errand("let_go", reason="told by phone")
    skip(trial)
    return trial.run


def delivered_late(trial: Trial) -> SagaHandle:
    """An event comes after the end, and a person has it delivered: once more, if it is unknown whether it was."""
    trial.start()
    trial.until_ended()
    publish(trial, 1)
    trial.arm()
    trial.errand("replay", to="note", reason="it came late")
    replay(trial, to="note")
    until_completed(trial, "note")
    return trial.run


def announced(trial: Trial) -> SagaHandle:
    """A step of a saga starts a run, which is there once its step is completed, and once however often it ran."""
    trial.arm()
    trial.start()
    order = trial.until_ended()
    run = trial.lane.shop.sagas.find(saga=ring.name, key=str(trial.saga_id))
    assert run is not None
    assert run.wait(PATIENCE) is SagaStatus.COMPLETED
    assert journal.effects(trial.url, run.id) == ["reserve", "charge", "ship", "mail Shipped"]
    return order


# -- what the stories have in common


def begun_by(trial: Trial) -> SagaHandle:
    find = partial(trial.lane.shop.sagas.find, saga=unloading.name, key=f"truck-{trial.saga_id}")
    eventually(find, "the saga to start", PATIENCE)
    found = find()
    assert found is not None
    return found


def publish(trial: Trial, number: int, **options: Any) -> None:
    """In the test's own process, which does not die."""
    engine = trial.lane.shop.sagas.engine
    ring.publish_on(engine, Noted(script={}, number=number), run=trial.saga_id, **options)


def until_resting(trial: Trial) -> None:
    """Until it waits for an event from outside: what `charge` returned is nothing."""
    until_completed(trial, "charge")


def shipped(trial: Trial) -> SagaHandle:
    """What was published is heard, and another event from outside ends the run."""
    until_completed(trial, "note")
    ring.publish_on(trial.lane.shop.sagas.engine, Shipped(script={}), run=trial.saga_id)
    return trial.until_ended()


def until_completed(trial: Trial, handler: str) -> None:
    eventually(lambda: is_completed(trial.run, handler), f"{handler} to be done", PATIENCE)


def is_completed(run: SagaHandle, handler: str) -> bool:
    return any(step.name == handler and step.status is StepStatus.COMPLETED for step in run.steps)


def replay(trial: Trial, to: str | None = None) -> None:
    trial.lane.shop.sagas.dead_letters.replay(letters_of(trial), to=to, reason="mended")


def skip(trial: Trial) -> None:
    trial.lane.shop.sagas.dead_letters.skip(letters_of(trial), reason="told by phone")


def letters_of(trial: Trial) -> list[DeadLetter]:
    return [it for it in trial.lane.shop.sagas.dead_letters.list(limit=1000) if it.run == trial.saga_id]
