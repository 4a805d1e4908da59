"""The shop's services keep their promises on a real PostgreSQL, whoever calls them and however often."""

import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError

from config.demo import faults, shelves
from config.demo.books import Books, audit
from tasks.services import barrier, inventory, notification, payment, shipping
from tasks.services.barrier import Call
from tasks.services.database import engine, transaction
from tasks.services.errors import DoorClosed, InvalidRequest, KeyReused, NotHeld, OutOfStock, Refused
from tasks.services.tables import create_tables

ROOT = Path(__file__).resolve().parents[2]
PEN = [{"sku": "pen", "quantity": 2}]
PRICE = Decimal("9.90")


@pytest.fixture(autouse=True)
def shop(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The shop's tables in a fresh database, with ten pens and ten cups on the shelf."""
    monkeypatch.setenv("SAGAS_DATABASE_URL", database_url)
    faults.install()
    create_tables(engine())
    shelves.stock_up("pen", 10)
    shelves.stock_up("cup", 10)
    yield engine()
    engine().dispose()


def at_once(calls: int, call: Callable[[int], Any]) -> list[Any]:
    """Call with 0, 1, … in as many threads, all let go at one moment; errors are returned, not raised."""
    start = threading.Barrier(calls)

    def run(number: int) -> Any:
        start.wait()
        try:
            return call(number)
        except Exception as error:
            return error

    with ThreadPoolExecutor(calls) as threads:
        return list(threads.map(run, range(calls)))


def in_child(call: Callable[[], object]) -> int | None:
    """Run in a forked process; its exit code (negative: the signal that killed it)."""
    child = multiprocessing.get_context("fork").Process(target=call)
    child.start()
    child.join(30)
    return child.exitcode


def complete(order_id: str) -> None:
    """What the order saga does if all goes well."""
    reserved = inventory.reserve(order_id, PEN, key=f"{order_id}:reserve")
    payment.charge(order_id, PRICE, key=f"{order_id}:charge")
    shipping.create(order_id, reserved["reservation_id"], key=f"{order_id}:ship")
    notification.send(order_id, "order confirmed", key=f"{order_id}:confirm")


def compensate(order_id: str) -> None:
    """What it does if the shipment says no."""
    inventory.reserve(order_id, PEN, key=f"{order_id}:reserve")
    payment.charge(order_id, PRICE, key=f"{order_id}:charge")
    payment.refund(key=f"{order_id}:charge")
    inventory.release(key=f"{order_id}:reserve")


def kinds(books: Books) -> set[str]:
    return {violation.kind for violation in books.violations}


def execute(*statements: str) -> None:
    with transaction() as connection:
        for statement in statements:
            connection.execute(text(statement))


# -- tables


def test_many_processes_may_create_the_tables_at_once() -> None:
    execute("DROP SCHEMA shop CASCADE")

    answers = at_once(8, lambda _: create_tables(engine()))

    assert answers == [None] * 8
    assert audit(engine()).stock == {}


def test_a_child_process_uses_an_engine_of_its_own_and_leaves_its_parents_connections_alone() -> None:
    ours = engine()

    def other_engine_works() -> None:
        assert engine() is not ours
        complete("42")

    assert in_child(other_engine_works) == 0
    assert engine() is ours
    assert kinds(audit(ours, completed=["42"])) == set()


def test_a_lost_database_connection_is_a_connection_error() -> None:
    def lose_it() -> None:
        with transaction() as connection:
            own = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            with transaction() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": own})
            connection.execute(text("SELECT 1"))

    with pytest.raises(ConnectionError, match="did not answer"):
        lose_it()


# -- keys


def test_the_same_key_twenty_times_at_once_does_it_once_and_answers_the_same() -> None:
    reservations = at_once(20, lambda _: inventory.reserve("42", PEN, key="r"))
    charges = at_once(20, lambda _: payment.charge("42", PRICE, key="c"))
    reservation_id = reservations[0]["reservation_id"]
    shipments = at_once(20, lambda _: shipping.create("42", reservation_id, key="s"))
    messages = at_once(20, lambda _: notification.send("42", "order confirmed", key="n"))

    for answers in (reservations, charges, shipments, messages):
        assert answers == [answers[0]] * 20
    books = audit(engine(), completed=["42"])
    assert kinds(books) == set()
    assert books.orders["42"].shipped == 2
    assert books.orders["42"].charged == PRICE
    assert books.revenue == PRICE


def test_an_undo_twenty_times_at_once_undoes_once() -> None:
    inventory.reserve("42", PEN, key="r")
    payment.charge("42", PRICE, key="c")

    refunds = at_once(20, lambda _: payment.refund(key="c"))
    releases = at_once(20, lambda _: inventory.release(key="r"))

    assert refunds == releases == [None] * 20
    books = audit(engine(), compensated=["42"])
    assert kinds(books) == set()
    assert books.orders["42"].refunded == PRICE
    assert books.stock["pen"].available == 10


def test_a_key_that_comes_back_with_another_request_is_refused() -> None:
    inventory.reserve("42", PEN, key="r")
    payment.charge("42", PRICE, key="c")

    with pytest.raises(KeyReused, match="order 42"):
        inventory.reserve("43", PEN, key="r")
    with pytest.raises(KeyReused, match="order 42"):
        payment.charge("42", Decimal("9.91"), key="c")


def test_a_refused_action_leaves_its_key_free() -> None:
    too_many = [{"sku": "pen", "quantity": 11}]
    with pytest.raises(OutOfStock, match="11 × pen asked for, 10 left"):
        inventory.reserve("42", too_many, key="r")

    shelves.stock_up("pen", 1)

    assert inventory.reserve("42", too_many, key="r")["reservation_id"]


# -- the barrier


def test_an_undo_before_its_action_undoes_nothing_and_closes_the_door() -> None:
    payment.refund(key="c")
    inventory.release(key="r")

    with pytest.raises(DoorClosed):
        payment.charge("42", PRICE, key="c")
    with pytest.raises(DoorClosed):
        inventory.reserve("42", PEN, key="r")
    assert audit(engine()).orders == {}


def test_an_action_that_was_undone_cannot_be_repeated() -> None:
    compensate("42")

    with pytest.raises(DoorClosed):
        inventory.reserve("42", PEN, key="42:reserve")
    with pytest.raises(DoorClosed):
        payment.charge("42", PRICE, key="42:charge")
    assert kinds(audit(engine(), compensated=["42"])) == set()


def test_an_action_and_its_undo_at_the_same_moment_leave_nothing_behind() -> None:
    def race(number: int) -> object:
        order_id, undo = divmod(number, 2)
        if undo:
            inventory.release(key=f"r{order_id}")
            payment.refund(key=f"c{order_id}")
            return ()
        reserved = inventory.reserve(str(order_id), [{"sku": "pen", "quantity": 1}], key=f"r{order_id}")
        return reserved, payment.charge(str(order_id), PRICE, key=f"c{order_id}")

    answers = at_once(20, race)

    assert all(isinstance(answer, tuple | DoorClosed) for answer in answers)
    books = audit(engine(), compensated=[str(n) for n in range(10)])
    assert kinds(books) == set()
    assert books.stock["pen"].available == 10


def test_an_undo_waits_for_the_action_that_is_under_way() -> None:
    with ThreadPoolExecutor(1) as thread:
        refunds = []

        def take(connection: Connection) -> dict[str, str]:
            refunds.append(thread.submit(payment.refund, key="c"))
            wait_until(lambda: blocked_backends() == 1)
            assert not refunds[0].done()
            connection.execute(text("INSERT INTO shop.charge (key, order_id, amount) VALUES ('c', '42', 9.90)"))
            return {"charge_id": "x"}

        barrier.once(Call("payment", "charge", "c", "42"), {"amount": "9.90"}, take)
        refunds[0].result(10)
    assert audit(engine()).orders["42"].refunded == PRICE


def test_undoing_one_attempt_leaves_another_saga_of_the_same_order_alone() -> None:
    compensate("42")
    again = inventory.reserve("42", PEN, key="second:reserve")

    inventory.release(key="42:reserve")

    assert shipping.create("42", again["reservation_id"], key="second:ship")


# -- stock and money


def test_stock_never_goes_below_zero_however_many_want_the_last_piece() -> None:
    answers = at_once(20, lambda n: inventory.reserve(str(n), [{"sku": "pen", "quantity": 3}], key=f"r{n}"))

    assert sum(isinstance(answer, OutOfStock) for answer in answers) == 17
    stock = audit(engine()).stock["pen"]
    assert (stock.available, stock.held) == (1, 9)


def test_orders_for_the_same_articles_in_any_sequence_do_not_deadlock() -> None:
    items = [{"sku": "pen", "quantity": 1}, {"sku": "cup", "quantity": 1}]

    def reserve_and_release(number: int) -> None:
        for turn in range(5):
            key = f"{number}:{turn}"
            inventory.reserve(str(number), items[:: 1 if number % 2 else -1], key=key)
            inventory.release(key=key)

    assert at_once(10, reserve_and_release) == [None] * 10
    books = audit(engine(), compensated=[str(n) for n in range(10)])
    assert kinds(books) == set()
    assert books.stock["cup"].available == 10


def test_an_order_gets_all_that_it_asks_for_or_nothing() -> None:
    with pytest.raises(OutOfStock):
        inventory.reserve("42", [*PEN, {"sku": "cup", "quantity": 11}], key="r")

    assert audit(engine()).stock["pen"].available == 10


@pytest.mark.parametrize(
    "items",
    [
        [],
        [{"sku": "pen"}],
        [{"sku": "pen", "quantity": 0}],
        [{"quantity": 1}],
        [{"sku": "sword", "quantity": 1}],
    ],
)
def test_a_request_that_makes_no_sense_is_a_clean_no(items: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidRequest):
        inventory.reserve("42", items, key="r")


@pytest.mark.parametrize("amount", [0.1, Decimal(0), Decimal("-1"), Decimal("0.001"), Decimal("NaN"), "much", None])
def test_only_money_can_be_charged(amount: Any) -> None:
    with pytest.raises(InvalidRequest):
        payment.charge("42", amount, key="c")


def test_an_amount_keeps_its_cents() -> None:
    for number in range(3):
        payment.charge("42", "0.10", key=f"c{number}")

    assert audit(engine()).orders["42"].charged == Decimal("0.30")


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        (
            "INSERT INTO shop.refund (charge_id, amount) SELECT id, amount FROM shop.charge",
            "one_refund_per_charge",
        ),
        ("UPDATE shop.refund SET amount = amount - 0.01", "refund_is_the_charge"),
        ("UPDATE shop.stock SET available = available + 1", "stock_conserved"),
        ("UPDATE shop.stock SET available = available - 11, held = held + 11", "available_check"),
    ],
)
def test_the_database_itself_refuses_wrong_books(statement: str, constraint: str) -> None:
    compensate("42")

    with pytest.raises(IntegrityError, match=constraint):
        execute(statement)


