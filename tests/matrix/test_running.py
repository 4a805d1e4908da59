"""How what ran is judged, and the table of it."""

import pytest

from tests.matrix.rows import Row
from tests.matrix.running import Result, judgement
from tests.matrix.table import listing, table

ROW = Row(name="low", why="lows", python="3.11", postgres="14", driver="psycopg", celery="5.4.0")


@pytest.mark.parametrize(
    ("status", "output", "said"),
    [
        (0, "told in 29 s; stopping everything that was started\n", "passed"),
        (0, ".....\n4395 passed, 1 skipped in 177.72s (0:02:57)\n", "passed 4,395"),
        (1, "FAILED tests/x.py::test\n6 failed, 4395 passed, 1 skipped in 177.72s\n", "FAILED: 6 of 4401"),
        (1, "2 failed, 1 error in 3.1s\n", "FAILED: 3 of 3"),
        (1, "3 errors in 3.1s\n", "FAILED: 3 of 3"),
        (1, "Traceback\nTimeoutError: waited 60 s\n", "FAILED: status 1"),
        (2, "", "FAILED: status 2"),
        # A line that says that something passed is no proof of it
        (4, "ERROR: usage: 3 passed\n", "FAILED: status 4"),
    ],
)
def test_what_a_part_said_is_judged_by_its_exit_status(status: int, output: str, said: str) -> None:
    assert judgement(status, output) == said


def test_a_row_has_failed_where_one_part_has() -> None:
    assert Result(row=ROW, parts={"quick": "passed 9", "story": "FAILED: status 1"}).has_failed
    assert not Result(row=ROW, parts={"quick": "passed 9"}).has_failed


def test_a_row_that_is_not_here_has_neither_failed_nor_passed() -> None:
    absent = Result(row=ROW, absent="no python3.11")

    assert not absent.has_failed
    assert "passed" not in table([absent], ["quick"])


def test_the_table_has_a_line_for_each_row_and_says_why_one_is_not_here() -> None:
    found = {"celery": "5.4.0", "kombu": "5.6.2", "sqlalchemy": "2.1.9", "django": "5.2.19", "psycopg": "3.3.9"}
    ran = Result(row=ROW, versions=found, parts={"quick": "passed 9"}, seconds=12.3)

    assert table([ran, Result(row=ROW, absent="no python3.11 on PATH")], ["quick"]).splitlines() == [
        "| row | Python | Celery | kombu  | SQLAlchemy | Django | driver        | PostgreSQL | quick    | seconds |",
        "|-----|--------|--------|--------|------------|--------|---------------|------------|----------|---------|",
        "| low | 3.11   | 5.4.0  | 5.6.2  | 2.1.9      | 5.2.19 | psycopg 3.3.9 | 14         | passed 9 | 12      |",
        "| low | 3.11   | 5.4.0  | newest | newest     | newest | psycopg       | 14         | not here | 0       |",
        "",
        "low is not here: no python3.11 on PATH.",
    ]


def test_the_list_has_the_pins_of_each_row() -> None:
    assert "celery==5.4.0" in listing([ROW])
    assert "requirements.lock" in listing([Row(name="new", why="news", python="3.13", postgres="18")])
