"""The books, which must add up whatever the sagas did, and however often they were killed.

Orders and fulfilments are in the same books; trips have their own (`travel_books`).
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from sqlalchemy import Engine

from config.demo import ledger
from config.demo.ledger import OrderBook, StockBook


@dataclass(frozen=True, kw_only=True, slots=True)
class Violation:
    """Something that does not add up: its kind, the order, trip, article or offer, and the figures."""

    kind: str
    subject: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.subject}: {self.detail}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Books:
    """All orders and articles, with their violations."""

    orders: dict[str, OrderBook]
    stock: dict[str, StockBook]
    violations: tuple[Violation, ...]

    @property
    def revenue(self) -> Decimal:
        """The money charged and not refunded for orders that were shipped."""
        return sum((o.charged - o.refunded for o in self.orders.values() if o.shipments), Decimal(0))

    @property
    def unearned(self) -> Decimal:
        """The money charged and not refunded without a shipment: zero once every saga has ended."""
        return sum((o.charged - o.refunded for o in self.orders.values() if not o.shipments), Decimal(0))


def audit(
    engine: Engine,
    *,
    completed: Collection[str] = (),
    fulfilled: Collection[str] = (),
    compensated: Collection[str] = (),
    quiet: timedelta | None = None,
) -> Books:
    """Read the books and list what does not add up; safe to run while orders are on their way.

    Some things hold at any moment: pieces are conserved, no order has two of anything, nothing leaves the
    house unpaid. Others hold only once an order's saga has ended, which these tables can't know: so pass it.

    Args:
        engine: the shop's database.
        completed: orders whose saga completed: paid, shipped and confirmed, exactly once.
        fulfilled: fulfilments whose saga completed: paid, committed and shipped, exactly once; the customer notified at
        most once. compensated: orders and fulfilments whose saga was undone: nothing of them is left. quiet: orders
        that have not moved for this long should have become one of these.

    Raises:
        ValueError: an order is said to have ended in more than one way.
    """
    ends = Counter([*set(completed), *set(fulfilled), *set(compensated)])
    if contradictions := sorted(order_id for order_id, ways in ends.items() if ways > 1):
        raise ValueError(f"orders can't have ended in more than one way: {contradictions}")
    read = ledger.read(engine)
    found = [*_of_stock(read.stock.values()), *_at_any_moment(read.orders.values())]
    found += [
        Violation(kind="undone but there", subject=order_id, detail=f"{effect} is live behind a closed door")
        for order_id, effect in read.behind_closed_doors
    ]
    for rules, order_ids in (
        (_when_completed, completed),
        (_when_fulfilled, fulfilled),
        (_when_compensated, compensated),
    ):
        for order_id in sorted(set(order_ids)):
            found += rules(read.orders.get(order_id, OrderBook(order_id=order_id)))
    for order in read.orders.values():
        if quiet is not None and order.quiet >= quiet and order.order_id not in ends:
            found += _when_quiet(order)
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
        yield from broken(
            o.order_id,
            ("reserved twice", o.live_reservations > 1, f"{o.live_reservations} live reservations"),
            ("committed twice", o.commitments > 1, f"{o.commitments} commitments"),
            ("charged twice", o.live_charges > 1, f"{o.live_charges} charges without a refund"),
            ("shipped twice", o.shipments > 1, f"{o.shipments} shipments"),
            ("told twice", o.told_twice, f"{o.notifications} notifications"),
            ("committed unpaid", o.commitments > 0 and o.live_charges == 0, money),
            ("committed but released", o.broken_commitments > 0, f"{o.released} pieces released"),
            ("shipped unpaid", o.shipments > 0 and o.live_charges == 0, money),
            ("shipment and goods differ", (o.shipments > 0) != (o.shipped > 0), f"{o.shipped} pieces left"),
            ("refund differs", o.live_charges == 0 and o.refunded != o.charged, money),
        )


def _when_completed(o: OrderBook) -> Iterator[Violation]:
    yield from _when_shipped(o)
    yield from broken(o.order_id, ("not told", o.notifications == 0, "completed without a notification"))


def _when_fulfilled(o: OrderBook) -> Iterator[Violation]:
    yield from _when_shipped(o)
    yield from broken(o.order_id, ("not committed", o.commitments == 0, "completed without a commitment"))


def _when_shipped(o: OrderBook) -> Iterator[Violation]:
    return broken(
        o.order_id,
        ("not charged", o.live_charges == 0, "completed without a charge"),
        ("not shipped", o.shipments == 0, "completed without a shipment"),
        ("still held", o.held > 0, f"{o.held} pieces held after the end"),
    )


def _when_compensated(o: OrderBook) -> Iterator[Violation]:
    kept = o.charged - o.refunded
    return broken(
        o.order_id,
        ("not refunded", o.live_charges > 0, f"{kept} charged, neither shipped nor refunded"),
        ("still held", o.held > 0, f"{o.held} pieces held after the end"),
        ("committed all the same", o.commitments > 0, f"{o.commitments} commitments"),
        ("shipped all the same", o.shipments > 0, f"{o.shipped} pieces left"),
        ("told all the same", o.notifications > 0, f"{o.notifications} notifications"),
    )


def _when_quiet(o: OrderBook) -> Iterator[Violation]:
    # Past its pivot it can only have completed: an order has shipped then, a fulfilment has committed.
    if o.commitments:
        return _when_fulfilled(o)
    return _when_completed(o) if o.shipments else _when_compensated(o)


def broken(subject: str, *rules: tuple[str, bool, str]) -> Iterator[Violation]:
    """Yield the violations among rules, each given as its kind, whether it is broken, and the figures."""
    for kind, is_broken, detail in rules:
        if is_broken:
            yield Violation(kind=kind, subject=subject, detail=detail)
