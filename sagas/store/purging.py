"""Delete what ended long ago: one family of instances at a time, some hundreds of them in a transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection

from sagas.store import purge_statements
from sagas.store.book import InSchema

#: The place of an instance in the order of their ends.
PurgeCursor = tuple[datetime, UUID]
#: How long the key of a run is remembered after it was to be purged: late events are told from early ones by it.
KEY_OF_A_RUN = timedelta(days=365)
BEGINNING: PurgeCursor = (datetime.min.replace(tzinfo=UTC), UUID(int=0))


@dataclass(frozen=True, kw_only=True, slots=True)
class Purged:
    """The result of one transaction. ``last`` is where the next one goes on; None: nothing is left."""

    count: int
    last: PurgeCursor | None


class Purging(InSchema):
    """Statements of retention."""

    def cut_off(self, older_than: timedelta) -> datetime:
        """Return the moment that long ago, by the database's clock."""
        with self._database.autocommit() as connection:
            moment = connection.scalar(self._sql(purge_statements.CUT_OFF), {"older_than": older_than})
        assert isinstance(moment, datetime)
        return moment

    def oldest(self, before: datetime, *, after: PurgeCursor, keep_keys: bool, limit: int) -> Purged:
        """Purge the oldest that ended well before a moment, each with the sagas that it started.

        Args:
            after: skip instances that ended before this place.
            keep_keys: keep the row of an instance with a business key, and nothing else of it. That of a run is kept
                for a year in any case.
            limit: how many, not counting the sagas that they started.
        """
        ended, id_ = after
        place = {"before": before, "ended": ended, "after": id_, "limit": limit, "keep_keys": keep_keys}
        place["remembered"] = KEY_OF_A_RUN

        def work() -> Purged:
            with self._database.transaction() as connection:
                picked = connection.execute(self._sql(purge_statements.PICK_PURGEABLE), place).all()
                count = self._delete(connection, [row.id for row in picked], before, keep_keys)
                last = (picked[-1].finished_at, picked[-1].id) if len(picked) == limit else None
                return Purged(count=count, last=last)

        return self._database.retrying(work)

    def forget_mail(self, before: datetime, limit: int) -> int:
        """Delete orphaned mail; return the number of rows deleted."""
        return self._forget(purge_statements.FORGET_ABANDONED_MAIL, before, limit)

    def forget_imports(self, before: datetime, limit: int) -> int:
        """Delete what is remembered of bridges for runs that are gone; return the number of rows deleted."""
        return self._forget(purge_statements.FORGET_IMPORTS, before, limit)

    def _forget(self, statement: str, before: datetime, limit: int) -> int:
        with self._database.autocommit() as connection:
            return connection.execute(self._sql(statement), {"before": before, "limit": limit}).rowcount

    def _delete(self, connection: Connection, roots: Sequence[UUID], before: datetime, keep_keys: bool) -> int:
        """Delete those families of the locked roots of which every member is over."""
        root_of = {root: root for root in roots}
        parents = list(roots)
        while parents:
            children = connection.execute(self._sql(purge_statements.LOCK_CHILDREN), {"parents": parents}).all()
            root_of |= {child.id: root_of[child.parent_id] for child in children}
            parents = [child.id for child in children]
        given = {"ids": list(root_of), "before": before, "keep_keys": keep_keys}
        members = connection.execute(self._sql(purge_statements.LOOK_AT_MEMBERS), given).all()
        staying = {
            root_of.get(member.id) or root_of[member.parent_id]
            for member in members
            if not member.is_over or member.id not in root_of
        }
        going = [member for member in members if root_of.get(member.id) not in {None, *staying}]
        ids = [member.id for member in going]
        keep = [member.id for member in going if member.keeps_key]
        if ids:
            connection.execute(self._sql(purge_statements.PURGE), {"ids": ids, "keep": keep})
        if keep:
            connection.execute(self._sql(purge_statements.KEEP_KEYS), {"keep": keep})
        return len(ids)