def test_what_was_released_cannot_be_shipped() -> None:
    reserved = inventory.reserve("42", PEN, key="r")
    inventory.release(key="r")

    with pytest.raises(NotHeld, match="it is released"):
        shipping.create("42", reserved["reservation_id"], key="s")


def test_what_was_shipped_cannot_be_released() -> None:
    complete("42")

    with pytest.raises(NotHeld, match="it is shipped"):
        inventory.release(key="42:reserve")


def test_an_order_cannot_ship_what_another_one_holds() -> None:
    reserved = inventory.reserve("42", PEN, key="r")

    with pytest.raises(NotHeld, match="not one of its own"):
        shipping.create("43", reserved["reservation_id"], key="s")


# -- faults


def test_a_refusal_comes_before_any_effect_and_as_often_as_asked_for() -> None:
    fault = faults.inject("payment", "charge", "refuse", times=2)

    for _ in range(2):
        with pytest.raises(Refused, match="by injection"):
            payment.charge("42", PRICE, key="c")
    payment.charge("42", PRICE, key="c")

    assert faults.hits(fault) == 2
    assert audit(engine()).orders["42"].live_charges == 1


def test_a_call_whose_effect_exists_is_never_refused() -> None:
    charged = payment.charge("42", PRICE, key="c")
    faults.inject("payment", "charge", "refuse")

    assert payment.charge("42", PRICE, key="c") == charged


