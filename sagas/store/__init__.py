"""The only place with SQL: tables, named statements, migrations."""

from sagas.store.database import Database, sqlstate
from sagas.store.hot import Claim, Following, HotPath, Progress
from sagas.store.ids import uuid7
from sagas.store.inbox import Inbox
from sagas.store.instances import Instances, Loaded
from sagas.store.locks import LIMIT_PREFIX, Locks, Wanted
from sagas.store.migrations.runner import Execute, migrate, migrations, on_connection, quote
from sagas.store.purging import Purged, Purging
from sagas.store.rows import error_from, legible, merged
from sagas.store.starting import CallersTransaction, NewInstance, Starting, has_written
from sagas.store.sweeping import Beat, Sweeping
from sagas.store.tables import Tables
from sagas.store.timing import Timing
from sagas.store.url import DatabaseUrl, normalise_url


class Store:
    """Everything that one ``Sagas`` keeps in its schema of one database."""

    def __init__(self, url: DatabaseUrl, schema: str, timing: Timing) -> None:
        quoted = quote(schema)
        self.schema = schema
        self.timing = timing
        self.database = Database(url)
        self.tables = Tables(schema)
        self.instances = Instances(self.database, self.tables, quoted, timing)
        self.starting = Starting(self.database, self.instances, quoted, timing)
        self.locks = Locks(self.database, schema, quoted)
        self.hot = HotPath(self.database, quoted, timing)
        self.sweeping = Sweeping(self.database, quoted, timing)
        self.purging = Purging(self.database, quoted)

    def migrate(self) -> list[str]:
        """Apply the missing migrations; returns their file names."""

        def work() -> list[str]:
            with self.database.transaction() as connection:
                return migrate(on_connection(connection), self.schema)

        # What runs meanwhile locks the same tables in another order.
        return self.database.retrying(work)


__all__ = [
    "Beat",
    "CallersTransaction",
    "Claim",
    "Database",
    "DatabaseUrl",
    "Execute",
    "Following",
    "HotPath",
    "Inbox",
    "Instances",
    "LIMIT_PREFIX",
    "Loaded",
    "Locks",
    "NewInstance",
    "Progress",
    "Purged",
    "Purging",
    "Starting",
    "Store",
    "Sweeping",
    "Tables",
    "Timing",
    "Wanted",
    "error_from",
    "has_written",
    "legible",
    "merged",
    "migrate",
    "migrations",
    "normalise_url",
    "quote",
    "sqlstate",
    "uuid7",
]
