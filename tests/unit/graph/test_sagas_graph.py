"""`Sagas.graph` and `celery sagas graph NAME`: a saga as it is declared, without a database."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4
from xml.etree import ElementTree

import pytest
from celery import Celery
from click.testing import Result

from sagas import ConfigurationError, Pivot, Saga, Sagas, Step
from sagas.cli import sagas as group
from sagas.graph import mermaid, svg
from tests.support.commands import runner

Run = Callable[..., Result]


def bind(name: str) -> Sagas:
    app = Celery(name, set_as_current=False, broker="memory://")
    return Sagas(app, database="postgresql://nobody@/nowhere?host=/nonexistent")


def declare(sagas: Sagas, name: str, version: int = 1) -> Saga:
    @sagas.app.task(name=f"{sagas.app.main}.{name}.take", shared=False)
    def take() -> None: ...

    @sagas.app.task(name=f"{sagas.app.main}.{name}.put_back", shared=False)
    def put_back() -> None: ...

    @sagas.app.task(name=f"{sagas.app.main}.{name}.send", shared=False)
    def send() -> None: ...

    sagas.app.finalize()
    return Saga(name, version=version, steps=[Step(take, compensation=put_back), Pivot(send)])


@pytest.fixture
def sagas() -> Sagas:
    return bind("drawing")


@pytest.fixture
def drawn(sagas: Sagas) -> Saga:
    # A name of its own for each test: the process knows a saga for as long as something holds it.
    return declare(sagas, f"drawn_{uuid4().hex}")


@pytest.fixture
def run(sagas: Sagas) -> Run:
    def run(*arguments: str) -> Result:
        return runner().invoke(group, ["graph", *arguments], obj=SimpleNamespace(app=sagas.app))

    return run


# -- Sagas.graph


def test_a_saga_is_drawn_as_it_is_declared(sagas: Sagas, drawn: Saga) -> None:
    plan = drawn.plan(sagas.engine)

    assert sagas.graph(drawn) == sagas.graph(drawn, format="mermaid") == mermaid(plan)
    assert sagas.graph(drawn, format="svg") == svg(plan)


def test_an_unknown_format_is_refused_with_those_that_there_are(sagas: Sagas, drawn: Saga) -> None:
    with pytest.raises(ConfigurationError, match=r"graph\(format='png'\): the formats are 'mermaid' and 'svg'"):
        sagas.graph(drawn, format="png")


def test_what_is_neither_a_saga_nor_an_instance_is_refused(sagas: Sagas) -> None:
    with pytest.raises(ConfigurationError, match="pass a Saga, a Choreography, or the handle of an instance"):
        sagas.graph("order")  # type: ignore[arg-type]


# -- the command


def test_the_command_draws_a_saga_by_its_name(sagas: Sagas, drawn: Saga, run: Run) -> None:
    assert run(drawn.name).stdout == sagas.graph(drawn)
    assert run(drawn.name, "--svg").stdout == sagas.graph(drawn, format="svg")


def test_the_command_writes_a_file(sagas: Sagas, drawn: Saga, run: Run, tmp_path: Path) -> None:
    written = tmp_path / "drawn.svg"

    done = run(drawn.name, "--svg", "--output", str(written))

    assert (done.exit_code, done.output) == (0, "")
    assert written.read_text(encoding="utf-8") == sagas.graph(drawn, format="svg")
    ElementTree.parse(written)


def test_a_file_that_was_there_stays_as_it_was_when_there_is_nothing_to_draw(run: Run, tmp_path: Path) -> None:
    written = tmp_path / "drawn.svg"
    written.write_text("before")

    assert run("graph.nothing", "--output", str(written)).exit_code == 1
    assert written.read_text() == "before"


def test_a_file_that_cannot_be_written_is_told(drawn: Saga, run: Run, tmp_path: Path) -> None:
    done = run(drawn.name, "--output", str(tmp_path / "nowhere" / "drawn.svg"))

    assert done.exit_code == 1
    assert "No such file or directory" in done.stderr


def test_an_unknown_name_is_told_with_the_names_that_there_are(drawn: Saga, run: Run) -> None:
    other = declare(bind("elsewhere"), "graph.elsewhere")

    done = run("oder")

    assert done.exit_code == 1
    assert "'oder' is neither the id of an instance nor a saga or choreography of this app; its sagas: " in done.stderr
    assert drawn.name in done.stderr
    assert other.name not in done.stderr


def test_of_several_versions_the_highest_is_drawn(sagas: Sagas, drawn: Saga, run: Run) -> None:
    newer = Saga(drawn.name, version=2, steps=drawn.steps)

    assert run(drawn.name).stdout == sagas.graph(newer)
    assert f'start("{drawn.name} v2")' in run(drawn.name).stdout


def test_of_several_apps_the_own_saga_is_drawn(sagas: Sagas, drawn: Saga, run: Run) -> None:
    other = declare(bind("elsewhere"), drawn.name, version=9)

    assert run(drawn.name).stdout == sagas.graph(drawn)
    assert other.version == 9


def test_a_saga_that_cannot_start_says_why_it_cannot_be_drawn(run: Run) -> None:
    other = declare(bind("elsewhere"), "graph.elsewhere")

    done = run(other.name)

    assert done.exit_code == 1
    assert "elsewhere.graph.elsewhere.take" in done.stderr
