"""The engine: what one ``Sagas(app)`` is made of, and how an instance is started."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from celery import Celery
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from sagas.engine.after_commit import after_commit_of_connection, after_commit_of_session
from sagas.engine.brief import BriefSender
from sagas.engine.liveness import Held, WorkerIdentity
from sagas.engine.loop import Loop
from sagas.engine.messages import Messages, window_from
from sagas.model import Address, Plan
from sagas.signals import saga_started
from sagas.store import NewInstance, Store, Timing, uuid7


class Engine:
    """Composes the parts; one per ``Sagas``."""

    def __init__(self, app: Celery, database: str, schema: str, timing: Timing) -> None:
        self.app = app
        self.store = Store(database, schema, timing)
        self.messages = Messages(app)
        self.brief_sender = BriefSender(self.messages)
        self.loop = Loop(self.store, self.messages, self.brief_sender)
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
        session: Session | None,
        connection: Connection | None,
    ) -> UUID:
        """Insert an instance and send its chain once the insert is committed; never raises for the broker."""
        self.store.starting.register(plan)
        new = NewInstance(
            id=uuid7(),
            plan=plan,
            key=key,
            data=data,
            deadline=deadline,
            deadline_seconds=deadline_seconds,
        )
        joined = session.connection() if session is not None else connection
        if joined is None:
            found = self.store.starting.insert(new, self.messages.queue_of)
        else:
            found = self.store.starting.insert_in(joined, new, self.messages.queue_of)
        if found != new.id:
            return found
        hurry = self._hurry(new)
        if session is not None:
            after_commit_of_session(session, hurry)
        elif connection is not None:
            after_commit_of_connection(connection, hurry, lambda: self.store.instances.read(new.id) is not None)
        else:
            hurry()
        return new.id

    def _hurry(self, new: NewInstance) -> Callable[[], None]:
        """The broker is only a hurry: what cannot be sent now is sent by the sweep."""
        first = Address(new.plan.steps[0].position, new.plan.steps[0].branch)

        def send() -> None:
            self.loop.send_window(new.id, new.plan, window_from(new.plan, None, first), brief=True)
            fields: dict[str, Any] = {"saga_id": new.id, "saga": new.plan.saga, "key": new.key}
            saga_started.send(sender=None, **fields)

        return send
