"""An edit finds its place by name, whatever is renamed or laid out anew there."""

import pytest

from tests.holes.places import NotThere
from tests.holes.reversal import Edit

MODULE = '''
LIMIT = 5
STATEMENT = """
WITH free AS (
    SELECT (1) FROM lease WHERE until < 1
), taken AS (SELECT 2 FROM lease WHERE until < 1)
SELECT * FROM taken
"""


def outer(step):
    def inner(step):
        return step.status

    return step.status if step else LIMIT


class InstanceDraft:
    def put(self, step):
        if step.doubt:
            self.void(step)
'''
PUT = Edit("a.py::InstanceDraft::put", "self.void(step)", "self.keep(step)\nreturn step.doubt")


def line_without(edit: Edit, text: str = MODULE) -> list[str]:
    """Return the lines that are new without the fix."""
    return [line.strip() for line in edit.applied_to(text).splitlines() if line not in text.splitlines()]


@pytest.mark.parametrize(
    ("place", "old", "changed"),
    [
        ("a.py::LIMIT", "5", "LIMIT = 0"),
        ("a.py::outer", "if step else", "return step.status 0 LIMIT"),
        ("a.py::outer::inner", "step.status", "return 0"),
        ("a.py::STATEMENT::taken", "until < 1", "), taken AS (SELECT 2 FROM lease WHERE 0)"),
        ("a.py::STATEMENT::free", "until  <\n1", "SELECT (1) FROM lease WHERE 0"),
    ],
)
def test_a_fragment_is_replaced_in_the_place_that_is_named(place: str, old: str, changed: str) -> None:
    assert line_without(Edit(place, old, "0")) == [changed]


def test_the_lines_of_a_replacement_are_indented_as_what_they_replace() -> None:
    assert "            self.keep(step)\n            return step.doubt\n" in PUT.applied_to(MODULE)


def test_a_local_variable_may_be_renamed() -> None:
    renamed = MODULE.replace("def put(self, step)", "def put(self, row)").replace("step.doubt", "row.doubt")
    renamed = renamed.replace("void(step)", "void(row)")

    assert line_without(PUT, renamed) == ["self.keep(row)", "return row.doubt"]


def test_a_renamed_variable_is_the_same_one_throughout_a_fragment() -> None:
    edit = Edit("a.py::swap", "before.put(before, after)", "pass")

    assert "pass" in edit.applied_to("def swap(old, new):\n    old.put(old, new)\n")
    with pytest.raises(NotThere):
        edit.applied_to("def swap(old, new):\n    old.put(new, new)\n")


def test_another_layout_is_the_same_fragment() -> None:
    laid_out = MODULE.replace("self.void(step)", "self.void(\n                step\n            )")

    assert line_without(PUT, laid_out) == ["self.keep(step)", "return step.doubt"]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("a.sql", "CREATE TABLE {schema}.saga_other (x int, y int);\nCREATE UNLOGGED TABLE {schema}.it (x int);\n"),
        ("a.md", "# it\nx int\n## More\nx int\n"),
    ],
)
def test_tables_and_sections_are_places_too(file: str, text: str) -> None:
    assert Edit(f"{file}::it", "x int", "y").applied_to(text).count("x int") == text.count("x int") - 1


@pytest.mark.parametrize(
    "edit",
    [
        Edit("a.py::nowhere", "step", "0"),
        Edit("a.py::outer::nowhere", "step", "0"),
        Edit("a.py::STATEMENT::nowhere", "until", "0"),
        Edit("a.py::InstanceDraft::put", "void(", "keep("),
        Edit("a.py::outer", "step.status", "0"),
        Edit("a.txt::outer", "step", "0"),
    ],
)
def test_what_does_not_fit_is_refused(edit: Edit) -> None:
    text = MODULE.replace("self.void(step)", "pass")

    with pytest.raises(NotThere, match=r"not one"):
        edit.applied_to(text)
