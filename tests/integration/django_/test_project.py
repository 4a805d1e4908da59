"""The project's own tests, run as its developers run them: by Django, once for each driver that Django may take."""

import ast
import re
from collections.abc import Sequence

from tests.integration.django_.conftest import Project
from tests.support import journal
from tests.support.workers import ROOT

TESTS = "tests.django_project.shop"


def written() -> int:
    """How many tests there are."""
    return sum(
        node.name.startswith("test_")
        for path in (ROOT / TESTS.replace(".", "/")).rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def passed(project: Project, *options: str, modules: Sequence[str] = (TESTS,), **environment: str) -> int:
    """Run them with Django's runner; returns how many ran, and fails with what it said."""
    done = project.test(*modules, "--noinput", *options, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = re.search(r"\nRan (\d+) tests? in .*\n\nOK\n", done.stderr)
    assert summary, done.stdout + done.stderr
    return int(summary[1])


def left_behind(project: Project) -> list[str]:
    """What there is in the database that is no test's, and which databases of the tests there still are."""
    mine = "SELECT nspname || '.' || relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace "
    mine += "WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
    tests = "SELECT datname FROM pg_database WHERE starts_with(datname, 'test_' || current_database())"
    return [name for (name,) in journal.query(project.database_url, f"{mine} UNION ALL {tests}")]


def test_with_psycopg_3_every_test_of_the_project_passes(empty: Project) -> None:
    assert passed(empty, TEST_DRIVER="psycopg") == written() > 100
    # Then: the library's own connections followed Django to the tests' database, and let go of it
    assert left_behind(empty) == []


def test_with_psycopg2_every_test_passes_that_touches_the_driver(empty: Project) -> None:
    assert passed(empty, "--tag", "driver", TEST_DRIVER="psycopg2") > 20
    assert left_behind(empty) == []


def test_without_admin_or_migrations_and_in_parallel_processes_the_tests_find_all_they_need(empty: Project) -> None:
    modules = [f"{TESTS}.tests.test_schema", f"{TESTS}.tests.test_testing"]

    assert passed(empty, "--tag", "bare", "--parallel", "2", modules=modules, TEST_BARE="1") == 3
    assert left_behind(empty) == []
