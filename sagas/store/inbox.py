"""What others have to say to an instance, without a lock on its row."""

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
        """Insert, in whatever transaction ``scalar`` belongs to. None: one with this key is there already."""
        values = {"name": mail.name, "key": key, "payload": mail.payload, "sent_by": mail.by}
        found: int | None = scalar(self._put, values | {"instance_id": instance_id, "kind": mail.kind.value})
        return found

    def put_now(self, instance_id: UUID, mail: Mail, key: str | None = None) -> int | None:
        """`put` in a transaction of its own."""
        with self._database.autocommit() as connection:
            return self.put(connection.scalar, instance_id, mail, key)

    def came_too_late(self, instance_id: UUID, number: int) -> bool:
        """Whether somebody has looked at this one and noted that."""
        with self._database.autocommit() as connection:
            return bool(connection.scalar(self._came_too_late, {"id": instance_id, "number": str(number)}))

    def mark_read(self, connection: Connection, seen: Sequence[int], consumed: Collection[int]) -> None:
        """What an instance has looked at; signals that nobody waits for yet stay open."""
        connection.execute(self._mark_read, {"seen": list(seen), "consumed": list(consumed)})

    def unseen(self, limit: int) -> Sequence[UUID]:
        """Instances that have not looked at something yet: whoever wrote it should have made them, and did not."""
        with self._database.autocommit() as connection:
            return connection.scalars(self._pick_unseen, {"limit": limit}).all()

    def forget(self, instance_id: UUID) -> None:
        """Of an instance that is gone."""
        with self._database.autocommit() as connection:
            connection.execute(self._forget, {"id": instance_id})
