"""The campaign's servers: PostgreSQL that loses what it may, a standby to be promoted, a broker that can forget."""

import shutil
import signal
from pathlib import Path
from typing import Any, Self

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from config.servers import EmbeddedBroker, EmbeddedPostgres, EmbeddedServer, ServerError
from tests.support import journal
from tests.support.workers import eventually

#: Few, so that they can be used up.
CONNECTIONS = 120
STANDBY = "campaign_standby"


class KeepsItsData(EmbeddedServer):
    """Started again on a busy machine it may need several tries; its data outlive those that fail."""

    def start(self) -> Self:
        if self.pid is not None or self._directory is None:
            return super().start()
        for tries_left in (2, 1, 0):
            try:
                self._launch()
                break
            except ServerError:
                self._end(signal.SIGKILL)
                if not tries_left:
                    raise
        return self


class Postgres(KeepsItsData, EmbeddedPostgres):
    """The primary. Without fsync: processes are killed here, not the machine."""

    settings = (
        f"max_connections={CONNECTIONS}",
        "shared_buffers=128MB",
        "max_wal_size=2GB",
        # An unsynced commit stays in the server's memory for as long as may be: a crash loses it.
        "wal_writer_delay=10s",
        "wal_level=replica",
        "max_wal_senders=4",
        "wal_keep_size=512MB",
        "autovacuum_naptime=10s",
    )

    def __init__(self) -> None:
        super().__init__(durable=False)

    def _command(self) -> list[str]:
        return [*super()._command(), *(part for setting in self.settings for part in ("-c", setting))]

    def stop_in_order(self) -> None:
        """ "Fast" shutdown: connections are cut, and all is written."""
        self._end(self.ends_at)

    def stop_at_once(self) -> None:
        """ "Immediate" shutdown: no checkpoint, the next start recovers."""
        self._end(signal.SIGQUIT)


class Standby(Postgres):
    """A copy of a primary that follows it, to be promoted."""

    def __init__(self, primary: Postgres) -> None:
        super().__init__()
        self._primary = primary

    def _prepare(self) -> None:
        self._binaries = self._primary._binaries
        source = f"host={self._primary.directory} port=5432 user=postgres application_name={STANDBY}"
        into = f"{self.directory}/data"
        copy = [f"{self._binaries}/pg_basebackup", "-D", into, "-d", source, "-X", "stream", "-c", "fast", "-R"]
        copying = self._popen([*copy, "--no-sync"])
        if copying.wait() != 0:
            raise self._failure("could not copy its primary")

    def promote(self) -> None:
        """Become the primary."""
        connection = journal.connect(self.url)
        try:
            connection.cursor().execute("ALTER SYSTEM SET synchronous_standby_names = ''")
            connection.cursor().execute("SELECT pg_reload_conf(), pg_promote(true, 60)")
        finally:
            connection.close()


def follow_synchronously(primary: Postgres) -> None:
    """What the primary says is committed, the standby has from here on."""
    connection = journal.connect(primary.url)
    try:
        cursor = connection.cursor()
        eventually(lambda: _replicates(cursor, "streaming"), "the standby to follow", 30)
        cursor.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'")
        cursor.execute("SELECT pg_reload_conf()")
        eventually(lambda: _replicates(cursor, "sync"), "the standby to be in step", 30)
    finally:
        connection.close()


def _replicates(cursor: Any, wanted: str) -> bool:
    cursor.execute("SELECT state, sync_state FROM pg_stat_replication WHERE application_name = %s", (STANDBY,))
    return any(wanted in row for row in cursor.fetchall())


class Broker(KeepsItsData, EmbeddedBroker):
    """Valkey with an append-only file, which a fault may take away."""

    def __init__(self) -> None:
        super().__init__(persistent=True)

    @property
    def socket(self) -> str:
        return f"{self.directory}/valkey.sock"

    @property
    def upstream(self) -> Path:
        """Where a cable leads."""
        return self.directory / "valkey.sock"

    @staticmethod
    def url_at(port: int) -> str:
        """The broker as it is reached through a cable."""
        return f"redis://127.0.0.1:{port}/0"

    def client(self, patience: float = 5.0) -> Redis:
        """By a connection that no cable carries; it asks once, so that nobody waits long for a frozen server."""
        return Redis(unix_socket_path=self.socket, socket_timeout=patience, retry=Retry(NoBackoff(), 0))

    def length(self) -> int | None:
        """How many messages wait in the queue of steps; None: it does not answer."""
        try:
            with self.client(0.5) as client:
                return int(client.llen("celery"))  # type: ignore[arg-type,unused-ignore]
        except RedisError:
            return None

    def forget(self) -> None:
        """While it is dead: it comes back empty."""
        shutil.rmtree(self.directory / "appendonlydir", ignore_errors=True)
