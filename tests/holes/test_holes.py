"""The table is complete, and what its edits name is in the code.

Whether they fit it is seen by `python -m tests.holes --fits`, in seconds; what they prove by `python -m tests.holes`.
"""

import ast
from functools import cache

import pytest

from tests.holes.table import LETTERS, TABLE
from tests.support.workers import ROOT


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


@pytest.mark.parametrize("file", sorted({edit.file for reversal in TABLE for edit in reversal.edits}))
def test_every_function_and_statement_that_an_edit_names_is_there(file: str) -> None:
    text = (ROOT / file).read_text()

    for edit in [edit for reversal in TABLE for edit in reversal.edits if edit.file == file]:
        begin, end = edit.place_in(text)
        assert begin < end
        assert edit.old != edit.new


@pytest.mark.parametrize("letter", LETTERS)
def test_the_tests_of_a_hole_are_there(letter: str) -> None:
    for reversal in [reversal for reversal in TABLE if reversal.letter == letter]:
        assert reversal.edits
        assert reversal.tests
        assert len(set(reversal.tests)) == len(reversal.tests)
        for test in reversal.tests:
            file, _, name = test.partition("::")
            assert name.partition("[")[0] in functions(file), test
            assert name.startswith("test_")


def test_each_reversal_says_what_it_is_about() -> None:
    for reversal in TABLE:
        assert len(reversal.hole) > 40
        assert len(reversal.taken_away) > 10
