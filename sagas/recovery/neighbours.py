"""Other applications on a worker's broker or in its schema: the worker introduces itself, and looks for clashes."""

import logging
import threading
from collections import OrderedDict
from typing import Any
from uuid import UUID

from sagas.engine import CONTROL_QUEUE, Engine, declared, left_in
from sagas.errors import SagaError
from sagas.model.neighbours import Neighbour, clashes, place_of

logger = logging.getLogger("sagas")

#: The name under which a worker answers ``celery inspect stats``.
STATS = "sagas"
#: Seconds that the workers on a broker have to answer.
PATIENCE = 1.0
#: How many ids of foreign messages a worker remembers having put back.
REMEMBERED = 1000


class Neighbourhood:
    """Finds other applications for one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._control, self._fleet = engine.control, engine.store.fleet
        self._introduced: UUID | None = None
        self._put_back: OrderedDict[str, None] = OrderedDict()
        self._seen_homes: set[str] = set()

    # -- introducing ourselves

    def move_in(self) -> None:
        """Read the schema's mark and consume the control queue before the children are forked, which inherit both."""
        self._control.home()
        self._control.consume(self._engine.app.amqp.queues)

    def introduce(self, worker_id: UUID) -> None:
        """Write into the worker's row which app it belongs to; once for each of its ids."""
        self._control.home()  # the database may have been away before
        if worker_id != self._introduced:
            own = own_description_of(self._engine)
            self._fleet.introduce(
                worker_id, app=own.app, control_queue=own.control_queue, broker=own.broker or "", plans=own.plans
            )
            self._introduced = worker_id

    def introduction(self) -> dict[str, Any]:
        """Return the answer to other workers that ask over the broker."""
        home, queue = self._control.known_home, self._control.queue
        return {STATS: {"app": self._engine.app.main, "home": home, "control_queue": queue}} if home else {}

    # -- looking for others

    def look_around(self, options: Any) -> None:
        """Log the clashes with workers that are already there, beside the worker's start.

        With ``--without-mingle`` no worker is asked over the broker.
        """
        mingles = not options.get("without_mingle")
        threading.Thread(target=self._look, args=(mingles,), name="sagas-neighbours", daemon=True).start()

    def _look(self, mingles: bool) -> None:
        engine = self._engine
        if self._control.queue != CONTROL_QUEUE:
            try:
                log_left(left_in(CONTROL_QUEUE, engine.messages))
            except Exception as error:  # the broker is away, or has no such queue
                logger.debug("the former control queue was not asked: %r", error)
        if self._control.home() is None:
            return
        others: list[Neighbour] = []
        try:
            others += self._fleet.alive(own_description_of(engine).home)
        except Exception as error:  # the database is away
            logger.warning("the workers of this schema were not asked who they are: %r", error)
        if mingles:
            try:
                others += neighbours_on_broker(engine)
            except Exception as error:  # a broker without broadcasts
                logger.debug("the workers on this broker were not asked who they are: %r", error)
        for line in clashes(own_description_of(engine), others):
            logger.error("sagas of another application clash with ours: %s", line)

    # -- messages that come by mistake

    def turn_away(self, message: Any) -> bool:
        """Put a control message of another application back, for one of its own workers to take.

        A message that comes here again is dropped: no other worker listens, or all are busy, and it would circulate for
        ever. That is harmless: each control message only saves time, and its owner's sweep finds what it asks for.
        """
        home = self._control.foreign_home(message.headers)
        if home is None:
            return False
        if home not in self._seen_homes:
            self._seen_homes.add(home)
            logger.error(
                "control messages of another application, with sagas in %s, come by a queue of ours (%s): they are put "
                "back. Give one of the two Sagas(control_queue='…')",
                place_of(home),
                ", ".join(self._control.consumed),
            )
        message_id = str(message.headers.get("id"))
        if message_id in self._put_back:
            message.ack_log_error(logger, self._errors(message))
        else:
            self._put_back[message_id] = None
            if len(self._put_back) > REMEMBERED:
                self._put_back.popitem(last=False)
            message.reject_log_error(logger, self._errors(message), requeue=True)
        return True

    @staticmethod
    def _errors(message: Any) -> Any:
        return message.channel.connection.client.connection_errors


def own_description_of(engine: Engine) -> Neighbour:
    """Describe a process of this app. The schema's mark was read from its database before."""
    found: dict[str, set[str]] = {}
    for saga in declared():
        try:
            found.setdefault(f"{saga.name}:{saga.version}", set()).add(saga.plan(engine).fingerprint)
        except SagaError:  # another app's, or reported by `check`
            continue
    # If one process has several plans, it is unknown which of them another process would need.
    plans = {name: fingerprints.pop() for name, fingerprints in found.items() if len(fingerprints) == 1}
    return Neighbour(
        worker="this one",
        app=engine.app.main,
        home=engine.control.known_home or "",
        control_queue=engine.control.queue,
        broker=engine.app.connection_for_read().as_uri(),
        plans=plans,
    )


def neighbours_on_broker(engine: Engine) -> list[Neighbour]:
    """Return the workers with sagas that answer on this broker. Raises the broker's errors."""
    with engine.messages.impatient_connection() as connection:
        answers = engine.app.control.inspect(timeout=PATIENCE, connection=connection).stats() or {}
    found = []
    for name, stats in answers.items():
        description = stats.get(STATS) if isinstance(stats, dict) else None
        if isinstance(description, dict) and all(
            isinstance(description.get(what), str) for what in ("home", "control_queue")
        ):
            found.append(
                Neighbour(
                    worker=name,
                    app=description.get("app"),
                    home=description["home"],
                    control_queue=description["control_queue"],
                )
            )
    return found


def log_left(count: int) -> None:
    if count:
        logger.warning("%s", leftover_note(count))


def leftover_note(count: int) -> str:
    return (
        f"{count} messages are left in the former control queue {CONTROL_QUEUE!r}, of this app or of another: workers "
        "consume it until the next release. Let beat entries name the new queue, and update to that release once it "
        "stays empty"
    )
