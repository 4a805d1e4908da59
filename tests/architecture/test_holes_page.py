"""`docs/holes.md` has each hole by its letter, with tests of that letter that exist."""

import re
from pathlib import Path

import pytest

from tests.holes.table import TABLE
from tests.support.markdown import Page
from tests.support.workers import ROOT

PAGE = Page(ROOT / "docs" / "holes.md")
#: Where the letters of inline continuation are those of its own list.
INLINE = [Path("tests/integration") / name for name in ("test_continuation.py", "test_between_two_steps.py")]

ENTRIES = dict(re.findall(r"^### ((?:Inline )?[A-Z]\d+)\. (.*?)(?=^##|\Z)", PAGE.text, re.DOTALL | re.MULTILINE))
NO_TEST = "no test of its own"
LAST = {"C": 10, "H": 13, "M": 14, "D": 37, "B": 19, "Inline C": 17}
#: Of choreographies: those of the first rank, and one of the second.
OF_CHOREOGRAPHY = [*range(1, 34), 50]


def names_by_letter() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name in re.findall(r"def (test_\w+)\(", path.read_text()):
            letters = re.match(r"test_((?:[bcdhmv]\d+_)+)", name)
            for letter in re.findall(r"[a-z]\d+", letters[1]) if letters else ():
                own = f"Inline {letter.upper()}" if path.relative_to(ROOT) in INLINE else letter.upper()
                found.setdefault(own, set()).add(name)
    return found


def named(entry: str) -> set[str]:
    return set(re.findall(r"`(test_\w+)`", entry))


def test_every_hole_has_an_entry_in_its_order() -> None:
    known = [f"{group}{number}" for group, last in LAST.items() for number in range(1, last + 1)]

    assert list(ENTRIES) == [*known, *(f"V{number}" for number in OF_CHOREOGRAPHY)]


def test_every_letter_in_the_name_of_a_test_has_an_entry() -> None:
    assert set(names_by_letter()) - set(ENTRIES) == set()


@pytest.mark.parametrize("letter", ENTRIES)
def test_an_entry_names_a_test_of_its_letter_or_says_that_there_is_none(letter: str) -> None:
    entry, own = ENTRIES[letter], names_by_letter().get(letter, set())

    # One that shows two holes has both letters, whichever file it is in.
    by_name = {name for name in named(entry) if f"_{letter.removeprefix('Inline ').lower()}_" in name}
    if NO_TEST in " ".join(entry.split()):
        assert not own, f"{letter} has tests"
    else:
        assert by_name, f"{letter} names no test of its own"
        assert by_name & own or letter.startswith("Inline"), f"{letter} names tests of another hole"


@pytest.mark.parametrize("letter", ENTRIES)
def test_an_entry_is_a_paragraph_that_says_what_prevents_it(letter: str) -> None:
    title, _, paragraph = ENTRIES[letter].partition("\n\n")

    assert 10 < len(title) < 80
    assert "\n\n" not in paragraph.strip(), f"{letter} is more than one paragraph"
    assert len(paragraph) < 1_000


def test_every_hole_with_a_reversal_is_on_the_page() -> None:
    assert {reversal.letter for reversal in TABLE} - {entry.removeprefix("Inline ") for entry in ENTRIES} == set()
