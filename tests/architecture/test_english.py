"""Texts read as English: what gives a translation away is neither in the sources nor on the pages for users."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.workers import ROOT

#: Migrations are released: their texts stay as they are.
SOURCES = sorted(
    path
    for folder in ("sagas", "tasks", "config")
    for path in (ROOT / folder).rglob("*.py")
    if "migrations" not in path.parts
)
PAGES = [
    *(ROOT / page for page in ("README.md", "CHANGELOG.md", "tests/README.md")),
    *sorted((ROOT / ".github").glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]

#: Each pattern with its cure. "There is no driver", "is no longer" and "is no better" are English.
FORBIDDEN = {
    re.compile(r"(\bthere\s+)?\b(?:is|are|was|were)\s+no\s+(?!longer\b|more\b|less\b|better\b)[a-z]\w*", re.I): (
        "say 'is not a mapping' or 'has no driver', not 'is no mapping'"
    ),
    re.compile(r"()\b(?:whoever|nobody|somebody|anybody)\b", re.I): (
        "name the party: the worker, the caller, an operator; or say 'no worker', 'an operator'"
    ),
    re.compile(
        r"()\b(?:anew|lest|thereof|whereby|wherein)\b", re.I
    ): "say 'again', 'so that … not', 'of it', 'by which'",
}
FIRST_WORD = re.compile(r"(?:Of|Who|Whose|Whom|What)\b")
COMMENT_FIRST = "begin with the thing ('The events that …'), not with a question word or 'Of'"
#: What a function's docstring may not begin with, unless it is a property's: it says what the function does.
NO_VERB = re.compile(
    r"(?:A|All|An|Each|Every|How|If|It|Its|No|That|The|There|These|This|Those|When|Where|Whether|Which|Why|With)\b"
)
VERB_FIRST = "begin a function's docstring with a verb ('Return …'), any other with what the thing is"

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def in_source(text: str) -> Iterator[tuple[int, str]]:
    """Yield the comments and the strings of several words of a module, each with its line."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def comments(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("#: ")


def is_property(node: ast.AST) -> bool:
    return any(ast.unparse(decorator).endswith(("property", ".setter")) for decorator in node.decorator_list)


def begins_wrongly(node: ast.AST, docstring: str) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not is_property(node) and NO_VERB.match(docstring):
        return True
    return FIRST_WORD.match(docstring) is not None


def docstrings(text: str) -> Iterator[tuple[int, str]]:
    """Yield the docstrings that begin in a way that they should not, each with its line."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, DOCUMENTED) and (docstring := ast.get_docstring(node)) and begins_wrongly(node, docstring):
            yield node.body[0].lineno, docstring


def foreign(line: int, text: str) -> Iterator[tuple[int, str]]:
    """Yield what a text has of the forbidden patterns: its line, and the words with their cure."""
    for pattern, cure in FORBIDDEN.items():
        for found in pattern.finditer(text):
            if not found[1]:
                yield line + text[: found.start()].count("\n"), f"{' '.join(found[0].split())!r}: {cure}"


def in_module(text: str) -> list[tuple[int, str]]:
    found = [problem for line, piece in in_source(text) for problem in foreign(line, piece)]
    found += [(line, f"{docstring.splitlines()[0]!r}: {VERB_FIRST}") for line, docstring in docstrings(text)]
    found += [(line, f"{words!r}: {COMMENT_FIRST}") for line, words in comments(text) if FIRST_WORD.match(words)]
    return sorted(found)


def report(path: Path, found: list[tuple[int, str]]) -> str:
    return "\n".join(f"{path.relative_to(ROOT)}:{line}: {what}" for line, what in found)


@pytest.mark.parametrize("path", [*SOURCES, ROOT / "run.py"], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_reads_as_english(path: Path) -> None:
    found = in_module(path.read_text())
    assert not found, report(path, found)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_reads_as_english(path: Path) -> None:
    found = list(foreign(1, path.read_text()))
    assert not found, report(path, found)


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        ('x = 1\nraise ValueError(f"{x} is no number of seconds")\n', 2, "is no number"),
        ("x = 1  # nobody reads this\n", 1, "nobody"),
        ('"""A module.\n\nIts values are no\ntexts.\n"""\n', 3, "are no texts"),
        ('def f():\n    """What it returns."""\n', 2, "What it returns."),
        ('class C:\n    """Whose it is."""\n', 2, "Whose it is."),
        ('def f():\n    """The value that it returns."""\n', 2, "The value that it returns."),
        ("x = 1\n#: What it was before.\ny = 2\n", 2, "What it was before."),
        ("x = 1  # made anew each time\n", 1, "anew"),
    ],
)
def test_what_is_not_english_is_found_with_its_line(source: str, line: int, words: str) -> None:
    ((found, what),) = in_module(source)

    assert found == line
    assert words in what


@pytest.mark.parametrize(
    "source",
    [
        '"""There are no\nsteps, and it is no longer held."""\n',
        'account = "nobody"\n',
        "# there is no driver\n",
        'class C:\n    @property\n    def f(self):\n        """The value that it holds."""\n',
    ],
)
def test_english_idioms_and_names_pass(source: str) -> None:
    assert in_module(source) == []
