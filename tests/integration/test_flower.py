"""Flower, the real one: each step and each compensation is a task of its own, found by the saga's id."""

import json
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from sagas import SagaHandle, SagaStatus
from tests.conftest import Shop
from tests.support import scripted
from tests.support.programs import Program, briefly
from tests.support.workers import eventually


class Flower:
    """Flower's HTTP interface."""

    def __init__(self, port: int) -> None:
        self._root = f"http://127.0.0.1:{port}"

    def get(self, path: str, **parameters: str) -> Any:
        url = f"{self._root}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)

    def tasks_of(self, saga_id: UUID) -> list[dict[str, Any]]:
        """As somebody finds them who types the saga's id into the search field, in the order of their starts."""
        found = self.get("/api/tasks", search=f"kwargs:{saga_id}")
        return sorted(found.values(), key=lambda task: float(task["started"] or 0))


@pytest.fixture(scope="module")
def flower(own_shop: Shop) -> Iterator[Flower]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Program(
        {
            "SAGAS_DATABASE_URL": own_shop.database_url,
            "SAGAS_BROKER_URL": own_shop.broker_url,
            "FLOWER_UNAUTHENTICATED_API": "true",
        },
        own_shop.directory / "flower.log",
        arguments=("flower", "--address=127.0.0.1", f"--port={port}"),
        ready="Connected to ",
    )
    with briefly(program, own_shop.worker("-c", "2", "-E")):
        yield Flower(port)


def settled(flower: Flower, run: SagaHandle, tasks: int) -> list[dict[str, Any]]:
    """The tasks of a saga once Flower has heard of the end of so many."""

    def ended() -> list[dict[str, Any]]:
        found = flower.tasks_of(run.id)
        return found if sum(task["state"] in ("SUCCESS", "FAILURE") for task in found) >= tasks else []

    ended_tasks: list[dict[str, Any]] = eventually(ended, f"{tasks} tasks of {run.id} in Flower")
    return ended_tasks


def test_each_step_is_a_task_of_its_own_under_its_sagas_name(own_shop: Shop, flower: Flower) -> None:
    run = own_shop.start(scripted.three)
    assert run.wait(30) is SagaStatus.COMPLETED

    tasks = settled(flower, run, 3)

    assert [(task["name"], task["state"]) for task in tasks] == [
        ("three/a", "SUCCESS"),
        ("three/b", "SUCCESS"),
        ("three/c", "SUCCESS"),
    ]
    assert len({task["uuid"] for task in tasks}) == 3
    assert {task["root_id"] for task in tasks} == {str(run.id)}
    for task in tasks:
        assert str(run.id) in task["kwargs"]


def test_each_compensation_is_a_task_too_and_the_failure_is_seen(own_shop: Shop, flower: Flower) -> None:
    run = own_shop.start(scripted.three, {"b": ["flaky"], "c": ["no:sold out"]})
    assert run.wait(30) is SagaStatus.COMPENSATED

    # Three steps, the callback, two compensations; the retried attempt of b is a seventh.
    tasks = settled(flower, run, 6)

    states = [(task["name"], task["state"]) for task in tasks if task["name"] != "three/on_error"]
    assert states == [
        ("three/a", "SUCCESS"),
        ("three/b", "RETRY"),
        ("three/b", "SUCCESS"),
        ("three/c", "FAILURE"),
        ("three/undo", "SUCCESS"),
        ("three/undo", "SUCCESS"),
    ]
    (failed,) = [task for task in tasks if task["name"] == "three/c"]
    assert "sold out" in failed["exception"]
    assert "CleanNo" in failed["traceback"]
    assert {task["root_id"] for task in tasks} == {str(run.id)}


def test_another_sagas_tasks_are_not_found_by_this_ones_id(own_shop: Shop, flower: Flower) -> None:
    first, second = own_shop.start(scripted.three), own_shop.start(scripted.three)
    first.wait(30), second.wait(30)

    tasks = settled(flower, first, 3) + settled(flower, second, 3)

    assert [task["root_id"] for task in tasks] == [str(first.id)] * 3 + [str(second.id)] * 3
