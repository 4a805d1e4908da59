"""The rules that keep the code what the design says: layers, one home for SQL, a pure model, small modules."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

import sagas
from tests.support.workers import ROOT

SOURCES = sorted((ROOT / "sagas").rglob("*.py"))
EVERYTHING = sorted(
    path
    for folder in ("sagas", "tasks", "config", "tests")
    for path in (ROOT / folder).rglob("*.py")
    if "__pycache__" not in path.parts
)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_import_contracts_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_no_modules_import_one_another_in_a_circle_not_even_for_their_types() -> None:
    graph = grimp.build_graph("sagas", cache_dir=None)
    imported = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}

    TopologicalSorter(imported).prepare()  # raises CycleError, which names the circle


# -- SQL

SQL = re.compile(
    r"\b(SELECT\s.+\sFROM|INSERT\s+INTO|UPDATE\s+\S+\s+SET|DELETE\s+FROM|CREATE\s+(UNLOGGED\s+)?TABLE|TRUNCATE\s|"
    r"SELECT\s+(FOR|clock_timestamp|set_config|pg_))",
    re.DOTALL,
)
SQL_NAMES = {"text", "select", "insert", "update", "delete", "exec_driver_sql", "func", "Table", "Column"}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """String literals of a module, docstrings left out."""
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


@pytest.mark.parametrize("path", [path for path in SOURCES if "store" not in path.parts], ids=name)
def test_there_is_no_sql_outside_the_store(path: Path) -> None:
    for line, text in texts(path):
        assert not SQL.search(text), f"{name(path)}:{line}: {text[:80]}"
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlalchemy"):
            assert not SQL_NAMES & {alias.name for alias in node.names}, f"{name(path)}:{node.lineno}"


def test_the_search_for_sql_finds_the_stores_own() -> None:
    found = [path for path in SOURCES if "store" in path.parts and any(SQL.search(text) for _, text in texts(path))]

    assert {"statements.py", "runner.py"} <= {path.name for path in found}


# -- the model


@pytest.mark.parametrize("path", sorted((ROOT / "sagas" / "model").rglob("*.py")), ids=name)
def test_the_model_imports_the_standard_library_the_errors_and_itself(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            modules = [node.module or ""]
        for module in modules:
            own = module.startswith("sagas.model") or module == "sagas.errors"
            assert own or module.partition(".")[0] in sys.stdlib_module_names, f"{name(path)}: {module}"


CLOCKS = {("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today")}


@pytest.mark.parametrize("path", sorted((ROOT / "sagas" / "model").rglob("*.py")), ids=name)
def test_the_model_reads_no_clock_and_rolls_no_dice(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in CLOCKS
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported = {getattr(node, "module", None)} | {alias.name for alias in node.names}
            assert not imported & {"random", "secrets", "time", "os", "uuid4", "uuid1"} or "time" in imported & {
                alias.name for alias in node.names if getattr(node, "module", "") == "datetime"
            }


def test_the_database_checks_share_the_models_table_of_transitions() -> None:
    from sagas.model import FINAL, FORWARD, TRANSITIONS, SagaStatus

    assert set(TRANSITIONS) == set(SagaStatus)
    assert not FINAL & FORWARD
    assert TRANSITIONS[SagaStatus.COMPLETED] == {SagaStatus.COMPENSATING, SagaStatus.COMPENSATED}


# -- the parts

#: Where parts are composed: these reach through an engine for its store, and hand on what a part uses of it.
COMPOSE = {
    "sagas/engine/core.py",
    "sagas/engine/execution.py::execute",
    "sagas/recovery/sweep.py::sweep",
    "sagas/choreography/starters.py::add_starting_tasks",
    "sagas/extension.py",
    "sagas/cli/commands.py::bound_store",
    "sagas/contrib/django/binding.py::bound_sagas",
    "sagas/contrib/django/binding.py::bound_store",
}


def reaching(tree: ast.AST, function: str = "") -> Iterator[str]:
    """The functions that ask an engine, or an object of their own, for the whole store."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Attribute) and node.attr.lstrip("_") == "store":
            yield function
        yield from reaching(node, node.name if isinstance(node, ast.FunctionDef) else function)


