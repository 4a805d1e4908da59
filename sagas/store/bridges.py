"""Bridges to other services: what leaves and is not known to be received, and what has come."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from sagas.store import bridge_statements
from sagas.store.book import InSchema

#: How many events one pass sends.
BATCH = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """A message as it is stored. ``refused``: why it is not published; it takes its index all the same."""

    event_id: UUID
    run_there: UUID  # the id that its run has in the other service
    run_id: UUID
    index: int | None
    message: bytes | None
    refused: str | None = None


class Bridges(InSchema):
    """Reads and writes `saga_export`, `saga_import` and `saga_bridge`."""

    # -- what leaves

    def export(self, connection: Connection, run_id: UUID, bridge: str, types: Sequence[str], before: int) -> None:
        """Let events that have just got their numbers leave, under the lock of their run."""
        given = {"bridge": bridge, "run_id": run_id, "types": list(types), "before": before, "came_by": came_by(bridge)}
        connection.execute(self._sql(bridge_statements.EXPORT), given)

    def due(self, bridge: str) -> Sequence[Row[Any]]:
        """Return what is to be sent now, in its order: at most `BATCH`."""
        with self._database.autocommit() as connection:
            return connection.execute(self._sql(bridge_statements.DUE), {"bridge": bridge, "limit": BATCH}).all()

    def sent(self, ids: Sequence[int]) -> None:
        """Record that the broker has taken some: they are sent again unless they are received."""
        self._run(bridge_statements.SENT, ids=list(ids))

    def skipped(self, id_: int, why: str) -> None:
        """Record that a mark is sent instead of an event, which takes its index."""
        self._run(bridge_statements.SKIPPED, id=id_, why=why)

    def received(self, bridge: str, received: Sequence[tuple[UUID, int]]) -> None:
        """Record that the other side has stored some, each by its run and its index."""
        runs, indexes = [run for run, _ in received], [index for _, index in received]
        self._run(bridge_statements.RECEIVED, bridge=bridge, runs=runs, indexes=indexes)

    def send_again(self, bridge: str, run_id: UUID) -> int:
        """Send everything of a run again, under the same ids; return how many."""
        return self._run(bridge_statements.SEND_AGAIN, bridge=bridge, run_id=run_id)

    # -- what comes

    @contextmanager
    def stream(self, bridge: str, run_there: UUID) -> Iterator[Connection]:
        """Return a transaction that alone takes the events of one run."""
        with self._database.transaction() as connection:
            given = {"bridge": bridge, "run_there": run_there}
            connection.execute(self._sql(bridge_statements.LOCK_STREAM), given)
            yield connection

    def keep(self, connection: Connection, bridge: str, imported: Imported) -> bool:
        """Store a message. False: it has come before. With the index of another one it is refused."""
        given = {
            "bridge": bridge,
            "event_id": imported.event_id,
            "run_there": imported.run_there,
            "run_id": imported.run_id,
            "index": imported.index,
            "message": imported.message,
            "refused": imported.refused,
        }
        return connection.scalar(self._sql(bridge_statements.IMPORT), given) is not None

    def next(self, connection: Connection, bridge: str, run_there: UUID) -> Row[Any] | None:
        """Return the message whose turn it is; None: it has not come."""
        given = {"bridge": bridge, "run_there": run_there}
        return connection.execute(self._sql(bridge_statements.NEXT), given).one_or_none()

    def take(self, connection: Connection, bridge: str, event_id: UUID, refused: str | None) -> None:
        """Record that a message was published, or why it was not: the next one has its turn."""
        given = {"bridge": bridge, "event_id": event_id, "refused": refused}
        connection.execute(self._sql(bridge_statements.TAKE), given)

    def missing(self, connection: Connection, bridge: str, run_there: UUID) -> int | None:
        """Return the index for which others of a run wait; None: none waits."""
        given = {"bridge": bridge, "run_there": run_there}
        row = connection.execute(self._sql(bridge_statements.MISSING), given).one()
        return None if row.first_held is None or row.first_held == row.missing else int(row.missing)

    def acknowledge(self, bridge: str, event_id: UUID) -> bool:
        """Record that a person has dealt with what was refused. False: there is none."""
        return bool(self._run(bridge_statements.SETTLE_REFUSAL, bridge=bridge, event_id=event_id))

    # -- how a bridge stands

    def dropped(self, bridge: str, why: str) -> None:
        """Count a message whose sender is unknown, and which is not kept."""
        self._run(bridge_statements.DROPPED, bridge=bridge, why=why)

    def closed(self, bridge: str, seconds: float, error: str) -> None:
        """Record that the bridge's broker is away, and when it is tried again."""
        self._run(bridge_statements.CLOSED, bridge=bridge, seconds=seconds, error=error)

    def opened(self, bridge: str) -> None:
        self._run(bridge_statements.OPENED, bridge=bridge)

    def standing(self, names: Sequence[str]) -> Sequence[Row[Any]]:
        """Return how some bridges stand, by name."""
        with self._database.autocommit() as connection:
            return connection.execute(self._sql(bridge_statements.HOW_BRIDGES_STAND), {"names": list(names)}).all()

    def entries(self, bridge: str, limit: int) -> Sequence[Row[Any]]:
        """Return what was refused, and what waits for an earlier one: the oldest first."""
        with self._database.autocommit() as connection:
            return connection.execute(self._sql(bridge_statements.ENTRIES), {"bridge": bridge, "limit": limit}).all()

    def _run(self, statement: str, **given: Any) -> int:
        with self._database.autocommit() as connection:
            return connection.execute(self._sql(statement), given).rowcount


def came_by(bridge: str) -> str:
    """Return the name of the publisher of an event that came by a bridge."""
    return f"bridge:{bridge}"
