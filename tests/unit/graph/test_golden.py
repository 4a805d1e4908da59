"""The pictures are those of the golden files; `python -m tests.unit.graph.golden` writes these anew."""

import pytest

from tests.unit.graph.golden import DIRECTORY, pictures

PICTURES = pictures()


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_its_golden_file(name: str) -> None:
    assert PICTURES[name] == (DIRECTORY / name).read_text(), "see `git diff` after `python -m tests.unit.graph.golden`"


def test_there_is_no_golden_file_without_a_picture() -> None:
    assert {file.name for file in DIRECTORY.iterdir()} == set(PICTURES)
