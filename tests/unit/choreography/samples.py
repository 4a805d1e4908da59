"""Types of events, and how they are stored and read."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypedDict
from uuid import UUID, uuid4

import msgspec
import pydantic

from sagas.choreography import event
from sagas.choreography.events import event_type, type_of
from sagas.model import Secrecy, payload

OPEN = Secrecy()


class Colour(Enum):
    RED = "red"
    BLUE = 2


class Size(StrEnum):
    SMALL = "s"
    LARGE = "l"


@dataclass(frozen=True)
class Money:
    amount: Decimal
    currency: str = "EUR"


class Point(NamedTuple):
    x: int
    y: int = 0


class Line(TypedDict):
    sku: str
    quantity: int


class PydanticMoney(pydantic.BaseModel):
    amount: Decimal = pydantic.Field(alias="theAmount")


class MsgspecMoney(msgspec.Struct, rename="camel"):
    the_amount: Decimal


OrderId = NewType("OrderId", str)


@event
class Everything:
    order_id: OrderId
    count: Annotated[int, "pieces"]
    weight: float
    total: Decimal
    is_gift: bool
    at: datetime
    day: date
    span: timedelta
    id: UUID
    colour: Colour
    size: Size | None
    kind: Literal["a", "b", 3]
    money: Money
    moneys: list[Money]
    by_name: dict[str, Money]
    point: Point
    line: Line
    pair: tuple[int, str]
    many: tuple[int, ...]
    either: int | str | None
    anything: Any
    modelled: PydanticMoney
    structured: MsgspecMoney
    plain: dict
    listed: list
    later: str = "later"
    made: list[int] = field(default_factory=list)


def everything(**changed: Any) -> Everything:
    given: dict[str, Any] = {
        "order_id": "42",
        "count": 3,
        "weight": 1.5e300,
        "total": Decimal("9.90"),
        "is_gift": False,
        "at": datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        "day": date(2026, 1, 2),
        "span": timedelta(days=1, microseconds=3),
        "id": uuid4(),
        "colour": Colour.BLUE,
        "size": Size.SMALL,
        "kind": 3,
        "money": Money(Decimal("1.00")),
        "moneys": [Money(Decimal(1), "USD"), Money(Decimal(2))],
        "by_name": {"first": Money(Decimal(1))},
        "point": Point(1, 2),
        "line": {"sku": "pen", "quantity": 1},
        "pair": (1, "a"),
        "many": (1, 2, 3),
        "either": "x",
        "anything": {"$decimal": "no tag"},
        "modelled": PydanticMoney(theAmount=Decimal("3.10")),
        "structured": MsgspecMoney(the_amount=Decimal("3.20")),
        "plain": {"a": Decimal(1)},
        "listed": [None, True],
    }
    return Everything(**given | changed)


@event(version=3, name="order.paid")
class Modelled(pydantic.BaseModel):
    order_id: str
    total: Decimal
    tags: list[str] = pydantic.Field(default_factory=list, alias="theTags")
    money: PydanticMoney | None = None

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def shown(self) -> str:
        return f"{self.order_id}: {self.total}"


@event
class Structured(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    order_id: str
    total_sum: Decimal
    at: datetime
    size: Size = Size.SMALL


@event
@dataclass
class Positional:
    order_id: str
    total: Decimal


def stored(value: Any, secrecy: Secrecy = OPEN) -> dict[str, Any]:
    """The fields of an event as its row would give them back."""
    fields: dict[str, Any] = payload.loads(type_of(value, "test").write(value, secrecy).text)
    return fields


def read(kind: type, fields: dict[str, Any]) -> Any:
    type_ = event_type(kind, "test")
    return type_.read(type_.version, fields)
