"""The receiving end of a bridge: messages are checked, stored, and published into their runs in the order they left."""

import hashlib
import logging
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol
from uuid import UUID, uuid4, uuid5

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from sagas.bridges.envelope import LARGEST, NOWHERE, RECEIPT, SKIPPED, Envelope, Refused
from sagas.bridges.signing import SIGNATURE, is_signed
from sagas.choreography import Choreography
from sagas.engine import Engine, JoinedConnection, Publisher
from sagas.errors import PayloadError
from sagas.model import payload
from sagas.model.choreography.plan import BridgePlan
from sagas.model.choreography.state import Published
from sagas.store import NewRun, run_id_of
from sagas.store.bridges import Imported, came_by
from sagas.store.database import is_conflict, is_impatient, is_outage

logger = logging.getLogger("sagas")

#: Older messages are not taken, since what their runs have taken may no longer be remembered.
OLDEST = timedelta(days=30)
#: The reason that is kept with an index that no event takes.
SKIPPED_HERE = "skipped by a person: it was lost"
#: The namespace of the ids that unreadable messages get.
_UNREADABLE = UUID("5e6b5a5e-7f0b-5d3e-8f0b-2f6c8f3f1d11")

#: The receipt for a message: its run and its index on the other side.
Receipt = tuple[UUID, int]


class Side(Protocol):
    """This side of a bridge, as it was declared."""

    name: str
    source: str
    keys: tuple[bytes, ...]
    choreography: Choreography
    plan: BridgePlan


