"""Events that come after the end of their run, delivered by real workers to the handler that a person names (V18)."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sagas import ConfigurationError, DeadLetter, LetterAnswer, LetterKind, SagaHandle, SagaStatus, StepStatus
from sagas.cli import sagas as group
from tests.conftest import Shop
from tests.support import gates, journal
from tests.support.choreographed import Charged, Noted, Ordered, Shipped, ring
from tests.support.workers import eventually, running

WORKER = ("-c", "2", "-I", "tests.support.choreographed")


@pytest.fixture(scope="module")
def ring_shop(own_shop: Shop) -> Iterator[Shop]:
    """A shop whose worker knows the choreography."""
    with running(own_shop.worker(*WORKER)):
        engine = own_shop.sagas.engine
        eventually(lambda: engine.store.runs.whole_graph(ring.plan(engine)), "the graph to be registered", 60)
        yield own_shop


def ended(shop: Shop, event: Any, script: dict[str, Any] | None = None) -> tuple[SagaHandle, DeadLetter]:
    """A run that has ended, and the letter of an event that came after that."""
    run = ring.start_on(shop.sagas.engine, Ordered(script=script or {}))
    assert run.wait(60).is_final
    ring.publish_on(shop.sagas.engine, event, run=run)
    (letter,) = letters(shop, run)
    assert letter.kind is LetterKind.LATE
    return run, letter


def letters(shop: Shop, run: SagaHandle) -> list[DeadLetter]:
    return [letter for letter in shop.sagas.dead_letters.list(choreography="ring") if letter.run == run.id]


def stands(run: SagaHandle, number: int | None) -> list[tuple[str, StepStatus]]:
    """The deliveries of one event."""
    return [(step.name, step.status) for step in run.steps if step.position == number]


def keys(shop: Shop, run: SagaHandle, effect: str) -> list[str]:
    return [key for what, key in journal.entries(shop.database_url, run.id) if what == effect]


def is_due(shop: Shop, run: SagaHandle) -> bool:
    ((due,),) = journal.query(
        shop.database_url, "SELECT due_at IS NOT NULL FROM sagas.saga_instance WHERE id = %s", str(run.id)
    )
    return bool(due)


def run_command(shop: Shop, *arguments: str) -> Result:
    return CliRunner().invoke(group, ["dead", *arguments], obj=SimpleNamespace(app=shop.sagas.app))


def test_v18_a_late_event_is_handled_once_and_what_comes_of_it_is_late_too(ring_shop: Shop) -> None:
    run, letter = ended(ring_shop, Charged(script={}))
    before = run.snapshot()

    (outcome,) = ring_shop.sagas.dead_letters.replay(letter, to="ship", reason="paid after all", by="ann")

    assert outcome.answer is LetterAnswer.DONE, outcome.reason
    eventually(lambda: stands(run, letter.number) == [("ship", StepStatus.COMPLETED)], "the delivery", 60)
    assert keys(ring_shop, run, "ship")[1:] == [f"{letter.event}:ship"]
    (further,) = letters(ring_shop, run)
    assert (further.kind, further.type, further.handler) == (LetterKind.LATE, "Shipped", None)
    (told,) = (entry for entry in run.history() if entry.event == "replayed")
    assert (told.step, told.detail["by"], told.detail["reason"]) == ("ship", "ann", "paid after all")
    (again,) = ring_shop.sagas.dead_letters.replay(letter, to="mail", reason="once more")
    assert again.answer is LetterAnswer.CHANGED, "one handler gets it"

    assert ring_shop.sagas.dead_letters.replay(further, to="mail", reason="tell them")[0].answer is LetterAnswer.DONE
    eventually(lambda: stands(run, further.number) == [("mail", StepStatus.COMPLETED)], "the mail", 60)
    after = run.snapshot()
    assert (after.status, after.finished_at) == (before.status, before.finished_at) == (run.wait(1), before.finished_at)
    assert letters(ring_shop, run) == []
    assert not is_due(ring_shop, run)


def test_v18_a_late_delivery_is_retried_and_given_up_as_any_and_its_run_stays_compensated(ring_shop: Shop) -> None:
    flaky = Noted(script={"note 1": ["flaky", "no", "ok"]}, number=1)
    run, letter = ended(ring_shop, flaky, {"charge": "say:declined"})
    assert run.status is SagaStatus.COMPENSATED

    ring_shop.sagas.dead_letters.replay(letter, to="note", reason="the customer asks")

    eventually(lambda: [it.handler for it in letters(ring_shop, run)] == ["note"], "it to be given up", 60)
    (dead,) = letters(ring_shop, run)
    assert (dead.kind, dead.attempts, dead.number) == (LetterKind.LATE, 2, letter.number)
    assert run.status is SagaStatus.COMPENSATED
    (wrong,) = ring_shop.sagas.dead_letters.replay(dead, to="mail", reason="try")
    assert (wrong.answer, "leave to= out" in wrong.reason) == (LetterAnswer.REFUSED, True)
    assert ring_shop.sagas.dead_letters.replay(dead, reason="mended")[0].answer is LetterAnswer.DONE
    eventually(lambda: stands(run, letter.number) == [("note", StepStatus.COMPLETED)], "the note", 60)
    assert run.status is SagaStatus.COMPENSATED
    assert keys(ring_shop, run, "note 1") == [f"{letter.event}:note"]


def test_v18_a_failed_run_stays_failed_until_its_own_letter_is_answered(ring_shop: Shop) -> None:
    run, letter = ended_failed(ring_shop)

    ring_shop.sagas.dead_letters.replay(letter, to="note", reason="the customer asks")

    eventually(lambda: stands(run, letter.number) == [("note", StepStatus.COMPLETED)], "the note", 60)
    assert run.status is SagaStatus.FAILED
    (own,) = letters(ring_shop, run)
    ring_shop.sagas.dead_letters.skip(own, reason="told by phone")
    assert run.wait(60) is SagaStatus.COMPLETED


def ended_failed(shop: Shop) -> tuple[SagaHandle, DeadLetter]:
    run = ring.start_on(shop.sagas.engine, Ordered(script={"mail Shipped": "no"}))
    assert run.wait(60) is SagaStatus.FAILED
    ring.publish_on(shop.sagas.engine, Noted(script={}, number=1), run=run)
    (letter,) = (it for it in letters(shop, run) if it.kind is LetterKind.LATE)
    return run, letter


def test_v18_the_command_line_delivers_a_late_event_to_the_handler_that_it_names(ring_shop: Shop) -> None:
    run, letter = ended(ring_shop, Charged(script={}))
    replay = ("replay", letter.id, "--reason", "paid after all", "--to")

    for wrong, told in {
        "nobody": "no handler 'nobody'; those that hear Charged: ship",
        "note": "note does not hear Charged, and its task is not annotated to take it",
    }.items():
        refused = run_command(ring_shop, *replay, wrong)
        assert refused.exit_code == 1
        assert told in refused.output
    refused = run_command(ring_shop, *replay[:-1])
    assert "name the one that is to deal with it (to=…; --to)" in refused.output
    done = run_command(ring_shop, *replay, "mail", "--json")

    assert json.loads(done.output) == {"id": letter.id, "answer": "done", "reason": ""}
    eventually(lambda: stands(run, letter.number) == [("mail", StepStatus.COMPLETED)], "the mail", 60)
    assert "mail Charged" in ring_shop.effects(run), "its annotation names the type, though it does not hear it"


def test_what_is_no_name_of_a_handler_is_refused(ring_shop: Shop) -> None:
    _, letter = ended(ring_shop, Charged(script={}))
    for wrong in ("", 7):
        with pytest.raises(ConfigurationError, match=r"replay\(to=.*pass the name of a handler, or leave it out"):
            ring_shop.sagas.dead_letters.replay(letter, to=wrong, reason="try")  # type: ignore[arg-type]


@pytest.mark.slow
def test_v18_a_late_delivery_whose_worker_is_killed_is_found_and_done_again_under_its_key(shop: Shop) -> None:
    shop.sagas.register()
    first, second = (shop.worker(*WORKER, name=name) for name in ("first", "second"))
    with running(first):
        run, letter = ended(shop, Shipped(script={"mail Shipped": "after:wait:letterbox"}))
        shop.sagas.dead_letters.replay(letter, to="mail", reason="tell them")
        gates.until_reached(shop.database_url, run, "letterbox")
        first.kill()
    gates.open_gate(shop.database_url, run, "letterbox")
    assert stands(run, letter.number) == [("mail", StepStatus.RUNNING)]

    with running(second):
        eventually(lambda: stands(run, letter.number) == [("mail", StepStatus.COMPLETED)], "the delivery", 120)

    assert keys(shop, run, "mail Shipped")[1:] == [f"{letter.event}:mail"] * 2
    (step,) = (step for step in run.steps if step.position == letter.number)
    assert (step.attempts, step.losses) == (2, 1)
    assert run.status is SagaStatus.COMPLETED
    assert not is_due(shop, run)
