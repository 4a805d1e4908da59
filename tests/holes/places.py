"""Finds what an edit names: a function, a statement or a part of one, a table of a migration, a section of a page.

Inside of it the layout does not matter, and neither do the names of local variables: renaming one spoils no edit.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

#: By what two texts are compared: words and signs, not what is between them.
PART = re.compile(r"\w+|[^\w\s]")

Span = tuple[int, int]


class NotThere(ValueError):
    """What an edit names is not in the code any more, or is there more than once."""


def place_of(file: str, text: str, names: list[str]) -> Span:
    """Return where in a file's text the named place begins and ends.

    Raises:
        NotThere: the file has no place of this name, or more than one.
    """
    match Path(file).suffix, names:
        case ".py", _:
            spans = list(_in_python(text, ast.parse(text).body, names))
        case ".sql", [table]:
            spans = list(_matches(rf"^CREATE [^;(]*\b{re.escape(table)} [^;]*;", text))
        case ".md", [heading]:
            spans = list(_matches(rf"^#+ {re.escape(heading)}\n(?:(?!#+ ).*\n?)*", text))
        case _:
            spans = []
    if len(spans) != 1:
        raise NotThere(f"{file} has {len(spans)} places of the name {'::'.join(names)!r}, not one")
    return spans[0]


def _matches(pattern: str, text: str) -> Iterator[Span]:
    yield from (match.span() for match in re.finditer(pattern, text, re.MULTILINE))


def _in_python(text: str, body: list[ast.stmt], names: list[str]) -> Iterator[Span]:
    """Find a function or class, also in another one; or a statement of the store, then a CTE of it."""
    name, *inner = names
    for node in body:
        match node:
            case ast.FunctionDef(name=given) | ast.ClassDef(name=given) if given == name:
                yield from _in_python(text, node.body, inner) if inner else [_span(text, node)]
            case ast.Assign(targets=[ast.Name(id=given)]) | ast.AnnAssign(target=ast.Name(id=given)) if given == name:
                yield from _expressions(text, _span(text, node), *inner) if inner else [_span(text, node)]


def _span(text: str, node: ast.stmt) -> Span:
    lines = text.splitlines(keepends=True)
    first = min(part.lineno for part in (node, *getattr(node, "decorator_list", ())))
    return sum(map(len, lines[: first - 1])), sum(map(len, lines[: node.end_lineno]))


def _expressions(text: str, within: Span, name: str) -> Iterator[Span]:
    """Find a common table expression of a statement, from its name to its last parenthesis."""
    for begin in re.compile(rf"\b{re.escape(name)} AS (?:MATERIALIZED )?\(").finditer(text, *within):
        depth, end = 1, begin.end()
        while depth and end < within[1]:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        yield begin.start(), end


def fragment(fragment: str, place: str) -> re.Pattern[str]:
    """Return what finds a fragment in the text of a place.

    A name in the fragment that the place does not have stands for any of its local variables, each time the same.
    """
    known, pattern, renamed = set(PART.findall(place)), "", list[str]()
    variables = "|".join(sorted(_local_variables(place)))
    parts = PART.findall(fragment)
    for before, part in zip(["", *parts], parts, strict=False):
        if part in renamed:
            found = f"(?P={part})"
        elif part.isidentifier() and part not in known and before != "." and variables:
            found = rf"(?P<{part}>\b(?:{variables})\b)"
            renamed.append(part)
        else:
            found = rf"\b{part}\b" if re.match(r"\w", part) else re.escape(part)
        pattern += found + r"\s*"
    return re.compile(pattern.removesuffix(r"\s*"))


def _local_variables(place: str) -> set[str]:
    """Return the names that a function gives to values; of a statement, which has aliases, none."""
    try:
        tree = ast.parse("if True:\n" + place if place.startswith(" ") else place)
    except SyntaxError:
        return set()
    given = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return given | {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
