"""Every invariant of the campaign can fail: given books that are wrong in one way, exactly it is broken."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import create_engine

from sagas.store import Store, Timing
from tests.faults.campaign import bank, books
from tests.faults.campaign.broken_books import BREAKS_TOO, SPOILERS, Books, in_order
from tests.support import journal


@pytest.fixture(scope="module")
def bank_url(postgres: Any) -> str:
    """A database with the library's tables, the bank's, and what the invariants read."""
    url: str = postgres.create_database(f"test_{uuid4().hex}")
    store = Store(url, "sagas", Timing())
    store.migrate()
    store.database.dispose()
    engine = create_engine(url)
    with engine.begin() as connection:
        bank.open_for_business(connection)
    engine.dispose()
    return url


@pytest.fixture
def written(bank_url: str) -> Iterator[Books]:
    """Books that are in order so far; whatever is written into them is rolled back."""
    connection = journal.connect(bank_url)
    connection.autocommit = False
    cursor = connection.cursor()
    books.make_views(cursor)
    made = Books(cursor)
    in_order(made)
    yield made
    connection.rollback()
    connection.close()


def broken(written: Books) -> set[str]:
    return {violation.invariant for violation in books.audit(written.cursor)}


def test_books_in_order_break_nothing(written: Books) -> None:
    assert books.audit(written.cursor) == []


@pytest.mark.parametrize("invariant", books.INVARIANTS)
def test_an_invariant_finds_what_breaks_it(invariant: str, written: Books) -> None:
    assert invariant in SPOILERS, f"write into broken_books.py what would break: {invariant}"

    SPOILERS[invariant](written)

    assert broken(written) == {invariant} | BREAKS_TOO.get(invariant, set())


def test_nothing_is_spoilt_for_an_invariant_that_is_gone() -> None:
    assert set(SPOILERS) <= set(books.INVARIANTS)


def test_what_was_spoilt_by_hand_counts_for_the_money_alone(written: Books) -> None:
    for spoil in (still_running_and_excluded, failed_and_excluded):
        spoil(written)
    assert broken(written) == set()


def still_running_and_excluded(written: Books) -> None:
    SPOILERS["every saga ends"](written)
    written.execute("INSERT INTO bank.excluded VALUES (%s, 'a plan that is none')", written.written[-1])


def failed_and_excluded(written: Books) -> None:
    SPOILERS["a saga fails only where the campaign made it impossible to go on"](written)
    written.execute("INSERT INTO bank.excluded VALUES (%s, 'data that is a list')", written.written[-1])
