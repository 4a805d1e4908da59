"""The table is complete and fits the code. What it proves is shown by `python -m tests.holes`, which takes minutes."""

import ast
from functools import cache

import pytest

from tests.holes.reversal import Reversal
from tests.holes.table import LETTERS, TABLE
from tests.support.workers import ROOT

every_reversal = pytest.mark.parametrize("reversal", TABLE, ids=str)


@cache
def functions(file: str) -> frozenset[str]:
    """The names of all functions in a module."""
    tree = ast.parse((ROOT / file).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("letter", LETTERS)
def test_every_letter_has_a_reversal(letter: str) -> None:
    assert any(reversal.letter == letter for reversal in TABLE)


def test_no_reversal_is_there_twice() -> None:
    assert len({str(reversal) for reversal in TABLE}) == len(TABLE)
    assert {reversal.letter for reversal in TABLE} <= set(LETTERS)


@every_reversal
def test_a_reversal_fits_the_code_and_what_it_leaves_compiles(reversal: Reversal) -> None:
    assert reversal.edits
    texts: dict[str, str] = {}
    for edit in reversal.edits:
        assert edit.old != edit.new
        before = texts.get(edit.file) or (ROOT / edit.file).read_text()
        texts[edit.file] = edit.applied_to(before)
    for file, text in texts.items():
        if file.endswith(".py"):
            compile(text, file, "exec")


@every_reversal
def test_the_tests_of_a_reversal_are_there(reversal: Reversal) -> None:
    assert reversal.tests
    assert len(set(reversal.tests)) == len(reversal.tests)
    for test in reversal.tests:
        file, _, name = test.partition("::")
        assert name.partition("[")[0] in functions(file), test
        assert name.startswith("test_")


@every_reversal
def test_a_reversal_says_what_it_is_about(reversal: Reversal) -> None:
    assert len(reversal.hole) > 40
    assert len(reversal.taken_away) > 10