def test_an_error_leaves_it_open_whether_the_effect_happened() -> None:
    faults.inject("payment", "charge", "error", moment="before", times=1)
    faults.inject("payment", "charge", "error", moment="after", times=1)

    with pytest.raises(ConnectionError):
        payment.charge("42", PRICE, key="c")
    # Given up before: the fault that waited for the effect is still there.
    assert audit(engine()).orders == {}
    with pytest.raises(ConnectionError):
        payment.charge("42", PRICE, key="c")
    assert audit(engine()).orders["42"].charged == PRICE
    assert payment.charge("42", PRICE, key="c")["charge_id"]


def test_a_latency_before_the_effect_can_be_waited_for() -> None:
    fault = faults.inject("inventory", "reserve", "latency", seconds=0.5, times=1)

    with ThreadPoolExecutor(1) as thread:
        began = time.monotonic()
        reservation = thread.submit(inventory.reserve, "42", PEN, key="r")
        wait_until(lambda: faults.hits(fault) == 1)
        assert audit(engine()).orders == {}
        reservation.result(10)
        assert time.monotonic() - began >= 0.5


def test_a_latency_after_the_effect_delays_the_answer_only() -> None:
    fault = faults.inject("inventory", "reserve", "latency", moment="after", seconds=0.5)

    with ThreadPoolExecutor(1) as thread:
        reservation = thread.submit(inventory.reserve, "42", PEN, key="r")
        wait_until(lambda: faults.hits(fault) == 1)
        assert audit(engine()).orders["42"].held == 2
        assert not reservation.done()


