"""An instance whose rows cannot be read waits for a person as one that failed does: listed, with the reason."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from sagas import Child, Saga, SagaHandle, SagaStatus
from tests.conftest import Shop
from tests.integration.test_manual_queue import asks_for_a_person, work
from tests.support import journal, scripted, shapes
from tests.support.commands import Here


def sql(shop: Shop, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    return journal.query(shop.database_url, statement, *parameters)


def spoil(shop: Shop, run_id: UUID) -> None:
    """A person has edited its plan, and the sweep looks at it."""
    sql(shop, "UPDATE sagas.saga_instance SET plan = '[]', plan_hash = 'edited ' || id WHERE id = %s", str(run_id))
    look(shop)


def look(shop: Shop) -> None:
    sql(shop, "UPDATE sagas.saga_instance SET due_at = clock_timestamp() WHERE due_at IS NOT NULL")
    shop.sagas.sweep()


def mend(shop: Shop, run_id: UUID, other: UUID) -> None:
    """With the plan of another one of its saga."""
    sql(
        shop,
        "UPDATE sagas.saga_instance AS bad SET plan = good.plan, plan_hash = good.plan_hash "
        "FROM sagas.saga_instance AS good WHERE bad.id = %s AND good.id = %s",
        str(run_id),
        str(other),
    )


def waiting(shop: Shop) -> list[UUID]:
    return [run.id for run in shop.sagas.list(needs_person=True)]


def entries(here: Here) -> dict[str, dict[str, Any]]:
    return {entry["id"]: entry for entry in map(json.loads, here("manual", "--json").stdout.splitlines())}


def test_it_is_listed_with_the_reason_beside_the_others_and_counted(shop: Shop, here: Here) -> None:
    failed, bad = asks_for_a_person(shop), shop.start(scripted.three, key="order-9")
    spoil(shop, bad.id)

    (unread, other) = shop.sagas.list(needs_person=True)
    assert (unread.id, other.id) == (bad.id, failed.id)
    assert unread.unreadable is not None
    assert "the rows of saga" in unread.unreadable
    assert "edited by hand" in unread.unreadable
    assert unread.unreadable_at is not None
    assert (other.unreadable, other.unreadable_at) == (None, None)

    told = entries(here)
    assert told[str(failed.id)]["what"] == "compensation of b"
    assert (told[str(bad.id)]["key"], told[str(bad.id)]["what"]) == ("order-9", "its rows")
    assert "edited by hand" in told[str(bad.id)]["error"]
    assert told[str(bad.id)]["since"] is not None
    assert "its rows: the rows of saga" in " ".join(here("manual").stdout.split())
    assert "1 more" in here("manual", "--limit", "1").stderr
    assert "edited by hand" in shop.sagas.engine.store.listing.reasons([bad.id])[bad.id]


def test_mended_it_goes_on_and_waits_for_nobody(shop: Shop, here: Here) -> None:
    bad, good = shop.start(scripted.three), shop.start(scripted.three)
    spoil(shop, bad.id)
    assert waiting(shop) == [bad.id]

    mend(shop, bad.id, good.id)
    look(shop)

    assert waiting(shop) == []
    assert here("manual").stdout == ""
    work(shop)
    assert bad.status is SagaStatus.COMPLETED


def test_one_that_this_process_can_read_and_a_sweep_could_not_is_listed_with_what_that_said(
    shop: Shop, here: Here
) -> None:
    """Of an older release, say."""
    bad, good = shop.start(scripted.three), shop.start(scripted.three)
    spoil(shop, bad.id)
    mend(shop, bad.id, good.id)

    (entry,) = entries(here).values()
    assert (entry["id"], entry["what"]) == (str(bad.id), "its rows")
    assert "edited by hand" in entry["error"]


def test_a_failed_one_that_cannot_be_read_keeps_no_other_from_being_listed(shop: Shop, here: Here) -> None:
    bad, failed = asks_for_a_person(shop), shop.start(shapes.stopping, {"c": "no:sold out", "undo b": "say:manual"})
    work(shop)
    spoil(shop, bad.id)

    told = entries(here)

    assert set(told) == {str(bad.id), str(failed.id)}
    assert (told[str(bad.id)]["what"], told[str(failed.id)]["what"]) == ("its rows", "compensation of b")
    assert "cannot be read, or do not fit together" in told[str(bad.id)]["error"]
    assert here("manual").exit_code == 0


@pytest.mark.parametrize("moment", ["infinity", "-infinity", "294276-12-31 23:59:59+00", "4713-01-01 00:00:00+00 BC"])
@pytest.mark.parametrize("column", ["created_at", "finished_at"])
def test_times_that_python_cannot_hold_keep_no_other_from_being_listed(
    shop: Shop, here: Here, column: str, moment: str
) -> None:
    bad, failed = asks_for_a_person(shop), shop.start(shapes.stopping, {"c": "no:sold out", "undo b": "say:manual"})
    work(shop)
    sql(shop, f"UPDATE sagas.saga_instance SET {column} = %s WHERE id = %s", moment, str(bad.id))

    assert set(waiting(shop)) == {bad.id, failed.id}
    assert set(entries(here)) == {str(bad.id), str(failed.id)}


def test_the_parent_of_one_that_cannot_be_read_is_listed_with_that_as_its_reason(shop: Shop, here: Here) -> None:
    run = shop.start(Saga("around", steps=[Child(shapes.first_waits)]))
    work(shop)
    ((child,),) = sql(shop, "SELECT id FROM sagas.saga_instance WHERE parent_id = %s", str(run.id))
    assert run.status is SagaStatus.RUNNING
    spoil(shop, child)

    told = entries(here)

    assert set(told) == {str(run.id), str(child)}
    assert told[str(run.id)]["error"] == f"its child saga waits for a person: {child}"


def test_what_the_dead_hold_of_it_is_no_reason_to_look_at_each_pass(shop: Shop) -> None:
    """Each look that fails writes: into its history, and when the next one is due."""
    bad = held_for_too_long(shop)
    spoil(shop, bad.id)
    events = bad.id, "sweep_failed"
    first = number_of(shop, *events)
    assert first >= 1

    for _ in range(5):
        shop.sagas.sweep()

    assert number_of(shop, *events) == first


def held_for_too_long(shop: Shop) -> SagaHandle:
    run = shop.start(scripted.three)
    sql(
        shop,
        "UPDATE sagas.saga_step SET status = 'running', token = %s, claimed_at = clock_timestamp() - interval '1 day', "
        "first_claimed_at = clock_timestamp() - interval '1 day', timeout = 1, line = NULL, "
        "dispatched_at = clock_timestamp() - interval '1 day' WHERE instance_id = %s",
        str(uuid4()),
        str(run.id),
    )
    return run


def number_of(shop: Shop, run_id: UUID, event: str) -> int:
    statement = "SELECT count(*)::int FROM sagas.saga_event WHERE instance_id = %s AND event = %s"
    ((number,),) = sql(shop, statement, str(run_id), event)
    return int(number)
