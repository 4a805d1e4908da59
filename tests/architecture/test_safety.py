"""No statement is put together from what somebody else has written, and nothing that is read can run."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from cryptography.fernet import Fernet

from sagas import Sagas
from sagas.cli.checks import findings
from tests.architecture.test_layers import SOURCES, name
from tests.support.workers import ROOT

#: How a text begins that is a statement, or goes on in one.
STATEMENT = re.compile(
    r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE (UNLOGGED )?TABLE|CREATE SCHEMA|ALTER|DROP|TRUNCATE|WITH|WHERE"
    r"|SET|VALUES|CASE WHEN|FROM|JOIN|EXISTS|ORDER BY|LIMIT)\b"
)
#: What executes one, and which argument is the statement.
EXECUTES = {"execute", "exec_driver_sql", "scalar", "scalars", "text", "stream", "executemany", "_sql", "prepared"}
#: The schema as an SQL identifier: `quote` has made it, and it alone may stand in a statement.
QUOTED_SCHEMA = {"quoted", "self._quoted_schema"}
PLACEHOLDERS = {"{s}", "{schema}"}


def is_statement(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(STATEMENT.search(node.value))


def is_module_constant(node: ast.expr) -> bool:
    """A text that stands there, or one under a name in capitals, as it is or stripped of blanks."""
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return is_module_constant(node.left) and is_module_constant(node.right)
    if isinstance(node, ast.Call):
        called = node.func
        return (
            isinstance(called, ast.Attribute)
            and called.attr == "rstrip"
            and not node.args
            and is_module_constant(called.value)
        )
    spelt = ast.unparse(node).rpartition(".")[2]
    return isinstance(node, ast.Name | ast.Attribute) and spelt.isupper()


def composed(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every place where a statement is put together from something else than constants and the quoted schema."""
    told = {id(part) for node in ast.walk(tree) if isinstance(node, ast.Raise) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in told:
            continue  # an error's text, which may say what to run
        if isinstance(node, ast.JoinedStr) and any(is_statement(part) for part in node.values):
            put_in = {ast.unparse(part.value) for part in node.values if isinstance(part, ast.FormattedValue)}
            if not put_in <= QUOTED_SCHEMA:
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
            parts = [part for part in ast.walk(node) if is_statement(part)]
            if parts and not is_module_constant(node):
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            texts = [part for part in ast.walk(node) if is_statement(part)]
            if node.func.attr in ("format", "format_map", "join") and texts:
                yield node.lineno, ast.unparse(node)
            if node.func.attr == "replace" and len(node.args) == 2:
                what, by = (ast.unparse(argument) for argument in node.args)
                if what.strip("'") in PLACEHOLDERS and by not in QUOTED_SCHEMA:
                    yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_no_statement_is_put_together_but_from_constants_and_the_quoted_schema(path: Path) -> None:
    found = [f"{name(path)}:{line}: {said[:90]}" for line, said in composed(ast.parse(path.read_text()))]

    assert found == []


@pytest.mark.parametrize(
    "written",
    [
        'f"SELECT * FROM t WHERE id = {id}"',
        'f"SELECT * FROM {schema}.t"',
        '"SELECT * FROM t WHERE id = " + id',
        '"SELECT * FROM t WHERE id = %s" % id',
        '"SELECT * FROM t WHERE id = {}".format(id)',
        '"SELECT 1 FROM {s}.t".replace("{s}", schema)',
        'STATEMENT + f" WHERE x = {x}"',
        '" AND ".join(["WHERE a", b])',
    ],
)
def test_the_search_finds_statements_that_are_put_together(written: str) -> None:
    assert list(composed(ast.parse(written)))


@pytest.mark.parametrize(
    "written",
    [
        'f"SELECT * FROM {quoted}.t"',
        '"SELECT 1 " + HOLDER + " FROM {s}.t"',
        'text(statements.START.replace("{s}", self._quoted_schema))',
        'LOCK_INSTANCE + " SKIP LOCKED"',
    ],
)
def test_the_search_lets_constants_and_the_quoted_schema_pass(written: str) -> None:
    assert not list(composed(ast.parse(written)))


@pytest.mark.parametrize("path", [path for path in SOURCES if "store" in path.parts], ids=name)
def test_whatever_is_executed_is_a_named_statement_or_one_of_sqlalchemys_own(path: Path) -> None:
    """No text that a function got as an argument, but for the statement book and the migrations' own runner."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and node.args):
            continue
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if called not in EXECUTES or isinstance(node.args[0], ast.Constant):
            continue
        statement = ast.unparse(node.args[0])
        allowed = (
            statement.startswith(("self._", "select(", "insert(", "update(", "delete(", "text("))
            or re.fullmatch(r"(\w+\.)?[A-Z_]+", statement)
            or (path.name == "book.py" and statement == "self.written(statement)")
            or (path.name == "runner.py" and ("quoted" in statement or statement == "sql"))
            or statement in ("statement", "query")
        )
        assert allowed, f"{name(path)}:{node.lineno}: {called}({statement[:80]})"


# -- nothing that is read can run

RUNS = {"eval", "exec", "compile", "__import__"}
MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "jsonpickle",
    "yaml",
    "subprocess",
}


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_nothing_in_the_library_unpickles_evaluates_or_starts_programs(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        imported = []
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported = [node.module or ""]
        assert not {module.partition(".")[0] for module in imported} & MODULES, f"{name(path)}:{node.lineno}"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in RUNS, f"{name(path)}:{node.lineno}: {called}"
            assert called not in ("os.system", "os.popen", "os.execv"), f"{name(path)}:{node.lineno}: {called}"


def test_an_app_with_sagas_takes_json_only_and_check_says_so_when_it_takes_more() -> None:
    app = Celery("safe", set_as_current=False, broker="memory://")
    sagas = Sagas(app, database="postgresql://nobody@/nowhere?host=/nonexistent")

    assert (list(app.conf.accept_content), app.conf.task_serializer) == (["json"], "json")
    # Sagas that other tests of this process declare are not its concern.
    assert [line for line in findings(sagas) if not line.startswith(("saga ", "choreography "))] == []
    for dangerous in ("pickle", "application/x-python-serialize"):
        app.conf.accept_content = ["json", dangerous]
        assert "any client of the broker can run code in your workers" in " ".join(findings(sagas))


def test_check_says_that_a_codec_without_names_encrypts_nothing() -> None:
    app = Celery("idle", set_as_current=False, broker="memory://")
    nowhere = "postgresql://nobody@/nowhere?host=/nonexistent"

    told = findings(Sagas(app, database=nowhere, codec=Fernet(Fernet.generate_key())))
    assert any("nothing new is encrypted" in line for line in told)


def test_no_example_takes_more_than_json() -> None:
    for folder in ("config", "tasks"):
        for path in (ROOT / folder).rglob("*.py"):
            assert "pickle" not in path.read_text(), path
