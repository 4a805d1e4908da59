"""The events of a history and the reasons of errors have their names in one place, and a page that explains each."""

import ast
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import pytest

from sagas import HistoryEvent, Reason
from sagas.model import FINAL, ExecutionStatus, vocabulary
from sagas.model.state import RESOLVED
from tests.architecture.test_layers import SOURCES
from tests.support.workers import ROOT

HOME = Path(vocabulary.__file__)
PAGE = (ROOT / "docs" / "events-and-reasons.md").read_text()
#: What statements compare with the column, and what they write into it.
IN_SQL = re.compile(r"event = '(\w+)'|INSERT INTO \{s\}\.saga_event \([^)]*\)\s+SELECT \w+, '(\w+)'")


def strings(path: Path) -> Iterator[str]:
    nodes = ast.walk(ast.parse(path.read_text()))
    return (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def everywhere_else() -> list[Path]:
    return [path for path in SOURCES if path != HOME]


@pytest.mark.parametrize("words", [HistoryEvent, Reason])
def test_the_page_explains_every_word_in_its_order(words: type[StrEnum]) -> None:
    explained = re.findall(r"^\| `([\w.]+)` \| .+ \| .+ \|$", PAGE, re.MULTILINE)

    assert [word for word in explained if word.startswith("sagas.") is (words is Reason)] == [*words]


@pytest.mark.parametrize("words", [HistoryEvent, Reason])
def test_every_word_says_who_writes_it_and_what_to_do(words: type[StrEnum]) -> None:
    commented = re.findall(r'^    \w+ = "([\w.]+)"  # [^;]+; [^;]+$', HOME.read_text(), re.MULTILINE)

    assert [word for word in words if word not in commented] == []


def test_a_word_is_named_after_its_value() -> None:
    assert [word.name for word in HistoryEvent] == [word.value.upper() for word in HistoryEvent]
    spelled = [re.sub(r"(?<!^)(?=[A-Z])", "_", word.value.removeprefix("sagas.")).upper() for word in Reason]
    assert [word.name for word in Reason] == spelled


def test_no_reason_is_written_as_a_bare_string() -> None:
    bare = [
        (path.name, text)
        for path in everywhere_else()
        for text in strings(path)
        if re.fullmatch(r"sagas\.[A-Z]\w*", text)
    ]

    assert bare == []


def test_statements_know_only_events_of_the_history() -> None:
    found = {one or other for path in SOURCES for text in strings(path) for one, other in IN_SQL.findall(text)}

    assert found == {"attempt_failed", "purged", "replayed", "signal_too_late", "skip_requested", "sweep_failed"}
    assert found <= {*HistoryEvent}


def test_every_statement_that_writes_events_names_its_own() -> None:
    """But for the one that writes what `decide` has noted."""
    sources = [path for path in SOURCES if path.name != "loop_statements.py"]
    writing = [text for path in sources for text in strings(path) if "INSERT INTO {s}.saga_event" in text]

    assert len(writing) == 4
    assert all(IN_SQL.search(text[text.index("INSERT INTO {s}.saga_event") :]) for text in writing)


def test_every_end_of_a_row_is_an_event() -> None:
    for status in FINAL:
        HistoryEvent(status.value)
    for what in ("step", "compensation"):
        for status in ("started", *RESOLVED, ExecutionStatus.FAILED):
            HistoryEvent(f"{what}_{status}")


@pytest.mark.parametrize("words", [HistoryEvent, Reason])
def test_every_word_is_used(words: type[StrEnum]) -> None:
    code = "\n".join(path.read_text() for path in everywhere_else())
    composed = {f"{what}_{end}" for what in ("step", "compensation") for end in ("started", *RESOLVED, "failed")}
    used = {*re.findall(rf"\b{words.__name__}\.(\w+)", code)}

    for word in words:
        in_sql = f"'{word}'" in code
        assert word.name in used or in_sql or word in composed or word in {*FINAL}, word
