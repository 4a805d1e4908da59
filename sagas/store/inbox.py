"""Messages to an instance, written without a lock on its row."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, TextClause, text

from sagas.model import Mail
from sagas.store import neighbour_statements
from sagas.store.database import Database


class Inbox:
    """Writes and reads `saga_inbox`."""

    def __init__(self, database: Database, quoted_schema: str) -> None:
        self._database = database
        self._put = text(neighbour_statements.PUT_INTO_INBOX.replace("{s}", quoted_schema))
        self._mark_read = text(neighbour_statements.MARK_READ.replace("{s}", quoted_schema))
        self._pick_unseen = text(neighbour_statements.PICK_UNSEEN.replace("{s}", quoted_schema))
        self._came_too_late = text(neighbour_statements.CAME_TOO_LATE.replace("{s}", quoted_schema))
        self._forget = text(neighbour_statements.FORGET_INBOX.replace("{s}", quoted_schema))

    def put(
        self,
        scalar: Callable[[TextClause, Mapping[str, Any]], Any],
        instance_id: UUID,
        mail: Mail,
        key: str | None = None,
    ) -> int | None:
        """Insert, in the transaction that ``scalar`` belongs to. None: there is already one with this key."""
        values = {"name": mail.name, "key": key, "payload": mail.payload, "sent_by": mail.by}
        found: int | None = scalar(self._put, values | {"instance_id": instance_id, "kind": mail.kind.value})
        return found

    def put_now(self, instance_id: UUID, mail: Mail, key: str | None = None) -> int | None:
        """Insert as `put` does, in a transaction of its own."""
        with self._database.autocommit() as connection:
            return self.put(connection.scalar, instance_id, mail, key)

    def came_too_late(self, instance_id: UUID, number: int) -> bool:
        """Return whether a signal was looked at and noted as too late."""
        with self._database.autocommit() as connection:
            return bool(connection.scalar(self._came_too_late, {"id": instance_id, "number": str(number)}))

    def mark_read(self, connection: Connection, seen: Sequence[int], consumed: Collection[int]) -> None:
        """Mark the mail that an instance has looked at; signals that no step waits for yet stay open."""
        connection.execute(self._mark_read, {"seen": list(seen), "consumed": list(consumed)})

    def unseen(self, limit: int) -> Sequence[UUID]:
        """Return instances with unseen mail, left when its sender could not make them look."""
        with self._database.autocommit() as connection:
            return connection.scalars(self._pick_unseen, {"limit": limit}).all()

    def forget(self, instance_id: UUID) -> None:
        """Delete the mail of an instance that no longer exists."""
        with self._database.autocommit() as connection:
            connection.execute(self._forget, {"id": instance_id})