@pytest.mark.parametrize(("moment", "charges"), [("before", 0), ("after", 1)])
def test_a_crash_kills_the_caller_before_or_after_the_effect(moment: str, charges: int) -> None:
    faults.inject("payment", "charge", "crash", moment=moment, times=1)

    # A process of its own, not a fork of this one: whatever threads other tests left here must not matter.
    code = (
        "from decimal import Decimal; from config.demo import faults; from tasks.services import payment; "
        "faults.install(); payment.charge('42', Decimal(%r), key='c')"
    )
    caller = subprocess.run([sys.executable, "-c", code % str(PRICE)], cwd=ROOT, timeout=60)
    assert caller.returncode == -signal.SIGKILL

    assert len(audit(engine()).orders) == charges
    assert payment.charge("42", PRICE, key="c")["charge_id"]
    assert audit(engine()).orders["42"].live_charges == 1


def test_a_fault_for_one_order_spares_the_others_and_finds_its_undo() -> None:
    payment.charge("42", PRICE, key="c42")
    payment.charge("43", PRICE, key="c43")
    faults.inject("payment", "refund", "error", order_id="42")
    faults.inject("inventory", "reserve", "refuse", order_id="42")

    payment.refund(key="c43")
    inventory.reserve("43", PEN, key="r43")
    with pytest.raises(ConnectionError):
        payment.refund(key="c42")
    with pytest.raises(Refused):
        inventory.reserve("42", PEN, key="r42")


def test_a_refused_undo_leaves_the_action_as_it_was() -> None:
    payment.charge("42", PRICE, key="c")
    faults.inject("payment", "refund", "refuse", times=1)

    with pytest.raises(Refused):
        payment.refund(key="c")

    assert audit(engine()).orders["42"].live_charges == 1
    payment.refund(key="c")
    assert audit(engine()).orders["42"].refunded == PRICE


def test_a_limited_fault_strikes_no_more_calls_than_it_may_at_once() -> None:
    fault = faults.inject("notification", "send", "error", times=2)

    with ThreadPoolExecutor(1) as thread:
        with transaction() as connection:
            connection.execute(text("SELECT FROM shop.fault FOR UPDATE"))
            calls = thread.submit(at_once, 5, lambda n: notification.send("42", str(n), key=str(n)))
            wait_until(lambda: blocked_backends() == 5)
        answers = calls.result(10)

    assert sum(isinstance(answer, ConnectionError) for answer in answers) == 2
    assert sum(isinstance(answer, dict) for answer in answers) == 3
    assert faults.hits(fault) == 2


def test_cleared_faults_strike_no_more() -> None:
    for operation in ("charge", "refund"):
        faults.inject("payment", operation, "error")

    faults.clear()

    payment.charge("42", PRICE, key="c")
    payment.refund(key="c")


def test_a_misspelled_fault_is_refused_instead_of_never_striking() -> None:
    with pytest.raises(ValueError, match="no operation"):
        faults.inject("payment", "pay", "refuse")
    with pytest.raises(ValueError, match="explode"):
        faults.inject("payment", "charge", "explode")


# -- the books


def test_books_of_completed_and_compensated_orders_add_up() -> None:
    for number in range(3):
        complete(f"good{number}")
        compensate(f"bad{number}")

    books = audit(
        engine(),
        completed=[f"good{n}" for n in range(3)],
        compensated=[*(f"bad{n}" for n in range(3)), "never began"],
        quiet=timedelta(0),
    )

    assert books.violations == ()
    assert books.revenue == 3 * PRICE
    assert books.unearned == 0
    stock = books.stock["pen"]
    assert (stock.initial, stock.available, stock.held, stock.shipped) == (10, 4, 0, 6)


