"""Read the shop's tables: every order and every article, in one snapshot."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Final

from sqlalchemy import Connection, Engine, RowMapping, text

_ORDERS: Final = """
WITH reservations AS (
    SELECT r.order_id,
           coalesce(sum(l.quantity) FILTER (WHERE r.status = 'held'), 0) AS held,
           coalesce(sum(l.quantity) FILTER (WHERE r.status = 'released'), 0) AS released,
           coalesce(sum(l.quantity) FILTER (WHERE r.status = 'shipped'), 0) AS shipped,
           count(DISTINCT r.id) FILTER (WHERE r.status <> 'released') AS live_reservations,
           count(DISTINCT r.id) FILTER (WHERE r.committed_at IS NOT NULL) AS commitments,
           count(DISTINCT r.id) FILTER (WHERE r.committed_at IS NOT NULL AND r.status = 'released')
               AS broken_commitments,
           max(greatest(r.moved_at, r.committed_at)) AS reservation_moved
      FROM shop.reservation r LEFT JOIN shop.reservation_line l ON l.reservation_id = r.id
     GROUP BY r.order_id
), charges AS (
    SELECT c.order_id, sum(c.amount) AS charged, coalesce(sum(f.amount), 0) AS refunded,
           count(*) FILTER (WHERE f.id IS NULL) AS live_charges,
           max(greatest(c.moved_at, f.moved_at)) AS charge_moved
      FROM shop.charge c LEFT JOIN shop.refund f ON f.charge_id = c.id
     GROUP BY c.order_id
), shipments AS (
    SELECT order_id, count(*) AS shipments, max(moved_at) AS shipment_moved
      FROM shop.shipment GROUP BY order_id
), notifications AS (
    SELECT order_id, count(*) AS notifications, max(moved_at) AS notification_moved,
           count(*) > count(DISTINCT subject) AS told_twice
      FROM shop.notification n
     WHERE NOT EXISTS (SELECT FROM shop.booking b WHERE b.trip_id = n.order_id)
     GROUP BY order_id
)
SELECT order_id,
       coalesce(held, 0) AS held, coalesce(released, 0) AS released, coalesce(shipped, 0) AS shipped,
       coalesce(charged, 0) AS charged, coalesce(refunded, 0) AS refunded,
       coalesce(live_reservations, 0) AS live_reservations, coalesce(live_charges, 0) AS live_charges,
       coalesce(commitments, 0) AS commitments, coalesce(broken_commitments, 0) AS broken_commitments,
       coalesce(shipments, 0) AS shipments, coalesce(notifications, 0) AS notifications,
       coalesce(told_twice, false) AS told_twice,
       clock_timestamp()
           - greatest(reservation_moved, charge_moved, shipment_moved, notification_moved) AS quiet
  FROM reservations FULL JOIN charges USING (order_id)
       FULL JOIN shipments USING (order_id) FULL JOIN notifications USING (order_id)
 ORDER BY order_id
"""

_STOCK: Final = """
SELECT s.sku, s.initial, s.available, s.held, s.shipped,
       coalesce(sum(l.quantity) FILTER (WHERE r.status = 'held'), 0) AS reserved,
       coalesce(sum(l.quantity) FILTER (WHERE r.status = 'shipped'), 0) AS handed_over
  FROM shop.stock s LEFT JOIN shop.reservation_line l ON l.sku = s.sku
       LEFT JOIN shop.reservation r ON r.id = l.reservation_id
 GROUP BY s.sku ORDER BY s.sku
"""

_BEHIND_CLOSED_DOORS: Final = """
SELECT e.order_id, e.effect
  FROM (SELECT 'inventory' AS service, key, order_id, id AS effect
          FROM shop.reservation WHERE status <> 'released'
        UNION ALL
        SELECT 'payment', c.key, c.order_id, c.id
          FROM shop.charge c WHERE NOT EXISTS (SELECT FROM shop.refund f WHERE f.charge_id = c.id)) e
  JOIN shop.barrier b ON b.service = e.service AND b.key = e.key AND b.closed_at IS NOT NULL
 ORDER BY e.effect
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderBook:
    """The effects of one order in all services; a *live* effect is one that was not undone.

    Pieces are `held`, `released` or `shipped`; a commitment is `broken` if its pieces were released; money is
    `charged` (ever) and `refunded`; `told_twice` means two notifications of one subject; `quiet` is the time
    since anything moved. What was said about a trip is in the trips' books.
    """

    order_id: str
    held: int = 0
    released: int = 0
    shipped: int = 0
    charged: Decimal = Decimal(0)
    refunded: Decimal = Decimal(0)
    live_reservations: int = 0
    live_charges: int = 0
    commitments: int = 0
    broken_commitments: int = 0
    shipments: int = 0
    notifications: int = 0
    told_twice: bool = False
    quiet: timedelta = timedelta(0)


@dataclass(frozen=True, kw_only=True, slots=True)
class StockBook:
    """The pieces of an article, counted on the shelf and (`reserved`, `handed_over`) by the reservations."""

    sku: str
    initial: int
    available: int
    held: int
    shipped: int
    reserved: int
    handed_over: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """All orders, all articles, and the effects that are live although the door behind them is closed."""

    orders: dict[str, OrderBook]
    stock: dict[str, StockBook]
    behind_closed_doors: tuple[tuple[str, str], ...]


def read(engine: Engine) -> Ledger:
    """Read the shop's tables, and nothing else, in one snapshot."""
    with snapshot(engine) as connection:
        return Ledger(
            orders={row["order_id"]: OrderBook(**row) for row in rows(connection, _ORDERS)},
            stock={row["sku"]: StockBook(**row) for row in rows(connection, _STOCK)},
            behind_closed_doors=tuple(
                (row["order_id"], row["effect"]) for row in rows(connection, _BEHIND_CLOSED_DOORS)
            ),
        )


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """Open a connection that sees a single moment, so that sums over different tables can be compared."""
    with engine.connect() as plain:
        connection = plain.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with connection.begin():
            yield connection


def rows(connection: Connection, query: str) -> Sequence[RowMapping]:
    """Return all rows of a query."""
    return connection.execute(text(query)).mappings().all()
