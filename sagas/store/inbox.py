"""Messages to an instance, written without a lock on its row."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, TextClause

from sagas.model import Mail
from sagas.store import neighbour_statements
from sagas.store.book import InSchema


class Inbox(InSchema):
    """Writes and reads `saga_inbox`."""

    def put(
        self,
        scalar: Callable[[TextClause, Mapping[str, Any]], Any],
        instance_id: UUID,
        mail: Mail,
        key: str | None = None,
    ) -> int | None:
        """Insert, in the transaction that ``scalar`` belongs to. None: there is already one with this key."""
        what = {"kind": mail.kind.value, "name": mail.name, "key": key, "payload": mail.payload, "sent_by": mail.by}
        found: int | None = scalar(self._sql(neighbour_statements.PUT_INTO_INBOX), what | {"instance_id": instance_id})
        return found

    def put_now(self, instance_id: UUID, mail: Mail, key: str | None = None) -> int | None:
        """Insert as `put` does, in a transaction of its own."""
        with self._database.autocommit() as connection:
            return self.put(connection.scalar, instance_id, mail, key)

    def came_too_late(self, instance_id: UUID, number: int) -> bool:
        """Return whether a signal was looked at and noted as too late."""
        asked = {"id": instance_id, "number": str(number)}
        with self._database.autocommit() as connection:
            return bool(connection.scalar(self._sql(neighbour_statements.CAME_TOO_LATE), asked))

    def mark_read(self, connection: Connection, seen: Sequence[int], consumed: Collection[int]) -> None:
        """Mark the mail that an instance has looked at; signals that no step waits for yet stay open."""
        connection.execute(self._sql(neighbour_statements.MARK_READ), {"seen": list(seen), "consumed": list(consumed)})

    def unseen(self, limit: int) -> Sequence[UUID]:
        """Return instances with unseen mail, left when its sender could not make them look."""
        with self._database.autocommit() as connection:
            return connection.scalars(self._sql(neighbour_statements.PICK_UNSEEN), {"limit": limit}).all()

    def forget(self, instance_id: UUID) -> None:
        """Delete the mail of an instance that no longer exists."""
        with self._database.autocommit() as connection:
            connection.execute(self._sql(neighbour_statements.FORGET_INBOX), {"id": instance_id})
