"""Lists of instances as they are shown: pages of values, and the cursor from one to the next."""

import base64
import binascii
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID

from sqlalchemy import Row

from sagas.errors import ConfigurationError
from sagas.model import SagaStatus
from sagas.model.payload import excerpt
from sagas.store import Filters, Listing

#: The most instances on a page.
LONGEST_PAGE = 10_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: The time when an instance was started, in microseconds, and its id.
CURSOR = struct.Struct(">q16s")


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceView:
    """An instance as a list shows it. `Sagas.get` returns a handle, which shows the rest."""

    id: UUID
    saga: str
    version: int
    key: str | None
    status: SagaStatus
    parent: UUID | None  # the saga that started this one as a step
    started_at: datetime
    finished_at: datetime | None
    unreadable_at: datetime | None = None  # since when the sweep cannot read its rows, while it is in flight
    unreadable: str | None = None  # and why


class Page(tuple[InstanceView, ...]):
    """The instances of one page, newest first.

    Attributes:
        after: pass it to `Sagas.list`, with the same filters, for the next page; None on the last one.
    """

    after: str | None

    def __new__(cls, found: Iterable[InstanceView] = (), after: str | None = None) -> Self:
        page = super().__new__(cls, found)
        page.after = after
        return page


def read_page(
    listing: Listing, *, limit: int, after: str | None, status: SagaStatus | str | None, **filters: Any
) -> Page:
    """Read one page; `Sagas.list` documents the arguments."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= LONGEST_PAGE:
        raise ConfigurationError(f"list(limit={limit!r}): pass a number of instances from 1 to {LONGEST_PAGE}")
    older_than, text = filters["older_than"], filters["text"]
    if older_than is not None and not isinstance(older_than, timedelta):
        raise ConfigurationError(f"list(older_than={older_than!r}): pass a timedelta, as in timedelta(days=1)")
    for name in ("saga", "key", "step", "text"):
        if not isinstance(filters[name], str | None):
            raise ConfigurationError(f"list({name}={filters[name]!r}): pass text")
    if text is not None and not text.strip():
        raise ConfigurationError(f"list(text={text!r}): pass the beginning of a key, or words of an error")
    conditions = Filters(status=_status(status), after=_place(after), **filters)
    # One more than asked for shows whether there is another page.
    rows = listing.page(conditions, limit + 1)
    is_last = len(rows) <= limit
    return Page(map(_view, rows[:limit]), None if is_last else _cursor(rows[limit - 1]))


def left_after(
    listing: Listing, page: Page, *, most: int, status: SagaStatus | str | None = None, **filters: Any
) -> int:
    """Count the instances that follow a page read with these filters, up to ``most``."""
    if page.after is None:
        return 0
    return listing.count(Filters(status=_status(status), after=_place(page.after), **filters), most)


def _view(row: Row[Any]) -> InstanceView:
    return InstanceView(
        id=row.id,
        saga=row.saga,
        version=row.version,
        key=row.key,
        status=SagaStatus(row.status),
        parent=row.parent_id,
        started_at=row.created_at,
        finished_at=row.finished_at,
        unreadable_at=row.unreadable_at,
        unreadable=row.unreadable,
    )


def _status(status: SagaStatus | str | None) -> SagaStatus | None:
    try:
        return None if status is None else SagaStatus(status)
    except ValueError:
        known = ", ".join(known.value for known in SagaStatus)
        raise ConfigurationError(f"list(status={excerpt(status)}): the statuses are {known}") from None


def _cursor(row: Row[Any]) -> str:
    microseconds = (row.created_at - EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(CURSOR.pack(microseconds, row.id.bytes)).decode()


def _place(after: str | None) -> tuple[datetime, UUID] | None:
    if after is None:
        return None
    try:
        microseconds, id_ = CURSOR.unpack(base64.b64decode(after, altchars=b"-_", validate=True))
        return EPOCH + timedelta(microseconds=microseconds), UUID(bytes=id_)
    except (binascii.Error, struct.error, OverflowError, TypeError, ValueError):
        raise ConfigurationError(
            f"list(after={excerpt(after)}): pass the `after` of the previous page, unchanged"
        ) from None
