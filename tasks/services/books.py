"""The books: whatever the sagas did, and however often they were killed, this must add up."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from sqlalchemy import Engine

from tasks.services import ledger
from tasks.services.ledger import OrderBook, StockBook


@dataclass(frozen=True, kw_only=True, slots=True)
class Violation:
    """One thing that does not add up: its kind, the order or article, and the figures."""

    kind: str
    subject: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.subject}: {self.detail}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Books:
    """All orders and articles, and what is wrong with them."""

    orders: dict[str, OrderBook]
    stock: dict[str, StockBook]
    violations: tuple[Violation, ...]

    @property
    def revenue(self) -> Decimal:
        """What was charged and not given back, of the orders that were shipped."""
        return sum((o.charged - o.refunded for o in self.orders.values() if o.shipments), Decimal(0))

    @property
    def unearned(self) -> Decimal:
        """What was charged and not given back without a shipment: zero once every saga has ended."""
        return sum((o.charged - o.refunded for o in self.orders.values() if not o.shipments), Decimal(0))


def audit(
    engine: Engine,
    *,
    completed: Collection[str] = (),
    compensated: Collection[str] = (),
    quiet: timedelta | None = None,
) -> Books:
    """Read the books and list what does not add up; safe to run while orders are on their way.

    Some things hold at any moment: pieces are conserved, no order has two of anything, nothing leaves the
    house unpaid. Others hold only once an order's saga has ended, which these tables can't know: so say it.

    Args:
        engine: the shop's database.
        completed: orders whose saga completed: paid, shipped and confirmed, exactly once.
        compensated: orders whose saga was undone: nothing of them is left.
        quiet: orders that have not moved for this long should have become either the one or the other.

    Raises:
        ValueError: an order is said to have ended both ways.
    """
    completed, compensated = frozenset(completed), frozenset(compensated)
    if both := completed & compensated:
        raise ValueError(f"orders can't have ended both ways: {sorted(both)}")
    read = ledger.read(engine)
    found = [*_of_stock(read.stock.values()), *_at_any_moment(read.orders.values())]
    found += [
        Violation(kind="undone but there", subject=order_id, detail=f"{effect} is live behind a closed door")
        for order_id, effect in read.behind_closed_doors
    ]
    for order_id in sorted(completed | compensated):
        order = read.orders.get(order_id, OrderBook(order_id=order_id))
        found += _when_completed(order) if order_id in completed else _when_compensated(order)
    for order in read.orders.values():
        if quiet is not None and order.quiet >= quiet and order.order_id not in completed | compensated:
            found += _when_completed(order) if order.shipments else _when_compensated(order)
    return Books(orders=read.orders, stock=read.stock, violations=tuple(found))


def _of_stock(articles: Iterable[StockBook]) -> Iterator[Violation]:
    for s in articles:
        if s.available + s.held + s.shipped != s.initial or min(s.available, s.held, s.shipped) < 0:
            yield Violation(
                kind="pieces not conserved",
                subject=s.sku,
                detail=f"{s.initial} came in; {s.available} available, {s.held} held, {s.shipped} shipped",
            )
        if (s.held, s.shipped) != (s.reserved, s.handed_over):
            yield Violation(
                kind="shelf and reservations differ",
                subject=s.sku,
                detail=f"held {s.held} for {s.reserved}, shipped {s.shipped} for {s.handed_over}",
            )


def _at_any_moment(orders: Iterable[OrderBook]) -> Iterator[Violation]:
    for o in orders:
        money = f"{o.refunded} of {o.charged} refunded"
        yield from _broken(
            o,
            ("reserved twice", o.live_reservations > 1, f"{o.live_reservations} live reservations"),
            ("charged twice", o.live_charges > 1, f"{o.live_charges} charges without a refund"),
            ("shipped twice", o.shipments > 1, f"{o.shipments} shipments"),
            ("told twice", o.told_twice, f"{o.notifications} notifications"),
            ("shipped unpaid", o.shipments > 0 and o.live_charges == 0, money),
            ("shipment and goods differ", (o.shipments > 0) != (o.shipped > 0), f"{o.shipped} pieces left"),
            ("refund differs", o.live_charges == 0 and o.refunded != o.charged, money),
        )


def _when_completed(o: OrderBook) -> Iterator[Violation]:
    return _broken(
        o,
        ("not charged", o.live_charges == 0, "completed without a charge"),
        ("not shipped", o.shipments == 0, "completed without a shipment"),
        ("not told", o.notifications == 0, "completed without a notification"),
        ("still held", o.held > 0, f"{o.held} pieces held after the end"),
    )


def _when_compensated(o: OrderBook) -> Iterator[Violation]:
    kept = o.charged - o.refunded
    return _broken(
        o,
        ("not refunded", o.live_charges > 0, f"{kept} charged, neither shipped nor refunded"),
        ("still held", o.held > 0, f"{o.held} pieces held after the end"),
        ("shipped all the same", o.shipments > 0, f"{o.shipped} pieces left"),
        ("told all the same", o.notifications > 0, f"{o.notifications} notifications"),
    )


def _broken(order: OrderBook, *rules: tuple[str, bool, str]) -> Iterator[Violation]:
    for kind, broken, detail in rules:
        if broken:
            yield Violation(kind=kind, subject=order.order_id, detail=detail)