class Receiver:
    """Takes the messages of one bridge. It runs no task, and reaches one choreography."""

    def __init__(self, engine: Engine, bridge: Side) -> None:
        store = engine.store
        self._engine, self._secrecy = engine, engine.secrecy
        self._database, self._bridges = store.database, store.bridges
        self._runs, self._starting = store.runs, store.starting
        self._bridge = bridge
        self._choreography = bridge.choreography

    def receive(self, body: bytes, headers: dict[str, Any]) -> Receipt | None:
        """Take a message: when this returns it is stored, or never will be. Safe to repeat.

        Returns:
            The receipt for its sender; None if the sender is not the other side, or the message is a receipt itself.

        Raises:
            SQLAlchemyError, NotRegistered: it could not be stored now.
        """
        try:
            self._check_sender(body, headers)
        except Refused as refused:
            self._drop(str(refused))
            return None
        try:
            envelope = Envelope.read(body)
        except Refused as refused:
            self._keep_unreadable(body, str(refused))
            return None
        return self._read(envelope, body)

    def _check_sender(self, body: bytes, headers: dict[str, Any]) -> None:
        """Refuse a message that anyone may have sent, before reading any of it. Raises Refused."""
        if len(body) > LARGEST:
            raise Refused(f"it has {len(body)} bytes; the limit is {LARGEST}")
        if not is_signed(body, headers.get(SIGNATURE), self._bridge.keys):
            raise Refused("it is not signed with a key of this bridge: both sides need one key in common in keys=")

    def _read(self, envelope: Envelope, body: bytes) -> Receipt | None:
        bridge = self._bridge
        if (envelope.source, envelope.audience) != (bridge.name, bridge.source):
            self._drop(f"it is from {envelope.source!r:.80} for {envelope.audience!r:.80}")
            return None
        if datetime.now(UTC) - envelope.time > OLDEST:
            self._drop(f"it was sent on {envelope.time:%Y-%m-%d}, more than {OLDEST.days} days ago")
            return None
        if envelope.type == RECEIPT:
            self._bridges.received(bridge.name, receipts_in(envelope.data))
            return None
        self._take(envelope, body)
        return envelope.run, envelope.index

    def _drop(self, why: str) -> None:
        logger.warning(
            "bridge %s: a message was dropped: %s", self._bridge.name, why, extra={"bridge": self._bridge.name}
        )
        self._bridges.dropped(self._bridge.name, why)

    # -- storing

    def _take(self, envelope: Envelope, body: bytes) -> None:
        imported = Imported(
            event_id=envelope.id,
            run_there=envelope.run,
            run_id=self._run_of(envelope),
            index=envelope.index,
            message=body,
            refused=self._why_refused(envelope),
        )
        self._release(envelope.run, imported)

    def _keep_unreadable(self, body: bytes, why: str) -> None:
        """Keep a signed message that cannot be read, for a person: it has no index."""
        id_ = uuid5(_UNREADABLE, hashlib.sha256(body).hexdigest())
        imported = Imported(event_id=id_, run_there=NOWHERE, run_id=NOWHERE, index=None, message=body, refused=why)
        logger.error("bridge %s: a message cannot be read: %s", self._bridge.name, why)
        with self._bridges.stream(self._bridge.name, NOWHERE) as connection:
            if self._bridges.keep(connection, self._bridge.name, imported):
                self._bridges.take(connection, self._bridge.name, id_, why)

    def _release(self, run_there: UUID, imported: Imported | None = None) -> None:
        """Store an event that came, and publish those whose turn it is, in one transaction."""

        def work() -> list[UUID]:
            with self._bridges.stream(self._bridge.name, run_there) as connection:
                if imported is not None:
                    self._bridges.keep(connection, self._bridge.name, imported)
                return self._published(connection, run_there)

        for run_id in dict.fromkeys(self._database.retrying(work)):
            self._engine.loop.poke(run_id, wait_for_broker=False)

    def _published(self, connection: Connection, run_there: UUID) -> list[UUID]:
        reached = []
        while (row := self._bridges.next(connection, self._bridge.name, run_there)) is not None:
            why = row.refused or self._publish(connection, row.run_id, bytes(row.message))
            if why is None:
                reached.append(row.run_id)
            else:
                logger.error("bridge %s: event %s was refused: %s", self._bridge.name, row.event_id, why)
            self._bridges.take(connection, self._bridge.name, row.event_id, why)
        return reached

    def _publish(self, connection: Connection, run_id: UUID, body: bytes) -> str | None:
        """Publish an event; return the reason if that is impossible."""
        envelope, transaction = Envelope.read(body), JoinedConnection(connection)
        insert = partial(self._inserted, transaction, run_id, envelope)
        try:
            done = self._starting.unharmed(transaction, insert, may_wait=True)
        except DBAPIError as error:
            if is_outage(error) or is_conflict(error) or is_impatient(error):
                raise
            return f"it cannot be stored: {type(error.orig).__qualname__}"
        return "its run began with another event, has another one of its id, or is a saga" if done is None else None

    def _inserted(self, transaction: JoinedConnection, run_id: UUID, envelope: Envelope) -> bool | None:
        by = came_by(self._bridge.name)
        event = Published(
            id=envelope.id,
            type=envelope.type,
            version=envelope.version,
            payload=self._secrecy.dumps(envelope.fields, "data"),
            depth=envelope.depth + 1,
            caused_by=envelope.cause,
        )
        plan = self._choreography.plan(self._engine)
        if envelope.type != plan.starts:
            return self._runs.publish(transaction.scalar, run_id, event, f"{by}:{envelope.id}", by)
        whole = Publisher(self._engine).whole_graph(plan)
        new = NewRun(
            id=run_id,
            plan=whole,
            key=envelope.key,
            event=event,
            headers=self._engine.captor.of_trace(envelope.trace),
            by=by,
            beginner=envelope.correlation or envelope.run,
        )
        return self._runs.start(transaction.scalar, new)

    def skip_missing(self, run_there: UUID) -> int | None:
        """Skip the missing index for which later events of a run wait, and return it. None: nothing waits."""
        with self._bridges.stream(self._bridge.name, run_there) as connection:
            index = self._bridges.missing(connection, self._bridge.name, run_there)
        if index is not None:
            lost = Imported(
                event_id=uuid4(), run_there=run_there, run_id=run_there, index=index, message=None, refused=SKIPPED_HERE
            )
            self._release(run_there, lost)
        return index

    # -- judging

    def _run_of(self, envelope: Envelope) -> UUID:
        """Return the run here: that of the same business key, or of the same id."""
        return envelope.run if envelope.key is None else run_id_of(self._choreography.name, envelope.key)

    def _why_refused(self, envelope: Envelope) -> str | None:
        if envelope.type == SKIPPED:
            return f"the other side left it out: {payload.excerpt(envelope.data)}"
        if envelope.type not in self._bridge.plan.accepts:
            return f"events of the type {payload.excerpt(envelope.type)} are not accepted"
        if envelope.index < 1:
            return "its index is below 1"
        try:
            fields = envelope.fields
            self._secrecy.dumps(fields, "data")
            self._check_fit(envelope, fields)
        except (Refused, PayloadError) as error:
            return str(error)
        return None

    def _check_fit(self, envelope: Envelope, fields: dict[str, Any]) -> None:
        """Refuse an event whose fields do not fit. One of a newer version waits for newer code, as deliveries do."""
        known = self._choreography.types[envelope.type]
        if envelope.version <= known.version:
            try:
                known.read(envelope.version, fields)
            except Exception as error:
                raise Refused(str(error)) from error


def receipts_in(data: Any) -> list[Receipt]:
    """Return the messages that a receipt names, without malformed entries."""
    found = []
    for one in data if isinstance(data, list) else ():
        try:
            run, index = one
            if type(index) is int and 0 < index < 2**31:
                found.append((UUID(run), index))
        except (TypeError, ValueError, AttributeError):
            continue
    return found
