"""Events of a run that wait say for which one, and why."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from sagas.handle.holding import delays, held_up

AT = datetime(2026, 3, 1, 12, 40, tzinfo=UTC)


def row(position: int, status: str, **fields: Any) -> Any:
    given = {"name": "note", "branch": 0, "round": 0, "event_id": 1, "finished_at": None, "dead_at": None}
    return SimpleNamespace(position=position, status=status, **given | {"not_before": None} | fields)


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (row(3, "failed", finished_at=AT, dead_at=AT), "is a dead letter"),
        (row(3, "running"), "runs"),
        (row(3, "pending", not_before=AT), "is tried again at 2026-03-01 12:40:00 UTC"),
        (row(3, "pending"), "is to begin"),
    ],
)
def test_v25_a_held_event_says_what_it_waits_for(head: Any, told: str) -> None:
    rows = [row(2, "completed", finished_at=AT), head, row(5, "held")]

    assert list(held_up(rows)) == [f"note: event 5 waits for event 3, which {told}"]
    assert list(held_up([*rows, row(7, "held")])) == [f"note: 2 events from 5 on wait for event 3, which {told}"]
    assert delays(rows, {})[5, 0] == f"waits for event 3, which {told}"


def test_each_handler_waits_for_its_own_events() -> None:
    other = [row(1, "running", name="mail", branch=1), row(2, "held", name="mail", branch=1)]

    assert list(held_up([row(1, "completed", finished_at=AT), *other, row(3, "running")])) == [
        "mail: event 2 waits for event 1, which runs"
    ]


def test_what_is_put_off_says_until_when_and_what_is_sent_waits_for_nothing() -> None:
    put_off, moment = row(1, "pending", not_before=AT), "2026-03-01 12:40:00 UTC"

    assert delays([put_off], {}) == {(1, 0): f"is tried again at {moment}"}
    assert delays([put_off], {"note": AT}) == {(1, 0): f"its handler is paused until {moment}"}
    assert delays([row(1, "pending"), row(1, "running", branch=1)], {}) == {}
    assert delays([row(1, "pending", not_before=AT, event_id=None)], {}) == {}, "it is a saga's step"
