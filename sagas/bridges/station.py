"""The process of a bridge: it sends what leaves, takes what comes, and waits while a broker or the database is away."""

import logging
import threading
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from sagas.bridges.receiving import Receipt, Receiver
from sagas.bridges.sending import Exporter
from sagas.bridges.transport import BrokerLine, FunctionLine
from sagas.engine import Engine
from sagas.errors import DatabaseUnreachable, NotRegistered, PlanChanged
from sagas.store.database import is_conflict, is_impatient, is_outage

if TYPE_CHECKING:
    from sagas.bridges.bridge import Bridge

logger = logging.getLogger("sagas")

#: The first and the longest pause after an outage, in seconds; each is twice as long as the one before.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
#: How long it waits for a message while nothing is to leave: the longest delay of an event that leaves.
IDLE = 0.5


class Station:
    """Runs one bridge in this thread. Several processes may run it: one of them sends, all of them receive."""

    def __init__(self, engine: Engine, bridge: "Bridge") -> None:
        self._bridge = bridge
        self._bridges = engine.store.bridges
        self._exporter = Exporter(bridge, self._bridges, engine.store.lines, engine.secrecy)
        self._receiver = Receiver(engine, bridge)
        self._receipts: list[Receipt] = []
        self._pause = FIRST_PAUSE

    def run(self, stop: threading.Event) -> None:
        """Send and receive until it is told to stop. An outage does not end it; a bug does."""
        while not stop.is_set():
            line: BrokerLine | FunctionLine = self._line()
            try:
                with line:
                    self._bridges.opened(self._bridge.name)
                    while not stop.is_set():
                        self._round(line)
                        self._pause = FIRST_PAUSE
            except Exception as error:
                if not (isinstance(error, line.errors) or may_pass(error)):
                    raise
                self._wait(error, stop)
        self._leave()

    def _line(self) -> "BrokerLine | FunctionLine":
        return FunctionLine(self._bridge) if self._bridge.publish else BrokerLine(self._bridge, self._take)

    def _round(self, line: Any) -> None:
        sent = self._exporter.send_batch(line)
        line.drain(0.01 if sent else IDLE)
        receipts, self._receipts = self._receipts, []
        self._exporter.send_receipts(line, receipts)

    def _take(self, body: bytes, headers: dict[str, Any]) -> None:
        receipt = self._receiver.receive(body, headers)
        if receipt is not None:
            self._receipts.append(receipt)

    def _wait(self, error: Exception, stop: threading.Event) -> None:
        reason = f"{type(error).__qualname__}: {str(error).partition(chr(10))[0][:200]}"
        logger.warning("bridge %s is closed for %g s: %s", self._bridge.name, self._pause, reason)
        try:
            self._bridges.closed(self._bridge.name, self._pause, reason)
        except SQLAlchemyError:
            logger.warning("bridge %s: the database is away, too", self._bridge.name)
        stop.wait(self._pause)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def _leave(self) -> None:
        try:
            self._exporter.give_back()
        except SQLAlchemyError:
            logger.warning(
                "bridge %s: the database is away, so another process sends only once the lease has run out",
                self._bridge.name,
            )


def may_pass(error: Exception) -> bool:
    """Return whether an error may pass by itself: the database is away, or a deploy is under way."""
    if isinstance(error, DBAPIError):
        return is_outage(error) or is_conflict(error) or is_impatient(error)
    return isinstance(error, SQLAlchemyError | DatabaseUnreachable | NotRegistered | PlanChanged)
