"""Pictures of instances that ran, by their own plan, through the handle and the command line."""

from collections.abc import Callable
from types import SimpleNamespace
from uuid import uuid4
from xml.etree import ElementTree

import pytest
from click.testing import Result

from sagas import InstanceNotFound, SagaHandle, SagaStatus
from sagas.cli import sagas as group
from sagas.engine import CONTROL_QUEUE
from tests.conftest import Shop
from tests.support import scripted
from tests.support.commands import runner
from tests.support.inline import run_messages

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def journal(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the scripted steps write when they run in this process."""
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)


@pytest.fixture
def here(shop: Shop) -> Callable[..., Result]:
    """The command in this process."""

    def run(*arguments: str) -> Result:
        return runner().invoke(group, ["graph", *arguments], obj=SimpleNamespace(app=shop.sagas.app))

    return run


@pytest.fixture
def compensated(shop: Shop) -> SagaHandle:
    """One that turned back at its third step."""
    run = shop.start(scripted.three, {"c": "no"}, key="order-1")
    for queue in ("celery", CONTROL_QUEUE, "celery"):  # the steps, their error callback, the compensations
        run_messages(shop.sagas.app, queue)
    assert run.wait(0) is SagaStatus.COMPENSATED
    return run


def boxes(chart: str) -> set[str]:
    """The lines of the boxes, without their colours' definitions."""
    return {line.strip() for line in chart.splitlines() if ":::" in line}


def test_an_instance_is_drawn_with_the_way_it_went(shop: Shop, compensated: SagaHandle) -> None:
    chart = shop.sagas.graph(compensated)

    said = "CleanNo in c#58; no"
    assert boxes(chart) >= {
        f'start("three v1<br/>{compensated.id}, key order-1<br/>compensated<br/>because of {said}"):::compensated',
        's0_0["a<br/>tests.support.scripted.act<br/>compensated, 1 attempt"]:::compensated',
        'c0_0("undo<br/>completed, 1 attempt"):::completed',
        'done(("done")):::plain',
    }
    assert "c1_0 ==> c0_0" in chart


def test_one_that_has_not_begun_is_drawn_as_pending(shop: Shop) -> None:
    chart = shop.sagas.graph(shop.start(scripted.three))

    assert "start ==> s0_0" in chart
    assert "s0_0 --> s1_0" in chart
    assert len([box for box in boxes(chart) if box.endswith(":::pending")]) == 4


def test_one_that_completed_reached_its_end(shop: Shop) -> None:
    run = shop.start(scripted.three)
    run_messages(shop.sagas.app)

    chart = shop.sagas.graph(run)

    assert "s2_0 ==> done" in chart
    assert 'done(("done")):::completed' in boxes(chart)


def test_as_svg_it_says_the_same(shop: Shop, compensated: SagaHandle) -> None:
    root = ElementTree.fromstring(shop.sagas.graph(compensated, format="svg"))

    assert (root.findtext(f"{SVG}desc") or "").startswith("Saga three v1 is compensated.\nBecause of CleanNo in c: no.")


def test_it_is_drawn_by_the_plan_that_it_started_with(compensated: SagaHandle) -> None:
    seen = compensated.snapshot()

    assert [step.name for step in seen.plan.steps] == [view.name for view in seen.steps] == ["a", "b", "c"]


def test_the_command_draws_an_instance_by_its_id(
    shop: Shop, here: Callable[..., Result], compensated: SagaHandle
) -> None:
    assert here(str(compensated.id)).stdout == shop.sagas.graph(compensated)
    assert here(str(compensated.id), "--svg").stdout == shop.sagas.graph(compensated, format="svg")


def test_the_command_draws_a_saga_by_its_name(shop: Shop, here: Callable[..., Result]) -> None:
    assert here("three").stdout == shop.sagas.graph(scripted.three)


def test_an_instance_that_is_not_there_is_told(shop: Shop, here: Callable[..., Result]) -> None:
    missing = uuid4()

    done = here(str(missing))

    assert (done.exit_code, str(missing) in done.stderr) == (1, True)
    with pytest.raises(InstanceNotFound):
        shop.sagas.graph(SagaHandle(shop.sagas.engine, missing))
