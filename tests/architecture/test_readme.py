"""The pages' examples of shapes are sagas, and what users must be told stands where they are led."""

import ast
import builtins
import os
import re
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from django.http import Http404

import sagas
from sagas import Saga
from tests.support.pages import PAGES, README, blocks, section
from tests.support.workers import ROOT

#: Lines of the README. What is longer than a few of them belongs to a page of its own.
LONGEST = 290


def test_m14_the_guarantees_say_what_a_failover_may_take() -> None:
    """A standby that lags behind is promoted without the last commits, and nothing in the database tells."""
    (second,) = re.findall(r"^2\. (.*?)^3\. ", section(README, "Guarantees"), re.DOTALL | re.MULTILINE)

    said = " ".join(second.split())
    assert "as long as PostgreSQL keeps its data" in said
    assert "With asynchronous replication a failover may lose durable rows: use synchronous." in said


@pytest.mark.parametrize(("page", "steps"), [("docs/shapes.md", 6), ("README.md", 7)])
def test_the_example_of_every_shape_is_a_saga_as_it_stands(page: str, steps: int) -> None:
    (block,) = [block for block in blocks(PAGES[page], "python") if "parallel(" in block]
    app = Celery(page, set_as_current=False)

    def task(name: str) -> Any:
        def run(data: Any) -> None:
            """Never called."""

        run.__name__ = name
        return app.task(name=f"{page}.{name}")(run)

    names: dict[str, Any] = {name: getattr(sagas, name) for name in sagas.__all__} | {"timedelta": timedelta}
    wanted = {node.id for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Name)} - set(names) - {"trip"}
    names |= {name: task(name) for name in wanted - {"payment"}}
    names["payment"] = Saga("payment-of-a-page", steps=[sagas.Step(task("pay"), compensation=None, name="pay")])
    exec(block, names)

    assert isinstance(names["trip"], Saga)
    assert len(names["trip"].steps) == steps


#: What pages declare in passing: without imports, and with nothing left out.
DECLARATIONS = [
    pytest.param(page, block, id=f"{page}: {block.strip().splitlines()[0][:50]}")
    for page, text in PAGES.items()
    for block in blocks(text, "python")
    if re.search(r"^(\w+ = Saga|Step)\(", block, re.MULTILINE)
    and not re.search(r"^from |\[\.\.\.\]|\.add_step\(|parallel\(", block, re.MULTILINE)
]


class Stubs(dict[str, Any]):
    """The names of a block: those of the library, and for what it does not define a task, or an error."""

    def __init__(self, page: str) -> None:
        self._app = Celery(f"stubs of {page}", set_as_current=False)
        super().__init__({name: getattr(sagas, name) for name in sagas.__all__})
        self |= {"Decimal": Decimal, "shared_task": self._task}

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name):
            return getattr(builtins, name)
        self[name] = type(name, (Exception,), {}) if name[0].isupper() else self._task(_called(name))
        return self[name]

    def _task(self, body: Any) -> Any:
        return self._app.task(name=f"{self._app.main}.{body.__name__}.{len(self)}", shared=False)(body)


def _called(name: str) -> Any:
    def body(**_: Any) -> None:
        """Never called."""

    body.__name__ = name
    return body


def test_the_pages_declare_sagas_in_passing() -> None:
    assert {"docs/shapes.md", "docs/migrating.md"} <= {case.values[0] for case in DECLARATIONS}


@pytest.mark.parametrize(("page", "block"), DECLARATIONS)
def test_what_a_page_declares_in_passing_can_be_declared(page: str, block: str) -> None:
    *rest, last = ast.parse(block).body
    names = Stubs(page)

    exec(compile(ast.Module(rest, []), f"<{page}>", "exec"), {}, names)
    if isinstance(last, ast.Expr):
        assert isinstance(eval(compile(ast.Expression(last.value), f"<{page}>", "eval"), {}, names), sagas.Step)
    else:
        exec(compile(ast.Module([last], []), f"<{page}>", "exec"), {}, names)
        assert any(isinstance(value, Saga) for value in names.values())


def test_a_key_that_nobody_has_is_a_404_in_the_view() -> None:
    (block,) = [block for block in blocks(PAGES["docs/django.md"], "python") if "def progress(request" in block]
    view = "def progress(" + block.partition("def progress(")[2]
    names: dict[str, Any] = {"sagas": SimpleNamespace(find=lambda **_: None), "Http404": Http404}
    exec(view, names)

    with pytest.raises(Http404):
        names["progress"](None, "42")


def test_one_paragraph_in_bold_says_what_says_that_nothing_was_done() -> None:
    bold = [
        " ".join(said.replace("\n> ", " ").split()) for said in re.findall(r"^> \*\*(.*?)\*\*$", README, re.S | re.M)
    ]

    (paragraph,) = [said for said in bold if "nothing was done" in said]
    assert paragraph.startswith("Only `PermanentError`, and the errors that a step names (`clean=")
    assert "Every other exception that a body raises leaves its action *in doubt*" in paragraph


def test_the_readme_stays_short() -> None:
    assert len(README.splitlines()) <= LONGEST


def test_the_readmes_first_screen_says_how_to_install_and_what_ci_and_users_run() -> None:
    first = README.partition("\n## ")[0]

    for command in ("pip install celery-sagas", "python3 run.py demo", "python3 run.py test"):
        assert re.search(rf"^\$ {command}( |$)", first, re.MULTILINE), command


def test_every_page_is_reached_from_the_readme() -> None:
    reached, looked_at = {"README.md"}, set[str]()
    while to_look_at := reached - looked_at:
        for page in to_look_at & set(PAGES):
            links = re.findall(r"\]\(([\w./-]+\.md)", PAGES[page])
            reached |= {os.path.normpath(os.path.join(os.path.dirname(page), link)) for link in links}
        looked_at |= to_look_at

    assert set(PAGES) - reached == set()


def test_d14_the_migration_note_begins_with_pivots_and_the_readme_leads_to_it() -> None:
    assert "](CHANGELOG.md)" in README
    note = (ROOT / "CHANGELOG.md").read_text().partition("### Before you upgrade\n")[2].partition("\n### ")[0]

    first, second, *_ = re.findall(r"^\d\. \*\*(.*?)\*\*", note, re.MULTILINE)
    assert first == "Look at your pivots."
    assert "other steps" in second


def test_d15_the_migration_note_says_by_which_rule_a_failure_is_judged() -> None:
    note = " ".join((ROOT / "CHANGELOG.md").read_text().split())

    assert "Each failure is judged by the rules of the worker that meets it, whatever plan it belongs to" in note
    assert "after the last old worker is gone" in note
