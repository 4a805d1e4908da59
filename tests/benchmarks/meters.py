"""What PostgreSQL and the broker count by themselves: transactions, statements, fsyncs, bytes of WAL, messages."""

from dataclasses import dataclass, fields
from typing import Any

from redis import Redis

from tests.support import journal
from tests.support.workers import eventually

#: All of one database, but for the fsyncs and the WAL, which the server counts for all of its databases together.
COUNTERS = """
SELECT (SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()) AS transactions,
       (SELECT {fsyncs}) AS fsyncs,
       (SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8) AS wal_bytes,
       (SELECT {statements}) AS statements
"""
FSYNCS = "sum(fsyncs) FROM pg_stat_io WHERE object = 'wal'"
FSYNCS_BEFORE_18 = "wal_sync FROM pg_stat_wal"
STATEMENTS = """sum(calls) FROM pg_stat_statements
    WHERE toplevel AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"""


OTHERS = """SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""


@dataclass(frozen=True, kw_only=True)
class Counters:
    """Totals at one moment, or the difference of two; ``statements`` is None where PostgreSQL does not count them."""

    transactions: float
    fsyncs: float
    wal_bytes: float
    statements: float | None

    def since(self, before: "Counters") -> "Counters":
        differences: dict[str, Any] = {}
        for field in fields(self):
            now, then = getattr(self, field.name), getattr(before, field.name)
            differences[field.name] = None if now is None or then is None else now - then
        return Counters(**differences)


class Observer:
    """Asks one database from outside, and keeps account of its own transactions.

    A session reports what it has counted a second later at the most, or when it ends: take the counters when those
    whose work they tell have disconnected.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._asked = 0
        self._connection: Any = None

    def ask(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = journal.connect(self._url)
            self._asked += 1  # connecting is a transaction too
        self._asked += 1
        cursor = self._connection.cursor()
        cursor.execute(statement, parameters or None)
        return list(cursor.fetchall()) if cursor.description else []

    def close(self) -> None:
        """Disconnect, as before a restart of the server; the next question connects again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def wait_until_alone(self) -> None:
        """Until all other sessions of the database have ended, and so have reported what they counted."""
        eventually(lambda: not self.ask(OTHERS)[0][0], "the other sessions to end", 15)

    def wal(self) -> float:
        """Bytes of WAL that the server has ever written."""
        ((written,),) = self.ask("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8")
        return float(written)

    def counters(self) -> Counters:
        """The totals without what this observer has asked."""
        self._report()
        fsyncs = FSYNCS if self._connection.server_version >= 180_000 else FSYNCS_BEFORE_18
        counts_statements = self.ask("SELECT 1 FROM pg_extension WHERE extname = 'pg_stat_statements'")
        statements = STATEMENTS if counts_statements else "NULL"
        self._report()
        asked = self._asked
        ((transactions, synced, wal_bytes, called),) = self.ask(COUNTERS.format(fsyncs=fsyncs, statements=statements))
        return Counters(
            transactions=float(transactions) - asked,
            fsyncs=float(synced or 0),
            wal_bytes=float(wal_bytes),
            statements=None if called is None else float(called) - asked,
        )

    def _report(self) -> None:
        """What this session has counted itself: see that it is told by now."""
        self.ask("SELECT pg_stat_force_next_flush()")


def pushed(broker: Redis) -> int:
    """How many messages have been put into queues since the broker was started.

    Lists are queues for Celery: its own put, one by one, is an LPUSH; events are published and do not count.
    """
    stats: Any = broker.info("commandstats")
    return int(stats.get("cmdstat_lpush", {}).get("calls", 0))
