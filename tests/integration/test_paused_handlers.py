"""A handler that only fails: it is paused, its deliveries wait, and alerts do not flood (V26)."""

import json
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sagas import LetterAnswer, PausedHandler, SagaHandle, SagaStatus, StepStatus
from sagas.cli import sagas as group
from sagas.handle.dead_letters import SENT_AT_ONCE
from sagas.store.database import BEGIN
from sagas.store.handlers import DEAD_BEFORE_PAUSE
from tests.conftest import Shop
from tests.support.bench import Bench
from tests.support.choreographed import Ordered, ring
from tests.support.inline import run_messages
from tests.support.workers import eventually, running


@pytest.fixture
def ring_shop(shop: Shop) -> Iterator[Shop]:
    """A shop whose worker knows the choreography."""
    with running(shop.worker("-c", "2", "-I", "tests.support.choreographed")):
        engine = shop.sagas.engine
        eventually(lambda: engine.store.runs.whole_graph(ring.plan(engine)), "the graph to be registered", 60)
        yield shop


def start(shop: Shop, script: dict[str, Any]) -> SagaHandle:
    return ring.start_on(shop.sagas.engine, Ordered(script=script))


def sql(shop: Shop, statement: str) -> None:
    with shop.sagas.engine.store.database.autocommit() as connection:
        connection.exec_driver_sql(statement)


def run_command(shop: Shop, *arguments: str) -> Result:
    return CliRunner().invoke(group, arguments, obj=SimpleNamespace(app=shop.sagas.app))


def paused(shop: Shop) -> tuple[PausedHandler, ...]:
    (standing,) = (each for each in shop.sagas.standing() if each.choreography == "ring")
    return standing.paused


def charges(runs: list[SagaHandle]) -> list[StepStatus]:
    return [step.status for run in runs for step in run.steps if step.name == "charge"]


def poison(shop: Shop) -> None:
    for run in [start(shop, {"charge": "no"}) for _ in range(DEAD_BEFORE_PAUSE)]:
        assert run.wait(90) is SagaStatus.FAILED


def test_v26_a_handler_that_only_fails_is_paused_and_goes_on_by_a_probe(ring_shop: Shop) -> None:
    # Given: it has given up twenty deliveries in a row
    poison(ring_shop)
    (one,) = paused(ring_shop)
    assert (one.handler, one.error) == ("charge", "tests.support.scripted.CleanNo")
    log = (ring_shop.directory / "worker.log").read_text()
    assert len(re.findall("dead letters? of ring/charge", log)) == 1, "the others are told in a minute"
    assert log.count("handler ring/charge is paused") == 1

    # When: others come
    runs = [start(ring_shop, {}) for _ in range(3)]
    eventually(
        lambda: [step.attempts for run in runs for step in run.steps if step.name == "charge"] == [0] * 3, "them"
    )
    eventually(lambda: all(run.status is SagaStatus.RUNNING for run in runs), "them to be put off")

    # Then: they wait, alive, and one of them ends the pause
    assert charges(runs) == [StepStatus.PENDING] * 3
    why = [step.waits or "" for run in runs for step in run.steps if step.name == "charge"]
    assert all(each.startswith("its handler is paused until") for each in why), why
    told = run_command(ring_shop, "standing").output
    assert "ring/charge is paused since" in " ".join(told.split())
    assert "handler ring/charge is paused" in run_command(ring_shop, "check").output
    sql(ring_shop, "UPDATE sagas.saga_handler SET paused_until = clock_timestamp()")
    sql(ring_shop, "UPDATE sagas.saga_step SET not_before = clock_timestamp() WHERE not_before > clock_timestamp()")
    sql(ring_shop, "UPDATE sagas.saga_instance SET due_at = clock_timestamp() WHERE due_at IS NOT NULL")
    for run in runs:
        assert run.wait(90) is SagaStatus.COMPLETED
    assert paused(ring_shop) == ()


def test_v26_many_replays_wait_in_line_and_few_are_sent_at_once(shop: Shop) -> None:
    engine, worker = shop.sagas.engine, shop.worker("-c", "2", "-I", "tests.support.choreographed")
    with running(worker):
        eventually(lambda: engine.store.runs.whole_graph(ring.plan(engine)), "the graph to be registered", 60)
        runs = [start(shop, {"charge": ["no", "ok"]}) for _ in range(SENT_AT_ONCE + 5)]
        for run in runs:
            assert run.wait(90) is SagaStatus.FAILED
    letters = shop.sagas.dead_letters.list(handler="charge")

    # When: no worker is there
    few = shop.sagas.dead_letters.replay(letters[:2], reason="mended")
    many = shop.sagas.dead_letters.replay(letters[:1:-1], reason="mended")

    # Then
    assert {outcome.answer for outcome in (*few, *many)} == {LetterAnswer.DONE}
    assert [outcome.id for outcome in many] == [letter.id for letter in letters[:1:-1]]
    with engine.store.database.autocommit() as connection:
        in_line = connection.exec_driver_sql(
            "SELECT count(*) FROM sagas.saga_step WHERE name = 'charge' AND finished_at IS NULL AND line IS NOT NULL"
        )
        assert in_line.scalar() == len(many)
    with running(worker):
        for run in runs:
            assert run.wait(90) is SagaStatus.COMPLETED


def test_v26_a_person_lets_a_paused_handler_go_on(ring_shop: Shop) -> None:
    poison(ring_shop)
    runs = [start(ring_shop, {}) for _ in range(3)]

    def are_put_off() -> bool:
        with ring_shop.sagas.engine.store.database.autocommit() as connection:
            counted = connection.exec_driver_sql(
                "SELECT count(*) FROM sagas.saga_step "
                "WHERE name = 'charge' AND status = 'pending' AND not_before > now()"
            )
            return counted.scalar() == 3

    eventually(are_put_off, "the deliveries to be put off", 60)
    assert run_command(ring_shop, "dead", "resume", "charge", "--reason", "mended").exit_code == 2
    resume = ("dead", "resume", "ring/charge", "--reason", "mended", "--json")

    assert json.loads(run_command(ring_shop, *resume).output) == {"resumed": True}

    for run in runs:
        assert run.wait(60) is SagaStatus.COMPLETED
    assert run_command(ring_shop, *resume).exit_code == 1


def test_v26_what_is_put_off_while_a_person_lets_its_handler_go_on_does_not_wait(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delivery has seen the pause, and the person's command has not seen the delivery."""
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)
    shop.sagas.register()
    store, answers = shop.sagas.engine.store, shop.sagas.dead_letters
    for _ in range(DEAD_BEFORE_PAUSE):
        store.handlers.note_death("ring", "charge", "shop.Away")
    run = start(shop, {})

    with Bench(shop.database_url, store).before(BEGIN, lambda: answers.resume("ring", "charge", reason="it is back")):
        run_messages(shop.sagas.app)
    shop.sagas.sweep()
    run_messages(shop.sagas.app)

    assert run.status is SagaStatus.COMPLETED
