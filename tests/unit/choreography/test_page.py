"""The page about choreographies: its example compiles, and is listed and drawn as the page shows it."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from click.testing import CliRunner

from sagas import Sagas
from sagas.choreography import Choreography, catalogue
from sagas.choreography.findings import graph_findings, graph_notes
from sagas.cli import sagas as group
from sagas.engine import registry
from tests.support.pages import PAGES, blocks, printed, section
from tests.unit.choreography.fulfilment import bound

PAGE = PAGES["docs/choreography.md"]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The page's module, imported as a user would import it."""
    (source,) = (block for block in blocks(PAGE, "python") if block.startswith("# fulfilment.py\n"))
    path: Path = tmp_path_factory.mktemp("page") / "choreography_page.py"
    path.write_text(source)
    sys.path.insert(0, str(path.parent))
    try:
        import choreography_page  # type: ignore[import-not-found]

        yield choreography_page
        # Its name is that of a saga which other tests of this process use.
        registry._choreographies.discard(choreography_page.fulfilment)
    finally:
        sys.path.remove(str(path.parent))


@pytest.fixture
def sagas(example: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Sagas:
    monkeypatch.setattr(catalogue, "choreographies", lambda: [example.fulfilment])
    return bound("page")


def test_the_example_is_sound(example: ModuleType) -> None:
    engine = bound("sound").engine

    assert graph_findings(example.fulfilment, engine) == []
    assert graph_notes(example.fulfilment, engine) == []


def test_the_command_prints_what_the_page_shows(sagas: Sagas) -> None:
    done = CliRunner().invoke(group, ["events"], obj=SimpleNamespace(app=sagas.app))

    assert done.output == printed(PAGE, "celery -A shop sagas events")


def test_the_picture_is_that_of_the_example(example: ModuleType, sagas: Sagas) -> None:
    (picture,) = blocks(PAGE, "mermaid")

    assert picture == sagas.graph(example.fulfilment)


@pytest.mark.parametrize(
    ("title", "method"),
    [
        ("Handlers", Choreography.on),
        ("Undos", Choreography.undo),
        ("The options of a choreography", Choreography.__init__),
    ],
)
def test_every_option_is_in_its_table(title: str, method: object) -> None:
    import inspect

    from sagas.choreography.signatures import HandlerOptions

    told = set(re.findall(r"`(\w+)=", section(PAGE, title).partition("| option |")[2]))
    options = {
        parameter.name
        for parameter in inspect.signature(method).parameters.values()  # type: ignore[arg-type]
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    options |= set(HandlerOptions.__annotations__) if method is Choreography.on else set()

    assert told == options
