"""`docs/architecture.md` draws and lists what the code has: layers, plans, statuses, times and statements."""

import re
import tomllib
from datetime import timedelta

import pytest
from celery import Celery

from sagas import Saga, Sagas
from sagas.engine.messages import WINDOW
from sagas.model import TRANSITIONS
from sagas.store.timing import Timing
from tasks import orders, travel
from tests.support.markdown import Page
from tests.support.workers import ROOT
from tests.unit.model.legal import STEP_TRANSITIONS

PAGE = Page(ROOT / "docs" / "architecture.md")


def drawn(mark: str) -> str:
    """The drawing under a mark."""
    (found,) = re.findall(rf"^<!-- {mark} -->\n```mermaid\n(.*?)^```", PAGE.text, re.DOTALL | re.MULTILINE)
    return str(found)


def arrows(mark: str) -> set[tuple[str, str]]:
    return set(re.findall(r"^  (\S+) --> (\S+)$", drawn(mark), re.MULTILINE))


def test_the_layers_are_those_of_the_contract_in_its_order() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["id"] == "layers"]

    table = PAGE.text.partition("\n| layer |")[2].partition("\n\n")[0]
    listed = [re.findall(r"`(\w+)`", row.split("|")[1]) for row in table.splitlines()[2:]]
    assert listed == [re.findall(r"\w+", layer) for layer in map(sorted_line, layers)]


def sorted_line(layer: str) -> str:
    """Neighbours of one line, in the alphabet's order."""
    return " ".join(sorted(re.findall(r"\w+", layer)))


@pytest.mark.parametrize("saga", [orders.order, travel.travel], ids=lambda saga: saga.name)
def test_a_saga_is_drawn_as_the_code_draws_it(saga: Saga) -> None:
    sagas = Sagas(Celery("drawing", set_as_current=False), database="postgresql://nowhere/none")

    assert drawn(f"graph: {saga.name}") == sagas.graph(saga)


def test_the_statuses_of_an_instance_are_drawn_with_the_legal_transitions() -> None:
    legal = {(before.value, after.value) for before, allowed in TRANSITIONS.items() for after in allowed}

    assert arrows("states: instance") == {("[*]", "pending"), *legal}


def test_the_statuses_of_an_execution_are_drawn_with_the_legal_transitions() -> None:
    legal = {(before.value, after.value) for before, allowed in STEP_TRANSITIONS.items() for after in allowed}

    assert arrows("states: step") == {("[*]", "pending"), *legal}


def test_the_times_of_liveness_are_those_of_the_defaults() -> None:
    alive = " ".join(PAGE.text.partition("## Who is alive")[2].partition("\n## ")[0].split())
    timing = Timing()

    assert "every two seconds" in alive
    assert timing.heartbeat == 2
    assert f"older than {timing.silence.total_seconds():g} s" in alive
    assert f"{timing.lease.total_seconds():g} s after the suspicion" in alive
    assert f"began for {timing.outage.total_seconds():g} s" in alive
    assert timing.lease < timing.outage
    assert timedelta(0) < timing.silence < timing.lease


def test_a_window_is_as_long_as_the_page_says() -> None:
    assert WINDOW == 5
    assert "in windows of five" in " ".join(PAGE.text.split())


def test_the_modules_of_statements_are_all_listed() -> None:
    table = PAGE.text.partition("## Where SQL is")[2].partition("\n## ")[0]
    modules = {path.name for path in (ROOT / "sagas" / "store").glob("*statements.py")}

    assert {name for name in modules if f"`sagas/store/{name}`" not in table} == set()
