"""Lists of instances: newest first, a page at a time, by conditions that have indexes."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from sagas.model import SagaStatus, payload
from sagas.store import listing_statements as statements
from sagas.store.book import InSchema
from sagas.store.rows import UNREADABLE, legible

#: Instances in flight have an index without saga or order.
IN_FLIGHT = {SagaStatus.PENDING: statements.IS_PENDING, SagaStatus.RUNNING: statements.IS_RUNNING}
PARAMETER = re.compile(r"(?<!:):([a-z]\w*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Filters:
    """The conditions on the instances of a list; None sets none.

    Attributes:
        older_than: how long ago they were started, at least.
        text: the beginning of the key, or beginnings of words of the error.
        quiet: runs in which nothing has happened for longer than it may.
        needs_person: they wait for a person (those that cannot be read do), or for a child saga that does.
        after: when the last instance of the previous page was started, and its id.
    """

    saga: str | None = None
    status: SagaStatus | None = None
    key: str | None = None
    step: str | None = None
    older_than: timedelta | None = None
    text: str | None = None
    needs_person: bool = False
    quiet: bool = False
    after: tuple[datetime, UUID] | None = None

    @property
    def is_storable(self) -> bool:
        """Whether PostgreSQL can store these texts; otherwise no row has them, and a stranger may have typed them."""
        texts = (self.saga, self.key, self.step, self.text)
        return payload.is_storable("".join(text for text in texts if text is not None))

    @property
    def reads_few_rows(self) -> bool:
        """Whether a condition leads to few rows, of whichever saga."""
        return self.status in IN_FLIGHT or self.step is not None or self.needs_person or self.quiet

    def conditions(self) -> Iterator[str]:
        """Yield the conditions as parts of a statement."""
        if self.saga is not None:
            yield statements.OF_SAGA
        if self.status is not None:
            yield IN_FLIGHT.get(
                self.status,
                statements.IS_COMPLETED if self.status is SagaStatus.COMPLETED else statements.IS_SET_BACK,
            )
        if self.key is not None:
            yield statements.HAS_KEY
        if self.step is not None:
            yield statements.STANDS_AT
        if self.older_than is not None:
            yield statements.OLDER
        if self.text is not None:
            yield statements.HAS_TEXT
        if self.needs_person:
            yield statements.NEEDS_PERSON
        if self.quiet:
            yield statements.IS_QUIET
        if self.after is not None:
            yield statements.AFTER

    def parameters(self) -> Mapping[str, Any]:
        """Return all parameters that a statement may need."""
        after_at, after_id = self.after or (None, None)
        return {
            "saga": self.saga,
            "status": self.status and self.status.value,
            "key": self.key,
            "step": self.step,
            "older_than": self.older_than,
            "text": self.text,
            "beginning": self.text and re.sub(r"([\\%_])", r"\\\1", self.text) + "%",
            "after_at": after_at,
            "after_id": after_id and str(after_id),
        }


class Listing(InSchema):
    """Reads lists."""

    def page(self, filters: Filters, limit: int) -> Sequence[Row[Any]]:
        """Return the newest instances that meet the filters, without their data.

        Raises:
            RowDamaged: an instance cannot be read; the message names it. A list of those that need a person shows
                such an instance instead: a time that Python cannot hold reads as the first day of the calendar.
        """
        if not filters.is_storable:
            return []
        with self._database.autocommit() as connection:
            try:
                return self._rows(connection, self._statement(statements.LISTED, filters), filters, limit)
            except UNREADABLE:
                ids = self._rows(connection, self._statement(statements.IDS_LISTED, filters), filters, limit)
            columns = statements.LISTED_ANYHOW if filters.needs_person else statements.LISTED
            statement = self._composed(columns, statements.PAGE, [statements.ITSELF])
            rows: list[Row[Any]] = []
            for id_ in (row.id for row in ids):
                with legible(id_):
                    rows += connection.execute(text(statement), {"id": id_, "limit": 1}).all()
            return rows

    def count(self, filters: Filters, most: int) -> int:
        """Count those that meet the filters, up to ``most``."""
        if not filters.is_storable:
            return 0
        with self._database.autocommit() as connection:
            return len(self._rows(connection, self._statement(statements.IDS_LISTED, filters), filters, most))

    def reasons(self, ids: Sequence[UUID]) -> Mapping[UUID, str]:
        """Return why instances need a person, and then why they turned back."""
        with self._database.autocommit() as connection:
            rows = connection.execute(self._sql(statements.REASONS), {"ids": list(map(str, ids))}).all()
        return {row.id: row.why for row in rows}

    def names(self) -> Sequence[str]:
        """Return the sagas that have instances."""
        with self._database.autocommit() as connection:
            return connection.scalars(self._sql(statements.SAGA_NAMES)).all()

    def ids(self, filters: Filters, limit: int) -> tuple[str, list[Any]]:
        """Return a statement for the ids of such a page, with ``%s`` parameters, for another connection to run."""
        given = {**filters.parameters(), "limit": limit}
        statement = self._statement(statements.IDS_LISTED, filters)
        return PARAMETER.sub("%s", statement), [given[name] for name in PARAMETER.findall(statement)]

    def _rows(self, connection: Connection, statement: str, filters: Filters, limit: int) -> Sequence[Row[Any]]:
        return connection.execute(text(statement), {**filters.parameters(), "limit": limit}).all()

    def _statement(self, columns: str, filters: Filters) -> str:
        conditions = list(filters.conditions()) or [statements.ANY_INSTANCE]
        if filters.saga is not None or filters.reads_few_rows:
            return self._composed(columns, statements.PAGE, conditions)
        return self._composed(columns, statements.PAGE_OF_EACH_SAGA, [statements.OF_NAMED, *conditions])

    def _composed(self, columns: str, page: str, conditions: Sequence[str]) -> str:
        return self._book.written(columns + page.replace("{conditions}", " AND ".join(conditions)))
