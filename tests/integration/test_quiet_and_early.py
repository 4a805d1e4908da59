"""What does not come: runs that stand still, and events whose run does not exist."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from sagas import LetterAnswer, LetterKind, SagaHandle, SagaStatus
from sagas.cli import sagas as group
from sagas.store import run_id_of
from tests.conftest import Shop
from tests.support.choreographed import Noted, Ordered, Shipped, ring
from tests.support.workers import eventually, running


@pytest.fixture(scope="module")
def ring_shop(own_shop: Shop) -> Iterator[Shop]:
    """A shop whose worker knows the choreography."""
    with running(own_shop.worker("-c", "2", "-I", "tests.support.choreographed")):
        engine = own_shop.sagas.engine
        eventually(lambda: engine.store.runs.whole_graph(ring.plan(engine)), "the graph to be registered", 60)
        yield own_shop


def sql(shop: Shop, statement: str, *given: Any) -> None:
    with shop.sagas.engine.store.database.autocommit() as connection:
        connection.exec_driver_sql(statement, given)


def run_command(shop: Shop, *arguments: str) -> Result:
    return CliRunner().invoke(group, arguments, obj=SimpleNamespace(app=shop.sagas.app))


def events_of(run: SagaHandle) -> list[str]:
    return [entry.event for entry in run.history()]


def test_v20_a_run_that_stands_still_is_listed_and_announced_once(ring_shop: Shop) -> None:
    # Given: nothing is open, since the delivery that would publish the end was let go
    run = ring.start_on(ring_shop.sagas.engine, Ordered(script={"ship": "no"}))
    assert run.wait(60) is SagaStatus.FAILED
    (letter,) = (it for it in ring_shop.sagas.dead_letters.list() if it.run == run.id)
    ring_shop.sagas.dead_letters.skip(letter, reason="it is on its way")
    eventually(lambda: run.status is SagaStatus.RUNNING, "the run to rest", 60)
    assert run.id not in [it.id for it in ring_shop.sagas.list(quiet=True)]

    # When: its time is over
    sql(
        ring_shop,
        "UPDATE sagas.saga_instance SET quiet_from = clock_timestamp(), due_at = clock_timestamp() WHERE id = %s",
        run.id,
    )
    eventually(lambda: "went_quiet" in events_of(run), "the announcement", 60)
    sql(ring_shop, "UPDATE sagas.saga_instance SET due_at = clock_timestamp() WHERE id = %s", run.id)
    ring_shop.sagas.sweep()

    # Then
    assert [it.id for it in ring_shop.sagas.list(quiet=True, saga="ring")] == [run.id]
    assert json.loads(run_command(ring_shop, "list", "--quiet", "--json").output)["id"] == str(run.id)
    assert events_of(run).count("went_quiet") == 1
    assert "quiet: nothing is open, and no end has come" in run.timeline()
    assert "1 run of ring is quiet" in run_command(ring_shop, "check").output
    ring.publish_on(ring_shop.sagas.engine, Shipped(script={}), run=run)
    assert run.wait(60) is SagaStatus.COMPLETED
    assert ring_shop.sagas.list(quiet=True) == ()


def test_v16_an_event_whose_run_does_not_come_is_a_letter_that_is_replayed_once_it_has(ring_shop: Shop) -> None:
    key = f"order-{uuid4()}"
    answers, engine = ring_shop.sagas.dead_letters, ring_shop.sagas.engine
    ring.publish_on(engine, Noted(script={}, number=1), run=key)
    seen = "SELECT seen_at FROM sagas.saga_inbox WHERE instance_id = %s"
    run_id = run_id_of("ring", key)

    def is_seen() -> bool:
        with engine.store.database.autocommit() as connection:
            return connection.exec_driver_sql(seen, (run_id,)).scalar() is not None

    eventually(is_seen, "the sweep to find no run", 60)
    sql(ring_shop, "UPDATE sagas.saga_inbox SET early_until = clock_timestamp() WHERE instance_id = %s", run_id)
    eventually(lambda: [it for it in answers.list() if it.kind is LetterKind.EARLY], "the letter", 60)

    (letter,) = (it for it in answers.list(choreography="ring") if it.kind is LetterKind.EARLY)
    assert (letter.key, letter.number, letter.handler, letter.type) == (key, None, None, "Noted")
    assert f"early: Noted for ring/{key}, no such run" in " ".join(
        run_command(ring_shop, "dead", "show", letter.id).output.split()
    )
    (refused,) = answers.replay(letter, reason="try")
    assert (refused.answer, "there is no such run yet" in refused.reason) == (LetterAnswer.REFUSED, True)

    run = ring.start_on(engine, Ordered(script={"ship": "no"}), key=key)
    assert run.wait(60) is SagaStatus.FAILED
    assert "note 1" not in ring_shop.effects(run)
    (done,) = answers.replay(letter.id, reason="it is there", by="ann")
    assert done.answer is LetterAnswer.DONE

    eventually(lambda: "note 1" in ring_shop.effects(run), "the delivery", 60)
    (told,) = (entry for entry in run.history() if entry.event == "replayed")
    assert (told.detail["by"], told.detail["event"]) == ("ann", str(letter.event))
    (again,) = answers.replay(letter, reason="once more")
    assert again.answer is LetterAnswer.CHANGED


def test_an_early_letter_is_let_go_without_its_run(ring_shop: Shop) -> None:
    key = f"order-{uuid4()}"
    answers, engine = ring_shop.sagas.dead_letters, ring_shop.sagas.engine
    ring.publish_on(engine, Noted(script={}, number=1), run=key)
    sql(
        ring_shop,
        "UPDATE sagas.saga_inbox SET early_until = clock_timestamp() WHERE instance_id = %s",
        run_id_of("ring", key),
    )
    eventually(lambda: [it for it in answers.list() if it.key == key], "the letter", 60)

    (letter,) = (it for it in answers.list() if it.key == key)
    assert [it.answer for it in answers.skip(letter, reason="mistyped")] == [LetterAnswer.DONE]

    assert [it for it in answers.list() if it.key == key] == []
    assert [it.answer for it in answers.skip(letter, reason="mistyped")] == [LetterAnswer.CHANGED]
