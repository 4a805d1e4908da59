"""The shop's own table of orders. The saga has their progress.

python -m config.examples.fastapi_shop.models     creates it
"""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import DateTime, Executable, Numeric, Text, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from config.examples.order_form import OrderForm


class Base(DeclarativeBase):
    """The shop's tables."""


class Order(Base):
    """An order as it was placed."""

    __tablename__ = "shop_order"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    sku: Mapped[str] = mapped_column(Text)
    quantity: Mapped[int]
    total: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    placed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    @classmethod
    def placed(cls, form: OrderForm) -> Executable:
        """Return a statement that inserts the order and returns its id, or nothing if it exists already."""
        values = {"id": form.order_id, "sku": form.sku, "quantity": form.quantity, "total": form.total}
        return insert(cls).values(values).on_conflict_do_nothing().returning(cls.id)


if __name__ == "__main__":
    from config.examples.fastapi_shop.database import engine

    Base.metadata.create_all(engine)
