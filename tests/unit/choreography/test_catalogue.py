"""The catalogue says who publishes and who hears each event, and what a change of it breaks."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sagas import ConfigurationError, Sagas
from sagas.choreography import CatalogueEntry, Choreography, catalogue, event
from sagas.choreography.catalogue import broken, stored
from sagas.cli import sagas as group
from sagas.model.choreography import FieldPlan
from tests.unit.choreography.fulfilment import OrderCreated, ShipmentCreated, bound, fulfilment


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[Choreography]:
    """The choreographies of the process: this one, whatever other tests have imported."""
    found = [fulfilment]
    monkeypatch.setattr(catalogue, "choreographies", lambda: found)
    return found


@pytest.fixture
def sagas(held: list[Choreography]) -> Sagas:
    return bound("catalogue")


def entry_of(sagas: Sagas, type_: str) -> CatalogueEntry:
    (found,) = [entry for entry in sagas.events.catalogue() if entry.type == type_]
    return found


def test_an_entry_says_who_publishes_hears_and_is_undone(sagas: Sagas) -> None:
    declined, created = entry_of(sagas, "PaymentDeclined"), entry_of(sagas, "OrderCreated")

    assert (declined.published_by, declined.heard_by) == (("fulfilling/charge_payment",), ("fulfilling/tell",))
    assert (declined.undoes, declined.refuses) == (("fulfilling/reserve_stock",), ("fulfilling",))
    assert (created.version, created.reads_from, created.starts) == (2, 1, ("fulfilling",))
    assert created.fields == (
        FieldPlan(name="order_id", type="str"),
        FieldPlan(name="total", type="Decimal"),
        FieldPlan(name="currency", type="str"),
    )
    assert entry_of(sagas, "ShipmentCreated").ends == ("fulfilling",)
    assert entry_of(sagas, "PaymentConfirmed").awaits == ("fulfilling",)
    assert entry_of(sagas, "OrderCancelled").on_cancel == ("fulfilling",)


def test_an_event_of_two_choreographies_has_one_entry(sagas: Sagas, held: list[Choreography]) -> None:
    held.append(Choreography("returns", starts=ShipmentCreated, ends=OrderCreated))

    entry = entry_of(sagas, "ShipmentCreated")

    assert (entry.starts, entry.ends, entry.choreographies) == (
        ("returns",),
        ("fulfilling",),
        ("fulfilling", "returns"),
    )


def test_two_events_of_one_type_have_an_entry_each(sagas: Sagas, held: list[Choreography]) -> None:
    kind = type("Other", (), {"__annotations__": {"id": int}, "__module__": __name__})
    held.append(Choreography("another", starts=event(name="OrderCreated")(kind), ends=ShipmentCreated))

    entries = [entry for entry in sagas.events.catalogue() if entry.type == "OrderCreated"]

    assert [entry.choreographies for entry in entries] == [("another",), ("fulfilling",)]
    assert [*broken(entries, reversed(entries))] == []


# -- breaking changes


def field(name: str, type_: str = "str", required: bool = True) -> FieldPlan:
    return FieldPlan(name=name, type=type_, required=required)


OLD = CatalogueEntry(
    type="Paid",
    version=2,
    reads_from=1,
    fields=(field("order_id"), field("total", "Decimal"), field("note", required=False)),
    heard_by=("shop/ship", "shop/tell"),
    undoes=("shop/reserve",),
)


def changes(**changed: Any) -> list[str]:
    return [*broken([OLD], [replace(OLD, **changed)])]


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"fields": (*OLD.fields, field("more", required=False))},
        {"fields": (field("total", "Decimal"), field("order_id", required=False), field("note", required=False))},
        {"version": 3, "fields": ()},  # an upcaster raises versions 1 and 2
        {"heard_by": (*OLD.heard_by, "shop/more"), "undoes": ("shop/charge", "shop/reserve")},
        {"published_by": ("shop/other",)},
    ],
    ids=range(6),
)
def test_what_stored_events_survive_breaks_nothing(changed: dict[str, Any]) -> None:
    assert changes(**changed) == []


def test_a_new_event_breaks_nothing() -> None:
    assert [*broken([], [OLD])] == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"fields": OLD.fields[1:]}, ["the field 'order_id' was removed, in version 2"]),
        (
            {"fields": (field("order_id", "int"), *OLD.fields[1:])},
            ["the field 'order_id' was str and is int, in version 2 as before"],
        ),
        ({"fields": (*OLD.fields, field("more"))}, ["the field 'more' was added without a default, in version 2"]),
        (
            {"fields": (*OLD.fields[:2], field("note"))},
            ["the field 'note' had a default and has none, in version 2"],
        ),
        (
            {"version": 3, "reads_from": 3, "fields": OLD.fields[1:]},
            ["version 2 can no longer be read, since upcasters begin with 3; the field 'order_id' was removed"],
        ),
        ({"version": 3, "reads_from": 2}, ["version 1 can no longer be read, since upcasters begin with 2: keep"]),
        ({"reads_from": 2}, ["version 1 can no longer be read, since upcasters begin with 2"]),
        ({"version": 1, "reads_from": 1}, ["version 2 was lowered to 1, and stored ones are newer: raise it again"]),
        ({"heard_by": ("shop/ship",)}, ["shop/tell no longer hears it: declare the handler again"]),
        ({"undoes": ()}, ["shop/reserve is no longer undone by it: name it in when="]),
        ({"fields": (), "heard_by": ()}, ["'order_id' was", "'total' was", "'note' was", "ship no", "tell no"]),
    ],
    ids=range(11),
)  # fmt: skip
def test_what_stored_events_or_handlers_lose_is_told(changed: dict[str, Any], told: list[str]) -> None:
    found = changes(**changed)

    assert len(found) == len(told), found
    assert all(line.startswith("the event Paid: ") and part in line for line, part in zip(found, told, strict=True))


def test_an_event_that_is_gone_is_told() -> None:
    (told,) = broken([OLD], [])

    assert told == (
        "the event Paid is gone: stored ones cannot be read. Keep the class, or pass @event(name='Paid') to the one "
        "that it became"
    )


# -- the command


def run(sagas: Sagas, *arguments: str) -> Result:
    return CliRunner().invoke(group, ["events", *arguments], obj=SimpleNamespace(app=sagas.app))


def test_the_command_lists_events_in_words(sagas: Sagas) -> None:
    told = run(sagas).output

    assert "\nOrderCreated (v2, reads v1 on)\n    starts fulfilling\n    heard by fulfilling/reserve_stock\n" in told
    assert (
        "\nPaymentDeclined (v1)\n    turns back fulfilling\n    published by fulfilling/charge_payment\n"
        "    heard by fulfilling/tell\n    undoes fulfilling/reserve_stock\n"
    ) in told
    assert max(map(len, told.splitlines())) <= 80


def test_what_it_writes_is_its_json_and_comes_back(sagas: Sagas, tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    assert run(sagas, "--write", str(baseline)).output == ""

    written = json.loads(baseline.read_text())

    assert written == json.loads(run(sagas, "--json").output) == stored(sagas.events.catalogue())
    assert run(sagas, "--check", str(baseline)).output == "no breaking changes\n"
    assert run(sagas, "--check", str(baseline)).exit_code == 0


def test_a_breaking_change_ends_with_1(sagas: Sagas, tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    run(sagas, "--write", str(baseline))
    changed = json.loads(baseline.read_text())
    for entry in changed["events"]:
        if entry["type"] == "PaymentDeclined":
            entry["heard_by"].append("fulfilling/book")
    baseline.write_text(json.dumps(changed))

    done = run(sagas, "--check", str(baseline))

    assert done.exit_code == 1
    assert done.output.startswith("the event PaymentDeclined: fulfilling/book no longer hears it: declare the handler")


def test_a_check_may_write_the_new_baseline_too(sagas: Sagas, tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    run(sagas, "--write", str(old))

    run(sagas, "--check", str(old), "--write", str(new))

    assert new.read_text() == old.read_text()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "this is not a catalogue of events (JSONDecodeError"),
        ("[]", "this is not a catalogue of events (TypeError"),
        ("{}", "this is not a catalogue of events (KeyError: 'format'): write one with sagas events --write FILE"),
        ('{"format": 2, "events": []}', "the catalogue has the format 2, and this release reads 1: write it again"),
        ('{"format": 1, "events": [{"type": "A"}]}', "this is not a catalogue of events (KeyError: 'version')"),
        ('{"format": 1, "events": [{"type": "A", "version": "x"}]}', "this is not a catalogue of events (ValueError"),
    ],
    ids=range(6),
)
def test_a_file_that_is_not_a_catalogue_is_told(sagas: Sagas, tmp_path: Path, text: str, told: str) -> None:
    baseline = tmp_path / "baseline.json"
    baseline.write_text(text)

    done = run(sagas, "--check", str(baseline))

    assert done.exit_code == 1
    assert told in done.output
    with pytest.raises(ConfigurationError):
        sagas.events.breaking_changes(text)


def test_nothing_to_list_is_said(held: list[Choreography], sagas: Sagas) -> None:
    held.clear()

    assert run(sagas).output == "no choreography names an event\n"