@pytest.mark.parametrize("path", [path for path in SOURCES if "store" not in path.parts], ids=name)
def test_a_part_takes_what_it_uses_of_the_store_in_its_constructor(path: Path) -> None:
    if name(path) not in COMPOSE:
        reach = {f"{name(path)}::{function}" for function in reaching(ast.parse(path.read_text()))}
        assert reach <= COMPOSE | {f"{name(path)}::__init__"}


def test_what_composes_parts_is_there() -> None:
    for where in COMPOSE:
        path, _, function = where.partition("::")
        found = set(reaching(ast.parse((ROOT / path).read_text())))
        assert function in found if function else found, where


# -- size, names, words


@pytest.mark.parametrize("path", EVERYTHING, ids=name)
def test_no_module_is_over_400_lines(path: Path) -> None:
    known = {"tests/integration/test_order_services.py"}
    lines = len(path.read_text().splitlines())
    assert lines <= 400 or name(path) in known, f"{name(path)} has {lines} lines"


def test_no_module_is_called_after_nothing_in_particular() -> None:
    vague = {"utils", "util", "helpers", "helper", "manager", "misc", "common"}
    assert [name(path) for path in EVERYTHING if path.stem in vague or vague & set(path.parts)] == []


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name == "__init__.py"], ids=name)
def test_an_init_only_re_exports(path: Path) -> None:
    for node in ast.parse(path.read_text()).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        exports = isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
        composes = isinstance(node, ast.ClassDef) and name(path) == "sagas/store/__init__.py"
        assert docstring or exports or composes or isinstance(node, ast.ImportFrom), f"{name(path)}:{node.lineno}"


TEXTS = {".py", ".md", ".toml", ".yml", ".yaml", ".sql", ".txt", ".html", ".css", ".js", ".cfg", ".ini", ".sh", ""}
# Put together here, so that this file is clean too.
FORBIDDEN = [
    "clau" + "de",
    "anthro" + "pic",
    "chat" + "gpt",
    "open" + "ai",
    "co" + "pilot",
    r"\bll" + r"m\b",
    "arti" + "factory",
    "/work" + "/",
    r"\bTO" + r"DO\b",
    r"\bFIX" + r"ME\b",
]


def tracked() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode != 0:  # a source archive: everything but what is made
        made = {".venv", "__pycache__", ".git", "dist"}
        return [path for path in ROOT.rglob("*") if path.is_file() and not made & set(path.parts)]
    return [path for line in done.stdout.splitlines() if (path := ROOT / line).is_file()]


def test_no_file_names_its_tools_its_machine_or_unfinished_work() -> None:
    found = []
    for path in tracked():
        if path.suffix not in TEXTS or path.stat().st_size > 2_000_000:
            continue
        content = path.read_text(errors="replace")
        for word in FORBIDDEN:
            flags = 0 if word.isupper() or "\\bTO" in word or "\\bFIX" in word else re.IGNORECASE
            found += [f"{name(path)}: {match[0]}" for match in re.finditer(word, content, flags)]
    assert found == []


def test_the_lock_file_names_no_host() -> None:
    lock = (ROOT / "requirements.lock").read_text()

    assert "://" not in lock
    assert "--index-url" not in lock
    assert "--hash=sha256:" in lock


# -- the public face


def test_everything_in_all_is_importable_and_there_is_nothing_else_public() -> None:
    public = {
        attribute
        for attribute, value in vars(sagas).items()
        if not attribute.startswith("_") and not isinstance(value, type(sys))
    }
    assert set(sagas.__all__) == public
    assert len(sagas.__all__) == len(set(sagas.__all__))


def test_everything_public_has_a_docstring() -> None:
    for attribute in sagas.__all__:
        assert (getattr(sagas, attribute).__doc__ or "").strip(), attribute


def test_everything_public_is_on_the_page_of_names() -> None:
    written = (ROOT / "docs" / "names.md").read_text()
    assert [attribute for attribute in sagas.__all__ if not re.search(rf"\b{attribute}\b", written)] == []
