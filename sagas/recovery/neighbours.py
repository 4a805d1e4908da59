"""What a worker does about other applications on its broker or in its schema: it says who it is, and looks around."""

import logging
import threading
from collections import OrderedDict
from typing import Any
from uuid import UUID

from sagas.engine import CONTROL_QUEUE, Engine, declared, left_in
from sagas.errors import SagaError
from sagas.model.neighbours import Neighbour, clashes, place_of

logger = logging.getLogger("sagas")

#: Under this name a worker answers ``celery inspect stats``.
STATS = "sagas"
#: Seconds in which the workers on a broker answer who they are.
PATIENCE = 1.0
#: Ids of foreign messages that a worker remembers having put back.
REMEMBERED = 1000


class Neighbourhood:
    """One engine's part in it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._introduced: UUID | None = None
        self._put_back: OrderedDict[str, None] = OrderedDict()
        self._seen_homes: set[str] = set()

    # -- saying who we are

    def move_in(self) -> None:
        """Before the pool's children are forked, which inherit the mark: ask for it, and hear the control queue."""
        self._engine.control.home()
        self._engine.control.consume(self._engine.app.amqp.queues)

    def introduce(self, worker_id: UUID) -> None:
        """Say in the worker's row who it belongs to; once for each of its ids."""
        self._engine.control.home()  # the database may have been away when it was asked
        if worker_id != self._introduced:
            own = itself(self._engine)
            self._engine.store.fleet.introduce(
                worker_id, app=own.app, control_queue=own.control_queue, broker=own.broker or "", plans=own.plans
            )
            self._introduced = worker_id

    def told(self) -> dict[str, Any]:
        """What others get who ask over the broker."""
        home, control = self._engine.control.known_home, self._engine.control
        return {STATS: {"app": self._engine.app.main, "home": home, "control_queue": control.queue}} if home else {}

    # -- looking who is there

    def look_around(self, options: Any) -> None:
        """Log the clashes with those who are there already, beside the worker's start; ``--without-mingle`` asks nobody
        over the broker."""
        mingles = not options.get("without_mingle")
        threading.Thread(target=self._look, args=(mingles,), name="sagas-neighbours", daemon=True).start()

    def _look(self, mingles: bool) -> None:
        engine = self._engine
        if engine.control.queue != CONTROL_QUEUE:
            try:
                log_left(left_in(CONTROL_QUEUE, engine.messages))
            except Exception as error:  # the broker is away, or has no such thing
                logger.debug("the former control queue was not asked: %r", error)
        if engine.control.home() is None:
            return
        others: list[Neighbour] = []
        try:
            others += engine.store.fleet.alive(itself(engine).home)
        except Exception as error:  # the database is away
            logger.warning("the workers of this schema were not asked who they are: %r", error)
        if mingles:
            try:
                others += over_the_broker(engine)
            except Exception as error:  # a broker without broadcasts
                logger.debug("the workers on this broker were not asked who they are: %r", error)
        for line in clashes(itself(engine), others):
            logger.error("sagas of another application clash with ours: %s", line)

    # -- what comes by mistake

    def turn_away(self, message: Any) -> bool:
        """Put a control message of another application back, for one of its own workers to take.

        One that comes here again is dropped: nobody else listens, or all of them are busy, and it would go round for
        ever. That is harmless: each control message is a hurry, and what it asks for is found by its owner's sweep.
        """
        home = self._engine.control.foreign_home(message.headers)
        if home is None:
            return False
        if home not in self._seen_homes:
            self._seen_homes.add(home)
            logger.error(
                "control messages of another application, with sagas in %s, come by a queue of ours (%s): they are put "
                "back. Give one of the two Sagas(control_queue='…')",
                place_of(home),
                ", ".join(self._engine.control.consumed),
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


def itself(engine: Engine) -> Neighbour:
    """What a process of this app says of itself. Its database was asked for the mark before."""
    found: dict[str, set[str]] = {}
    for saga in declared():
        try:
            found.setdefault(f"{saga.name}:{saga.version}", set()).add(saga.plan(engine).fingerprint)
        except SagaError:  # another app's, or told by `check`
            continue
    # Where one process has several, nobody can tell which of them another one would have to have.
    plans = {name: fingerprints.pop() for name, fingerprints in found.items() if len(fingerprints) == 1}
    return Neighbour(
        worker="this one",
        app=engine.app.main,
        home=engine.control.known_home or "",
        control_queue=engine.control.queue,
        broker=engine.app.connection_for_read().as_uri(),
        plans=plans,
    )


def over_the_broker(engine: Engine) -> list[Neighbour]:
    """The workers with sagas that answer on this broker. Raises what the broker raises."""
    with engine.messages.impatient_connection() as connection:
        answers = engine.app.control.inspect(timeout=PATIENCE, connection=connection).stats() or {}
    found = []
    for name, stats in answers.items():
        said = stats.get(STATS) if isinstance(stats, dict) else None
        if isinstance(said, dict) and all(isinstance(said.get(what), str) for what in ("home", "control_queue")):
            found.append(
                Neighbour(worker=name, app=said.get("app"), home=said["home"], control_queue=said["control_queue"])
            )
    return found


def log_left(count: int) -> None:
    if count:
        logger.warning("%s", left_in_words(count))


def left_in_words(count: int) -> str:
    return (
        f"{count} messages are left in the former control queue {CONTROL_QUEUE!r}, of this app or of another: workers "
        "consume it until the next release. Let beat entries name the new queue, and update to that release once it "
        "stays empty"
    )