def test_books_add_up_at_every_moment_while_orders_move() -> None:
    done = threading.Event()

    def trade(number: int) -> None:
        shelves.stock_up("pen", 40)
        for turn in range(10):
            (complete if turn % 2 else compensate)(f"{number}:{turn}")

    def watch() -> list[str]:
        seen = []
        while not done.is_set():
            books = audit(engine())
            seen += [str(violation) for violation in books.violations]
            by_order, by_article = (sum(b.held for b in each.values()) for each in (books.orders, books.stock))
            if by_order != by_article:
                seen.append(f"orders and articles are not of one moment: {by_order} and {by_article} held")
        return seen

    with ThreadPoolExecutor(1) as thread:
        watcher = thread.submit(watch)
        traded = at_once(6, trade)
        done.set()
        assert watcher.result(10) == []
    assert traded == [None] * 6
    assert audit(engine(), quiet=timedelta(0)).violations == ()


def test_an_order_on_its_way_is_no_violation_until_it_has_been_quiet_for_too_long() -> None:
    inventory.reserve("42", PEN, key="r")
    payment.charge("42", PRICE, key="c")

    assert kinds(audit(engine())) == set()
    assert kinds(audit(engine(), quiet=timedelta(hours=1))) == set()
    books = audit(engine(), quiet=timedelta(0))
    assert kinds(books) == {"not refunded", "still held"}
    assert books.unearned == PRICE


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("shelf and reservations differ", "UPDATE shop.stock SET available = available - 1, held = held + 1"),
        ("reserved twice", "INSERT INTO shop.reservation VALUES ('x', 'x', 'good'), ('y', 'y', 'good')"),
        ("charged twice", "INSERT INTO shop.charge VALUES ('x', 'x', 'good', 9.90)"),
        (
            "shipped twice",
            "INSERT INTO shop.shipment SELECT 'x', 'x', 'good', id FROM shop.reservation WHERE key ~ '^bad'",
        ),
        ("told twice", "INSERT INTO shop.notification VALUES ('x', 'x', 'good', 'order confirmed')"),
        (
            "shipped unpaid",
            "INSERT INTO shop.refund SELECT 'x', id, 9.90 FROM shop.charge WHERE key = 'good:charge'",
        ),
        ("shipment and goods differ", "DELETE FROM shop.shipment"),
        ("undone but there", "DELETE FROM shop.refund"),
        ("undone but there", "UPDATE shop.reservation SET status = 'held'"),
        ("not charged", "DELETE FROM shop.charge WHERE order_id = 'good'"),
        ("not shipped", "DELETE FROM shop.shipment"),
        ("not told", "DELETE FROM shop.notification"),
        ("still held", "UPDATE shop.reservation SET status = 'held' WHERE order_id = 'good'"),
        ("still held", "UPDATE shop.reservation SET status = 'held' WHERE order_id = 'bad'"),
        ("not refunded", "DELETE FROM shop.refund"),
        ("shipped all the same", "UPDATE shop.shipment SET order_id = 'bad'"),
        ("told all the same", "UPDATE shop.notification SET order_id = 'bad'"),
    ],
)
def test_the_audit_finds_broken_books(kind: str, damage: str) -> None:
    complete("good")
    compensate("bad")
    assert kinds(audit(engine(), completed=["good"], compensated=["bad"])) == set()

    execute(damage)

    assert kind in kinds(audit(engine(), completed=["good"], compensated=["bad"]))


@pytest.mark.parametrize(
    ("kind", "table", "constraint", "damage"),
    [
        (
            "pieces not conserved",
            "shop.stock",
            "stock_conserved",
            "UPDATE shop.stock SET initial = initial + 1",
        ),
        (
            "refund differs",
            "shop.refund",
            "refund_is_the_charge",
            "UPDATE shop.refund SET amount = amount - 1",
        ),
    ],
)
def test_the_audit_finds_what_only_a_lost_constraint_lets_through(
    kind: str, table: str, constraint: str, damage: str
) -> None:
    compensate("bad")
    execute(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}", damage)

    assert kinds(audit(engine(), compensated=["bad"])) == {kind}


def test_an_order_cannot_have_ended_both_ways() -> None:
    with pytest.raises(ValueError, match="42"):
        audit(engine(), completed=["42"], compensated=["42"])


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "waited ten seconds in vain"
        time.sleep(0.01)


def blocked_backends() -> int:
    with transaction() as connection:
        blocked: int = connection.execute(
            text("SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0")
        ).scalar_one()
    return blocked
