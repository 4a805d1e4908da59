"""Pages of dead letters: deliveries and events in one order, and the cursor from one page to the next."""

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Self, TypeVar
from uuid import UUID

from sqlalchemy import Row

from sagas.errors import ConfigurationError
from sagas.model.payload import excerpt

T = TypeVar("T")

#: Before and after every id.
LEAST, GREATEST = UUID(int=0), UUID(int=2**128 - 1)
MOST = 2**31 - 1


class LetterPage(list[T], Generic[T]):
    """The dead letters of one page, the oldest first.

    Attributes:
        after: pass it to `DeadLetters.list`, with the same filters, for the next page; None on the last one.
    """

    def __init__(self, found: Iterable[T] = (), after: str | None = None) -> None:
        super().__init__(found)
        self.after = after


@dataclass(frozen=True, order=True, slots=True)
class Place:
    """The place of a letter: among those given up at the same moment, deliveries come before events."""

    dead_at: datetime
    is_event: bool
    run: UUID
    number: int = 0
    branch: int = 0
    round: int = 0
    event: UUID = LEAST

    @classmethod
    def of_delivery(cls, row: Row[Any]) -> Self:
        return cls(row.dead_at, False, row.run, row.number, row.branch, row.round)

    @classmethod
    def of_event(cls, row: Row[Any]) -> Self:
        return cls(row.dead_at, True, row.run, event=row.event)

    @property
    def text(self) -> str:
        values = [self.dead_at.isoformat(), self.is_event, str(self.run), self.number, self.branch, self.round]
        return base64.urlsafe_b64encode(json.dumps([*values, str(self.event)]).encode()).decode()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `text` wrote. Raises ConfigurationError."""
        try:
            values = json.loads(base64.b64decode(text, altchars=b"-_", validate=True))
            dead_at, is_event, run, number, branch, round_, event = values
            numbers = int(number), int(branch), int(round_)
            return cls(datetime.fromisoformat(dead_at), bool(is_event), UUID(run), *numbers, UUID(event))
        except (AttributeError, TypeError, ValueError):
            raise ConfigurationError(
                f"dead_letters.list(after={excerpt(text)}): pass the `after` of the previous page, unchanged"
            ) from None


def after_deliveries(place: Place | None) -> dict[str, Any]:
    """Return the place in the order of deliveries after which a page begins."""
    if place is None:
        return _deliveries("-infinity", LEAST, 0, 0, 0)
    if place.is_event:  # all deliveries of its moment have been listed
        return _deliveries(place.dead_at, GREATEST, MOST, MOST, MOST)
    return _deliveries(place.dead_at, place.run, place.number, place.branch, place.round)


def after_events(place: Place | None) -> dict[str, Any]:
    """Return the place in the order of events after which a page begins."""
    if place is None:
        return _events("-infinity", LEAST, LEAST)
    return _events(place.dead_at, place.run, place.event) if place.is_event else _events(place.dead_at, LEAST, LEAST)


def _deliveries(at: datetime | str, run: UUID, number: int, branch: int, round_: int) -> dict[str, Any]:
    return {"after": at, "after_run": run, "after_number": number, "after_branch": branch, "after_round": round_}


def _events(at: datetime | str, run: UUID, event: UUID) -> dict[str, Any]:
    return {"after": at, "after_run": run, "after_event": event}
