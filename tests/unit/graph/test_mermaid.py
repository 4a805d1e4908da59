"""The Mermaid text. Its grammar here is stricter than Mermaid's: what fits it cannot mean anything else there."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagas.graph.mermaid import escaped, label
from sagas.model import Plan
from tests.unit.graph.golden import as_mermaid
from tests.unit.graph.samples import HOSTILE, Look, failing, named, wide
from tests.unit.graph.scenes import SCENES

TEXT = r'"(?:[^\W_]|[ ,()/]|(?<=[^\W_])[._-](?=[^\W_])|<br/>|#\d+;)+"'
ID = r"(?:start|done|fork\d+|join\d+|[sc]\d+_\d+|u\d*)"
LINES = [
    r"flowchart (?:TD|LR)",
    rf"{ID}(?:\[{TEXT}\]|\(\[{TEXT}\]\)|\[\[{TEXT}\]\]|\({TEXT}\)|\(\({TEXT}\)\)|\{{\{{{TEXT}\}}\}}):::[a-z]+",
    rf"{ID} (?:-->|==>|-\.-|-\.->)(?:\|{TEXT}\|)? {ID}",
    rf"subgraph {ID} \[{TEXT}\]",
    r"direction (?:TB|LR)",
    r"end",
    rf"style {ID} [a-z:#0-9,]+",
    r"linkStyle \d+(?:,\d+)* stroke:#[0-9a-f]{6}",
    r"classDef [a-z]+ [a-z:#0-9,-]+",
]
GRAMMAR = re.compile("|".join(f"(?:{line})" for line in LINES))


def drawn(scene: Plan | Look) -> list[str]:
    """Return the lines of a chart, each of which fits the grammar."""
    text = as_mermaid(scene)
    assert text.endswith("\n")
    lines = [line.strip() for line in text[:-1].split("\n")]
    assert [line for line in lines if not GRAMMAR.fullmatch(line)] == []
    return lines


@pytest.mark.parametrize("name", SCENES)
def test_every_chart_fits_the_grammar(name: str) -> None:
    assert drawn(SCENES[name])


def test_fifty_lanes_are_stacked() -> None:
    lines = drawn(wide(50, undo_at_once=True))

    assert lines[0] == "flowchart LR"
    assert 'c1_49("undo_store_49<br/>undoes store_49"):::undo' in lines


def ways(lines: list[str]) -> list[str]:
    return [line for line in lines if re.match(rf"{ID} [-=]", line)]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_no_name_and_no_error_breaks_out(name: str) -> None:
    assert len(ways(drawn(named(name)))) == len(ways(drawn(named("tame"))))
    assert len(drawn(failing(name))) == len(drawn(failing("tame")))


@given(st.text())
def test_nor_does_any_other_text(name: str) -> None:
    assert len(drawn(failing(name))) == len(drawn(failing("tame")))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tasks.orders.reserve_2", "tasks.orders.reserve_2"),
        ("1. a", "1#46; a"),
        ("- a", "#45; a"),
        ("_a_ __b", "#95;a#95; #95;#95;b"),
        ('"#;<>&|`', "#34;#35;#59;#60;#62;#38;#124;#96;"),
        ("$$", "#36;#8203;#36;"),
        ("fa:fa-car", "fa#58;#8203;fa-car"),
        (r"C:\new", "C#58;#92;#8203;new"),
        ("für 漢字", "für 漢字"),
    ],
)
def test_what_could_mean_something_is_an_entity(text: str, says: str) -> None:
    assert escaped(text) == says


def test_a_label_has_one_line_for_each_text_that_there_is() -> None:
    assert label("a", None, "", "b") == '"a<br/>b"'
    assert len(label("x" * 500)) < 140


def test_a_label_is_never_empty_for_that_would_be_an_error() -> None:
    assert label("", None) == '" "'
