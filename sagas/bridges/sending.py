"""The sending end of a bridge: one process sends in batches, and an outage of the broker costs nothing."""

import json
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID, uuid4

from sqlalchemy import Row

from sagas.bridges.envelope import LARGEST, RECEIPT, SKIPPED, Envelope
from sagas.bridges.receiving import Receipt
from sagas.model import Secrecy, payload
from sagas.store import Lines
from sagas.store.bridges import Bridges

if TYPE_CHECKING:
    from sagas.bridges.bridge import Bridge

logger = logging.getLogger("sagas")

#: How long a process keeps the right to send, unless it renews it with the next batch. A batch ends after half of it.
LEASE = timedelta(seconds=30)
#: How many receipts one message carries.
RECEIPTS_AT_ONCE = 500


class Line(Protocol):
    """The open way to the other side."""

    confirms: bool  # whether the other side says what it has received

    def send(self, body: bytes) -> None:
        """Return once the broker has taken a message. Raises its errors."""


class Exporter:
    """Sends the events of one bridge in their order, as long as it holds the lease."""

    def __init__(self, bridge: "Bridge", bridges: Bridges, lines: Lines, secrecy: Secrecy) -> None:
        self._bridge = bridge
        self._bridges = bridges
        self._lines = lines
        self._secrecy = secrecy
        self._lease = f"bridge {bridge.name}"
        self._me = uuid4()

    def send_batch(self, line: Line) -> int:
        """Send due events while the lease is certain to last; return how many.

        Unconfirmed ones are due again, with the same id and index.
        """
        if not self._lines.take_lease(self._lease, self._me, LEASE):
            return 0
        ends_at = time.monotonic() + LEASE.total_seconds() / 2
        sent: list[Row[Any]] = []
        try:
            for row in self._bridges.due(self._bridge.name):
                if time.monotonic() > ends_at:
                    break
                line.send(self._message(row))
                sent.append(row)
        finally:
            if sent:
                self._bridges.sent([row.id for row in sent])
                if not line.confirms:
                    self._bridges.received(self._bridge.name, [(row.run_id, row.place) for row in sent])
        return len(sent)

    def send_receipts(self, line: Line, receipts: Sequence[Receipt]) -> None:
        """Tell the other side what is stored here. If a receipt is lost, it sends again, and gets another one."""
        for place in range(0, len(receipts), RECEIPTS_AT_ONCE):
            entries = [[str(run), index] for run, index in receipts[place : place + RECEIPTS_AT_ONCE]]
            line.send(self._envelope(id=uuid4(), type=RECEIPT, data=entries).to_bytes())

    def give_back(self) -> None:
        """Give the lease back, so that another process may send at once."""
        self._lines.give_lease_back(self._lease, self._me)

    def _message(self, row: Row[Any]) -> bytes:
        body = self._event(row, row.type, self._leaving(row.payload)).to_bytes()
        if len(body) <= LARGEST:
            return body
        why = f"it has {len(body)} bytes; the limit is {LARGEST}"
        logger.error("bridge %s: event %s does not leave: %s", self._bridge.name, row.event_id, why)
        self._bridges.skipped(row.id, why)
        return self._event(row, SKIPPED, why).to_bytes()

    def _leaving(self, text: str) -> Any:
        """Return an event's fields as tagged JSON, without secrets unless the bridge says that they leave."""
        secrecy = self._secrecy
        if not secrecy.is_wanted:
            return json.loads(text)
        fields = payload.loads(text)
        if self._bridge.sends_secrets:
            fields = secrecy.open(fields)
        else:
            fields = {name: value for name, value in fields.items() if name not in secrecy.names}
        return json.loads(payload.dumps(fields, "data"))

    def _event(self, row: Row[Any], type_: str, data: Any) -> Envelope:
        return self._envelope(
            id=UUID(str(row.event_id)),
            type=type_,
            data=data,
            choreography=row.saga,
            run=row.run_id,
            key=row.key,
            index=row.place,
            version=row.version,
            depth=row.depth,
            correlation=row.correlation_id,
            cause=row.cause,
            traceparent=row.traceparent,
            tracestate=row.tracestate,
        )

    def _envelope(self, **fields: Any) -> Envelope:
        return Envelope(source=self._bridge.source, audience=self._bridge.name, time=datetime.now(UTC), **fields)
