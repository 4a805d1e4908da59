"""The goods and the places that are for sale. They arrive by hand, not by message, so nothing here is idempotent."""

from tasks.services.booking import Kind
from tasks.services.database import execute, transaction


def stock_up(sku: str, quantity: int) -> None:
    """Put new pieces of an article on the shelf."""
    statement = """
        INSERT INTO shop.stock AS shelf (sku, initial, available) VALUES (:sku, :quantity, :quantity)
        ON CONFLICT (sku) DO UPDATE SET initial = shelf.initial + excluded.initial,
                                        available = shelf.available + excluded.available
    """
    with transaction() as connection:
        execute(connection, statement, sku=sku, quantity=quantity)


def put_on_sale(kind: Kind, code: str, places: int) -> None:
    """Offer more seats, rooms or cars."""
    statement = """
        INSERT INTO shop.offer AS known (kind, code, initial, available) VALUES (:kind, :code, :places, :places)
        ON CONFLICT (kind, code) DO UPDATE SET initial = known.initial + excluded.initial,
                                               available = known.available + excluded.available
    """
    with transaction() as connection:
        execute(connection, statement, kind=kind, code=code, places=places)
