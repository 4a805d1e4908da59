"""The only package with SQL: tables, named statements, migrations."""

from sagas.store.book import StatementBook
from sagas.store.clock import Clock
from sagas.store.database import Database, reachable, sqlstate
from sagas.store.deliveries import Deliveries, Reached
from sagas.store.doubts import Doubts
from sagas.store.fleet import Fleet
from sagas.store.handlers import MOST_COUNTED, Alarm, Alert, Handlers
from sagas.store.headers import Headers, encode_headers, size_of_headers
from sagas.store.hot import Claim, ClaimedDelivery, HotPath, NextSteps, Progress
from sagas.store.ids import uuid7
from sagas.store.inbox import Inbox
from sagas.store.instances import Instances, Loaded, Saved
from sagas.store.kinship import Kinship
from sagas.store.letters import Letters
from sagas.store.lines import Lines, Released, Waiting
from sagas.store.listing import Filters, Listing
from sagas.store.locks import LIMIT_PREFIX, LockRequest, Locks
from sagas.store.migrations.runner import Execute, migrate, migrations, on_connection, quote
from sagas.store.purging import Purged, Purging
from sagas.store.records import Records
from sagas.store.release import RELEASE
from sagas.store.rows import error_from, legible, merged, stored_step_of
from sagas.store.runs import BY_A_STEP, IntendedRun, NewRun, Runs, run_id_of
from sagas.store.saving import Joining
from sagas.store.standing import Standings
from sagas.store.starting import CallersTransaction, NewInstance, Starting, has_written
from sagas.store.sweeping import Heartbeat, Sweeping
from sagas.store.tables import Tables
from sagas.store.timing import Timing
from sagas.store.url import DatabaseUrl, normalise_url
from sagas.store.waking import Waking, Woken


class Store:
    """Everything that one ``Sagas`` keeps in its schema of one database."""

    def __init__(self, url: DatabaseUrl, schema: str, timing: Timing) -> None:
        book = StatementBook(schema)
        self.schema = schema
        self.timing = timing
        self.database = Database(url)
        self.tables = Tables(schema)
        self.headers = Headers(self.database, book)
        self.instances = Instances(self.database, self.tables, book, timing)
        self.runs = self.instances.runs
        self.bridges = self.runs.bridges
        self.letters = Letters(self.database, book)
        self.handlers = Handlers(self.database, book)
        self.standings = Standings(self.database, book)
        self.starting = Starting(self.database, self.instances, book)
        self.locks = Locks(self.database, book)
        self.listing = Listing(self.database, book)
        self.kinship = Kinship(self.database, book)
        self.records = Records(self.database, book)
        self.doubts = Doubts(self.database, book)
        self.hot = HotPath(self.database, book, timing)
        self.deliveries = Deliveries(self.database, book)
        self.clock = Clock()
        self.lines = Lines(self.database, book, timing)
        self.sweeping = Sweeping(self.database, book, timing)
        self.waking = Waking(self.database, self.instances, book)
        self.purging = Purging(self.database, book)
        self.fleet = Fleet(self.database, book, timing)

    def migrate(self) -> list[str]:
        """Apply the missing migrations; return their file names."""

        def work() -> list[str]:
            with self.database.transaction() as connection:
                return migrate(on_connection(connection), self.schema)

        # Running workers lock the same tables in another order.
        return self.database.retrying(work)


__all__ = [
    "BY_A_STEP",
    "LIMIT_PREFIX",
    "MOST_COUNTED",
    "RELEASE",
    "Heartbeat",
    "Alarm",
    "Alert",
    "CallersTransaction",
    "Claim",
    "ClaimedDelivery",
    "Clock",
    "Database",
    "DatabaseUrl",
    "Deliveries",
    "Doubts",
    "Execute",
    "Filters",
    "Fleet",
    "NextSteps",
    "Handlers",
    "Headers",
    "HotPath",
    "Inbox",
    "Instances",
    "IntendedRun",
    "Joining",
    "Kinship",
    "Letters",
    "Lines",
    "Listing",
    "Loaded",
    "Locks",
    "NewInstance",
    "NewRun",
    "Progress",
    "Purged",
    "Purging",
    "Records",
    "Reached",
    "Released",
    "Runs",
    "Saved",
    "Standings",
    "Starting",
    "Store",
    "Sweeping",
    "Tables",
    "Timing",
    "Waiting",
    "Waking",
    "LockRequest",
    "Woken",
    "encode_headers",
    "error_from",
    "has_written",
    "legible",
    "merged",
    "migrate",
    "migrations",
    "normalise_url",
    "quote",
    "reachable",
    "run_id_of",
    "size_of_headers",
    "sqlstate",
    "stored_step_of",
    "uuid7",
]
