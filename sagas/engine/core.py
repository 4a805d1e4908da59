"""The engine: what one ``Sagas(app)`` is made of, and how an instance is started."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any
from uuid import UUID

from celery import Celery
from sqlalchemy import URL

from sagas.engine.brief import BriefSender
from sagas.engine.joining import JoinedConnection
from sagas.engine.liveness import Held, WorkerIdentity
from sagas.engine.loop import Loop
from sagas.engine.messages import ADDRESS_HEADER, Messages, window_from
from sagas.errors import KeyInUse, ResourceLocked, SignalInProgress
from sagas.model import Address, ErrorInfo, IfLocked, Mail, Misdelivered, Plan, Secrecy
from sagas.model.secrecy import Redact
from sagas.signals import saga_started
from sagas.store import CallersTransaction, DatabaseUrl, NewInstance, Store, Timing, Wanted, uuid7
from sagas.store.aside import aside
from sagas.store.database import sqlstate
from sagas.store.starting import WAITED_IN_VAIN


class IfExists(StrEnum):
    """What `start` does about an instance that has the business key already."""

    RETURN = "return"  # gives the existing one, and starts nothing
    REJECT = "reject"  # raises
    RESTART = "restart"  # starts anew if that one ended compensated or failed; else gives the existing one


class Engine:
    """Composes the parts; one per ``Sagas``."""

    def __init__(
        self, app: Celery, database: DatabaseUrl, schema: str, timing: Timing, secrecy: Secrecy | None = None
    ) -> None:
        self.app = app
        self.secrecy = secrecy or Secrecy()
        #: The transaction that surrounds a `start` which was given none; a framework's integration sets it.
        self.ambient: Callable[[], CallersTransaction | None] = lambda: None
        #: Is this one meant where a process has several? A framework that knows its current app sets it.
        self.is_current: Callable[[], bool] = lambda: False
        self.store = Store(database, schema, timing)
        self.store.database.hides_parameters = self.secrecy.is_wanted
        self.messages = Messages(app)
        self.brief_sender = BriefSender(self.messages)
        self.loop = Loop(self.store, self.messages, self.brief_sender, self.secrecy)
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
        wanted: Sequence[Wanted] = (),
        if_exists: IfExists = IfExists.RETURN,
    ) -> UUID:
        """Insert an instance and send its chain once the insert is committed; never raises for the broker.

        Args:
            transaction: the caller's, given by hand; without one the `ambient` one is joined, if there is one.
            wanted: the resources that it has to hold before it begins.
            if_exists: what to do about an instance that has the key already.

        Raises:
            KeyInUse: the key is taken, and ``if_exists`` says to reject that.
            ResourceLocked: another one holds what it wants, and its plan says to refuse that.
        """
        self.store.starting.register(plan)
        if plan.if_locked is IfLocked.REFUSE and wanted:
            self._refuse_locked(plan, key, [one.resource for one in wanted if one.lasting])
        new = NewInstance(
            id=uuid7(),
            plan=plan,
            key=key,
            data=data,
            deadline=deadline,
            deadline_seconds=deadline_seconds,
            wanted=wanted,
            anew=key is not None and if_exists is IfExists.RESTART,
        )
        if transaction is None:
            transaction = self.ambient()
        if transaction is None:
            found = self.store.starting.insert(new, self.messages.queue_of)
        else:
            self._refuse_elsewhere(transaction)
            found = self.store.starting.insert_in(transaction, new, self.messages.queue_of)
        if found != new.id:
            if if_exists is IfExists.REJECT:
                raise KeyInUse(
                    f"saga {plan.saga!r} has an instance with the key {key!r} already: {found}. Look at it with "
                    "Sagas.get, or start without if_exists='reject' to be given it"
                )
            return found
        hurry = self._hurry(new)
        if transaction is None:
            hurry()
        else:
            transaction.after_commit(hurry, lambda: self.store.instances.read(new.id) is not None)
        return new.id

    def post(self, instance_id: UUID, mail: Mail, key: str | None, transaction: CallersTransaction | None) -> bool:
        """Put something into an instance's inbox, without a lock on its row; it looks after the commit.

        Args:
            transaction: the caller's, given by hand; without one the `ambient` one is joined, if there is one.

        Returns:
            False when one with this key was there already.
        """
        inbox = self.store.instances.inbox
        if transaction is None:
            transaction = self.ambient()
        if transaction is None:
            is_new = inbox.put_now(instance_id, mail, key)
            self.loop.poke(instance_id, brief=True)
            return is_new
        self._refuse_elsewhere(transaction)
        put = partial(inbox.put, transaction.scalar, instance_id, mail, key)
        try:
            is_new = self.store.starting.unharmed(transaction, put, may_wait=key is not None)
        except Exception as error:
            if key is None or sqlstate(error) not in WAITED_IN_VAIN:
                raise
            raise SignalInProgress(
                f"the signal {mail.name!r} with key {key!r} is being sent in another open transaction; send it last in "
                "yours, take several keys in one order, and try again when the other has ended"
            ) from error
        # Who looks too early finds nothing, and the sweep finds what nobody has seen.
        transaction.after_commit(partial(self.loop.poke, instance_id, brief=True), lambda: True)
        return is_new

    def unknown_task(self, headers: Mapping[str, Any], task: str) -> None:
        """A worker has no task of that name, and Celery has dropped the message."""
        try:
            instance_id, address = UUID(str(headers.get("root_id"))), Address.parse(str(headers[ADDRESS_HEADER]))
        except ValueError:
            return  # forged or mangled: it belongs to nobody
        error = ErrorInfo(
            type="celery.exceptions.NotRegistered",
            message=f"a worker of its queue has no task {task!r}: deploy one that has, or keep the old name until "
            "instances with this plan have ended",
        )
        self.loop.handle(instance_id, Misdelivered(address=address, error=error, task=task), brief=True)

    def redactor(self, instance_id: UUID, *seen: Any) -> Redact:
        """Takes an instance's secret values out of a text.

        Args:
            seen: data of it that the database may not have, or not be there to tell.
        """
        if not self.secrecy.is_wanted:
            return str
        try:
            stored = self.store.instances.contents(instance_id)
        except Exception:  # what was seen has to do
            stored = ()
        return self.secrecy.redactor(*stored, *seen)

    def _refuse_elsewhere(self, transaction: CallersTransaction) -> None:
        """Asks the databases once a process. A framework's own adapter knows where it leads."""
        if isinstance(transaction, JoinedConnection):
            pair = (transaction.url, self.store.database.url)
            if pair not in self._same_database:
                self.store.starting.refuse_elsewhere(transaction, transaction.url)
                self._same_database.add(pair)

    def _refuse_locked(self, plan: Plan, key: str | None, resources: Sequence[str]) -> None:
        own = None if key is None else aside(partial(self.store.instances.find, plan.saga, key))
        taken = aside(partial(self.store.locks.first_taken, resources, own))
        if taken is not None:
            raise ResourceLocked(
                f"saga {plan.saga!r}: another one holds {taken!r}; try again when that has ended, or let this one wait "
                "with Saga(if_locked='wait')"
            )

    def _hurry(self, new: NewInstance) -> Callable[[], None]:
        """The broker is only a hurry: what cannot be sent now is sent by the sweep."""

        def send() -> None:
            for head in new.plan.heads(0) if new.plan.begins_at_once else ():
                window = window_from(new.plan, None, Address(head.position, head.branch))
                self.loop.send_window(new.id, new.plan, window, brief=True)
            if not new.plan.begins_at_once:
                self.loop.poke(new.id, brief=True)
            fields: dict[str, Any] = {"saga_id": new.id, "saga": new.plan.saga, "key": new.key}
            saga_started.send(sender=None, **fields)

        return send
