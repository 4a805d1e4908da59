"""The rows of the matrix, and what pyproject.toml and the documentation claim because of them."""

import re
import tomllib
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.matrix.rows import PARTS, POSTGRES, ROWS, WITH_DATABASE
from tests.support.pages import PAGES
from tests.support.workers import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: Lines of the table of what was run, by the name of the row.
RUN = {
    line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
    for line in PAGES["docs/versions.md"].splitlines()
    if re.match(r"\| [a-z]+[-.\w]* +\| 3\.", line)
}
#: Those in which workers ran, died, and lost nothing.
PASSED = {name: cells for name, cells in RUN.items() if all(cell.startswith("passed") for cell in cells[-2:])}


def bounds(name: str) -> Requirement:
    """Return what pyproject.toml asks for of a package."""
    asked = [*PROJECT["dependencies"], *(each for extra in PROJECT["optional-dependencies"].values() for each in extra)]
    (requirement,) = [found for found in map(Requirement, asked) if found.name == name and found.specifier]
    return requirement


def test_rows_have_names_of_their_own() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_every_server_that_a_row_wants_can_be_brought() -> None:
    assert {row.postgres for row in ROWS} == set(POSTGRES)
    assert all(release.startswith(f"{major}.") for major, release in POSTGRES.items())


def test_the_parts_that_need_a_database_are_parts() -> None:
    assert set(PARTS) > WITH_DATABASE


def test_both_drivers_are_tried_with_the_lowest_and_with_the_newest() -> None:
    tried = {(row.driver, row.sqlalchemy) for row in ROWS}

    assert {("psycopg2", "2.0.31"), ("psycopg", "2.0.31"), ("psycopg2", ""), ("psycopg", "")} <= tried


@pytest.mark.parametrize(
    "pin", [pin for row in ROWS if row.name == "lowest" for pin in row.pins if "billiard" not in pin]
)
def test_the_lower_bounds_are_what_the_lowest_row_runs(pin: str) -> None:
    name, version = pin.split("==")

    lowest = [each.version for each in bounds(name).specifier if each.operator == ">="]
    assert list(map(Version, lowest)) == [Version(version)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_pins_what_pyproject_allows(row: Any) -> None:
    for requirement in map(Requirement, row.pins):
        if requirement.name != "billiard":
            ((_, version),) = [(each.operator, each.version) for each in requirement.specifier]
            assert bounds(requirement.name).specifier.contains(version), requirement


def test_the_page_has_the_rows_that_there_are() -> None:
    assert list(RUN) == [row.name for row in ROWS]


def test_nothing_on_the_page_has_failed() -> None:
    assert not [name for name, cells in RUN.items() if any("FAILED" in cell for cell in cells)]


def test_the_classifiers_claim_the_pythons_that_were_run() -> None:
    claimed = {
        found[1] for name in PROJECT["classifiers"] if (found := re.fullmatch(r".* :: Python :: (3\.\d+)", name))
    }

    assert claimed == {cells[0] for cells in PASSED.values()}
    assert PROJECT["requires-python"] == f">={min(claimed, key=Version)}"


def test_the_readme_says_the_same_as_the_page() -> None:
    (line,) = re.findall(r"^\| (3\..*) \|$", PAGES["README.md"], re.MULTILINE)
    said = [cell.strip() for cell in line.split("|")]

    assert len(said) == 6
    for number, cell in ((0, said[0]), (1, said[1]), (3, said[2]), (4, said[3]), (6, said[5])):
        run = sorted({Version(cells[number]) for cells in PASSED.values()})
        for bound, version in zip(cell.split(" to "), (run[0], run[-1]), strict=True):
            assert f"{version}.".startswith(f"{bound}."), (cell, version)
