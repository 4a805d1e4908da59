"""The only place with SQL: tables, named statements, migrations."""

from sagas.store.database import Database, sqlstate
from sagas.store.hot import Claim, HotPath
from sagas.store.ids import uuid7
from sagas.store.instances import Instances, Loaded, error_from
from sagas.store.migrations.runner import Execute, migrate, migrations, on_connection, quote
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
        self.hot = HotPath(self.database, quoted, timing)
        self.sweeping = Sweeping(self.database, quoted, timing)

    def migrate(self) -> list[str]:
        """Apply the missing migrations; returns their file names."""
        with self.database.transaction() as connection:
            return migrate(on_connection(connection), self.schema)


__all__ = [
    "Beat",
    "CallersTransaction",
    "Claim",
    "Database",
    "DatabaseUrl",
    "Execute",
    "HotPath",
    "Instances",
    "Loaded",
    "NewInstance",
    "Starting",
    "Store",
    "Sweeping",
    "Tables",
    "Timing",
    "error_from",
    "has_written",
    "migrate",
    "migrations",
    "normalise_url",
    "quote",
    "sqlstate",
    "uuid7",
]
