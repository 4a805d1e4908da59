"""The engine: what one ``Sagas(app)`` is made of, and how an instance is started."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from celery import Celery
from sqlalchemy import URL

from sagas.engine.brief import BriefSender
from sagas.engine.joining import JoinedConnection
from sagas.engine.liveness import Held, WorkerIdentity
from sagas.engine.loop import Loop
from sagas.engine.messages import Messages, window_from
from sagas.model import Address, Plan
from sagas.signals import saga_started
from sagas.store import CallersTransaction, DatabaseUrl, NewInstance, Store, Timing, uuid7


class Engine:
    """Composes the parts; one per ``Sagas``."""

    def __init__(self, app: Celery, database: DatabaseUrl, schema: str, timing: Timing) -> None:
        self.app = app
        #: The transaction that surrounds a `start` which was given none; a framework's integration sets it.
        self.ambient: Callable[[], CallersTransaction | None] = lambda: None
        #: Is this one meant where a process has several? A framework that knows its current app sets it.
        self.is_current: Callable[[], bool] = lambda: False
        self.store = Store(database, schema, timing)
        self.messages = Messages(app)
        self.brief_sender = BriefSender(self.messages)
        self.loop = Loop(self.store, self.messages, self.brief_sender)
        self._same_database: set[tuple[URL, URL]] = set()
        self.identity = WorkerIdentity()
        self.held = Held()

    def start(
        self,
        plan: Plan,
        *,
        key: str | None,
        data: str,
        deadline: datetime | None,
        deadline_seconds: float | None,
        transaction: CallersTransaction | None,
    ) -> UUID:
        """Insert an instance and send its chain once the insert is committed; never raises for the broker.

        Args:
            transaction: the caller's, given by hand; without one the `ambient` one is joined, if there is one.
        """
        self.store.starting.register(plan)
        new = NewInstance(
            id=uuid7(),
            plan=plan,
            key=key,
            data=data,
            deadline=deadline,
            deadline_seconds=deadline_seconds,
        )
        if transaction is None:
            transaction = self.ambient()
        if transaction is None:
            found = self.store.starting.insert(new, self.messages.queue_of)
        else:
            self._refuse_elsewhere(transaction)
            found = self.store.starting.insert_in(transaction, new, self.messages.queue_of)
        if found != new.id:
            return found
        hurry = self._hurry(new)
        if transaction is None:
            hurry()
        else:
            transaction.after_commit(hurry, lambda: self.store.instances.read(new.id) is not None)
        return new.id

    def _refuse_elsewhere(self, transaction: CallersTransaction) -> None:
        """Asks the databases once a process. A framework's own adapter knows where it leads."""
        if isinstance(transaction, JoinedConnection):
            pair = (transaction.url, self.store.database.url)
            if pair not in self._same_database:
                self.store.starting.refuse_elsewhere(transaction, transaction.url)
                self._same_database.add(pair)

    def _hurry(self, new: NewInstance) -> Callable[[], None]:
        """The broker is only a hurry: what cannot be sent now is sent by the sweep."""
        first = Address(new.plan.steps[0].position, new.plan.steps[0].branch)

        def send() -> None:
            self.loop.send_window(new.id, new.plan, window_from(new.plan, None, first), brief=True)
            fields: dict[str, Any] = {"saga_id": new.id, "saga": new.plan.saga, "key": new.key}
            saga_started.send(sender=None, **fields)

        return send
