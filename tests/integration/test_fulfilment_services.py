"""What is committed belongs to its buyer, on a real PostgreSQL, whoever calls and however often."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from types import NoneType

import pytest
from sqlalchemy.exc import IntegrityError

from config.demo import faults, shelves
from config.demo.books import Violation, audit
from tasks.services import inventory, notification, payment, shipping
from tasks.services.database import engine
from tasks.services.errors import KeyReused, NotHeld, Refused
from tasks.services.tables import create_tables
from tests.support.services import at_once, execute, kinds

PEN = [{"sku": "pen", "quantity": 2}]
PRICE = Decimal("9.90")


@pytest.fixture(autouse=True)
def tables(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The shop's tables in a fresh database, with twenty pens on the shelf."""
    monkeypatch.setenv("SAGAS_DATABASE_URL", database_url)
    create_tables(engine())
    shelves.stock_up("pen", 20)
    yield
    engine().dispose()


def reserve(order_id: str) -> str:
    return inventory.reserve(order_id, PEN, key=f"{order_id}:reserve")["reservation_id"]


def fulfil(order_id: str, *, told: bool = True) -> None:
    """What the fulfilment saga does if all goes well, or if all but the notification does."""
    reservation_id = reserve(order_id)
    payment.charge(order_id, PRICE, key=f"{order_id}:charge")
    inventory.commit(order_id, reservation_id, key=f"{order_id}:commit")
    shipping.create(order_id, reservation_id, key=f"{order_id}:ship")
    if told:
        notification.send(order_id, "order shipped", key=f"{order_id}:tell")


def compensate(order_id: str) -> None:
    """What it does if the inventory does not commit."""
    reserve(order_id)
    payment.charge(order_id, PRICE, key=f"{order_id}:charge")
    payment.refund(key=f"{order_id}:charge")
    inventory.release(key=f"{order_id}:reserve")


def violations(
    *, fulfilled: tuple[str, ...] = (), compensated: tuple[str, ...] = (), quiet: timedelta | None = None
) -> tuple[Violation, ...]:
    return audit(engine(), fulfilled=fulfilled, compensated=compensated, quiet=quiet).violations


# -- committing


def test_what_was_committed_can_be_shipped_and_not_be_released() -> None:
    reservation_id = reserve("42")
    payment.charge("42", PRICE, key="c")
    inventory.commit("42", reservation_id, key="k")

    with pytest.raises(NotHeld, match="it is committed"):
        inventory.release(key="42:reserve")
    assert audit(engine()).stock["pen"].held == 2

    shipping.create("42", reservation_id, key="s")
    assert violations(fulfilled=("42",)) == ()


def test_what_was_released_cannot_be_committed() -> None:
    reservation_id = reserve("42")
    inventory.release(key="42:reserve")

    with pytest.raises(NotHeld, match="it is released"):
        inventory.commit("42", reservation_id, key="k")


def test_an_order_can_commit_only_its_own_reservation_and_only_once() -> None:
    reservation_id = reserve("42")

    with pytest.raises(NotHeld, match="not one of its own"):
        inventory.commit("43", reservation_id, key="k43")
    inventory.commit("42", reservation_id, key="k")
    with pytest.raises(NotHeld, match="it is committed"):
        inventory.commit("42", reservation_id, key="again")
    with pytest.raises(KeyReused):
        inventory.commit("42", reserve("44"), key="k")


def test_of_a_commitment_and_a_release_at_the_same_moment_one_is_refused() -> None:
    reservations = {str(number): reserve(str(number)) for number in range(10)}

    answers = at_once(
        *(lambda o=o, r=r: inventory.commit(o, r, key=f"{o}:commit") for o, r in reservations.items()),
        *(lambda o=o: inventory.release(key=f"{o}:reserve") for o in reservations),
    )

    for commitment, release in zip(answers[:10], answers[10:], strict=True):
        assert (type(commitment), type(release)) in {(dict, NotHeld), (NotHeld, NoneType)}
    assert "committed but released" not in kinds(violations())


def test_a_commitment_that_is_refused_leaves_the_goods_to_be_released() -> None:
    reservation_id = reserve("42")
    faults.inject("inventory", "commit", "refuse", order_id="42")

    with pytest.raises(Refused, match="by injection"):
        inventory.commit("42", reservation_id, key="k")

    inventory.release(key="42:reserve")
    assert audit(engine()).orders["42"].released == 2


def test_the_database_itself_refuses_to_release_what_was_committed() -> None:
    fulfil("42")

    with pytest.raises(IntegrityError, match="committed_is_not_released"):
        execute("UPDATE shop.reservation SET status = 'released'")


# -- the books


def test_books_of_fulfilments_add_up_whether_their_buyers_were_told_or_not() -> None:
    fulfil("told")
    fulfil("untold", told=False)
    compensate("undone")

    assert violations(fulfilled=("told", "untold"), compensated=("undone",), quiet=timedelta(0)) == ()


def test_an_order_must_tell_its_buyer_and_a_fulfilment_must_commit() -> None:
    fulfil("42", told=False)
    execute("UPDATE shop.reservation SET committed_at = NULL")

    assert kinds(audit(engine(), completed=["42"]).violations) == {"not told"}
    assert kinds(violations(fulfilled=("42",))) == {"not committed"}


def test_a_fulfilment_past_its_pivot_should_have_shipped_once_it_has_been_quiet_for_too_long() -> None:
    inventory.commit("42", reserve("42"), key="k")
    payment.charge("42", PRICE, key="c")

    assert violations(quiet=timedelta(hours=1)) == ()
    assert kinds(violations(quiet=timedelta(0))) == {"not shipped", "still held"}


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        (
            "committed twice",
            "INSERT INTO shop.reservation (key, order_id, committed_at) VALUES ('x', 'good', clock_timestamp())",
        ),
        ("committed unpaid", "INSERT INTO shop.refund SELECT 'x', id, amount FROM shop.charge WHERE key ~ '^good'"),
        ("committed all the same", "UPDATE shop.reservation SET order_id = 'bad' WHERE order_id = 'good'"),
        ("not committed", "UPDATE shop.reservation SET committed_at = NULL"),
        ("not shipped", "DELETE FROM shop.shipment"),
        ("not charged", "INSERT INTO shop.refund SELECT 'x', id, amount FROM shop.charge WHERE key ~ '^good'"),
        ("told twice", "INSERT INTO shop.notification VALUES ('x', 'x', 'good', 'order shipped')"),
    ],
)
def test_the_audit_finds_broken_books(kind: str, damage: str) -> None:
    fulfil("good")
    compensate("bad")
    assert violations(fulfilled=("good",), compensated=("bad",)) == ()

    execute(damage)

    assert kind in kinds(violations(fulfilled=("good",), compensated=("bad",)))


def test_the_audit_finds_what_only_a_lost_constraint_lets_through() -> None:
    fulfil("42")
    execute(
        "ALTER TABLE shop.reservation DROP CONSTRAINT committed_is_not_released",
        "UPDATE shop.reservation SET status = 'released'",
    )

    assert "committed but released" in kinds(violations(fulfilled=("42",)))


def test_a_fulfilment_cannot_have_ended_both_ways() -> None:
    with pytest.raises(ValueError, match="42"):
        violations(fulfilled=("42",), compensated=("42",))
