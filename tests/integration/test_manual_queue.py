"""The queue of what waits for a person, and what a person does about it, on the command line."""

import json

import pytest

from sagas import Child, Saga, SagaHandle, SagaStatus
from tests.conftest import Shop
from tests.integration.test_cli import Run, command
from tests.support import scripted, shapes
from tests.support.inline import run_messages


@pytest.fixture
def cli(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line of the test's own application."""
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)
    return command(shop.database_url, shop.broker_url)


def work(shop: Shop) -> None:
    """As far as the messages go, those of the error callbacks too."""
    while run_messages(shop.sagas.app) + run_messages(shop.sagas.app, "sagas"):
        pass


def asks_for_a_person(shop: Shop) -> SagaHandle:
    """One of its compensations says that it has to be done by hand."""
    run = shop.start(shapes.stopping, {"c": "no:sold out", "undo b": "say:manual"}, key="order-7")
    work(shop)
    assert run.status is SagaStatus.FAILED
    return run


def test_the_queue_names_the_instance_what_it_waits_for_and_why(shop: Shop, cli: Run) -> None:
    run = asks_for_a_person(shop)
    forward = shop.start(scripted.pivoted, {"r": "invalid:no such address"})
    for _ in range(5):
        work(shop)
        shop.sagas.engine.store.sweeping.hasten(forward.id)
        shop.sagas.sweep()
    assert forward.status is SagaStatus.FAILED

    shown = cli("manual", "--json")

    entries = {entry["id"]: entry for entry in map(json.loads, shown.stdout.splitlines())}
    assert set(entries) == {str(run.id), str(forward.id)}
    assert (entries[str(run.id)]["key"], entries[str(run.id)]["what"]) == ("order-7", "compensation of b")
    assert "by hand" in entries[str(run.id)]["error"]
    assert entries[str(forward.id)]["what"] == "step r"
    assert "no such address" in entries[str(forward.id)]["error"]
    assert "compensation of b" in cli("manual").stdout


def test_d30_a_child_that_waits_is_listed_with_its_parents_and_is_their_reason(shop: Shop, cli: Run) -> None:
    inner = Saga("inner", steps=[scripted.step("x"), scripted.step("y")])
    run = shop.start(
        Saga("outer", steps=[Child(Saga("middle", steps=[Child(inner)]))]), {"y": "no", "undo x": "say:manual"}
    )
    work(shop)
    assert run.status is SagaStatus.RUNNING

    entries = {entry["saga"]: entry for entry in map(json.loads, cli("manual", "--json").stdout.splitlines())}

    assert set(entries) == {"outer", "middle", "inner"}
    assert (entries["inner"]["what"], entries["outer"]["what"]) == ("compensation of x", "step middle")
    assert entries["outer"]["error"] == f"its child saga waits for a person: {entries['inner']['id']}"
    assert entries["middle"]["error"] == entries["outer"]["error"]
    shop.sagas.get(entries["inner"]["id"]).resolve("undone by hand")
    work(shop)
    assert run.status is SagaStatus.COMPENSATED
    assert cli("manual").stdout == ""


def test_an_empty_queue_says_so(shop: Shop, cli: Run) -> None:
    shop.start(scripted.three)
    work(shop)

    nothing = cli("manual")
    assert (nothing.stdout, nothing.stderr) == ("", "nothing waits for a person\n")


def test_the_queue_fits_80_columns_and_says_how_many_more_wait(shop: Shop, cli: Run) -> None:
    for number in range(3):
        run = shop.start(shapes.stopping, {"c": "no:sold out", "undo b": "say:manual"}, key=f"order-{number}")
        work(shop)
        assert run.status is SagaStatus.FAILED

    shown = cli("manual", "--limit", "2")
    lines = shown.stdout.splitlines()

    assert max(map(len, lines)) <= 80
    assert "stopping/order-2" in lines[0]
    assert lines[0].endswith(" UTC")
    assert lines[1].startswith("    compensation of b: sagas.ManualUndo: ")
    assert len(lines) == 4
    assert shown.stderr.startswith("1 more: --after=")


def test_a_compensation_that_was_done_by_hand_is_resolved_and_the_others_run(shop: Shop, cli: Run) -> None:
    run = asks_for_a_person(shop)
    assert shop.effects(run) == ["a", "b", "undo b"]

    done = cli("resolve", str(run.id), "--reason", "called the supplier")
    work(shop)

    assert done.returncode == 0
    assert run.status is SagaStatus.COMPENSATED
    assert shop.effects(run) == ["a", "b", "undo b", "undo a"]
    compensation = run.steps[1].compensation
    assert compensation is not None
    assert compensation.outcome == "manual"
    (entry,) = [entry for entry in run.history() if entry.event == "resolved_by_hand"]
    assert entry.detail["reason"] == "called the supplier"
    assert cli("manual").stdout == ""


def test_what_did_not_fail_cannot_be_resolved(shop: Shop, cli: Run) -> None:
    run = shop.start(scripted.three)
    work(shop)

    refused = cli("resolve", str(run.id), "--reason", "tidying up")

    assert refused.returncode == 1
    assert "is completed" in refused.stderr


def test_a_signal_from_the_command_line_moves_a_waiting_saga_on(shop: Shop, cli: Run) -> None:
    run = shop.start(shapes.approved)
    work(shop)
    assert shop.effects(run) == ["a"]

    sent = cli("signal", str(run.id), "approval", "--payload", '{"approver": "maria"}', "--key", "1")
    work(shop)

    assert sent.returncode == 0
    assert run.status is SagaStatus.COMPLETED
    assert run.data["approver"] == "maria"
    refused = cli("signal", str(run.id), "approval")
    assert refused.returncode == 1
    assert "takes no signals" in refused.stderr
