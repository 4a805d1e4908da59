"""Alerts about dead letters."""

from collections.abc import Iterator
from typing import Any

import pytest

from sagas.engine.alerting import announce
from sagas.signals import dead_letters_found
from sagas.store import Alarm, Alert

KIND = Alarm(choreography="ring", handler="charge", error="shop.Refused")


@pytest.fixture
def heard() -> Iterator[list[dict[str, Any]]]:
    told: list[dict[str, Any]] = []

    def hear(**fields: Any) -> None:
        told.append(fields)

    dead_letters_found.connect(hear)
    yield told
    dead_letters_found.disconnect(hear)


def test_an_alert_says_how_many_and_which_is_the_first(heard: list[dict[str, Any]]) -> None:
    announce(Alert(alarm=KIND, count=2, first="1:2.0.0"))

    assert [(it["count"], it["first"], it["handler"]) for it in heard] == [(2, "1:2.0.0", "charge")]


def test_letters_that_have_been_answered_meanwhile_are_not_announced(
    heard: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    announce(Alert(alarm=KIND, count=0, first=None))

    assert heard == []
    assert caplog.records == []
