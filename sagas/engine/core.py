"""The engine: the parts of one ``Sagas(app)``, and how an instance is started."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from enum import StrEnum
from functools import partial
from itertools import chain, repeat
from typing import Any
from uuid import UUID, uuid4

from celery import Celery
from sqlalchemy import URL

from sagas.engine.capture import Beginning, Captor, captured
from sagas.engine.carrying import Carrying
from sagas.engine.control import Control
from sagas.engine.impatient import ImpatientSender
from sagas.engine.joining import JoinedConnection
from sagas.engine.liveness import Leave, LocalDeliveries, WorkerIdentity
from sagas.engine.loop import Loop
from sagas.engine.messages import CONTROL_QUEUE, Messages, execution_in, window_from
from sagas.engine.sentences import Sentences
from sagas.engine.watchdog import Watchdog
from sagas.errors import ConfigurationError, KeyInUse, ResourceLocked, SignalInProgress
from sagas.model import Address, ErrorInfo, HistoryEvent, IfLocked, Mail, Misdelivered, Plan, SagaStatus, Secrecy
from sagas.model.secrecy import Redact
from sagas.signals import saga_started
from sagas.store import CallersTransaction, DatabaseUrl, LockRequest, NewInstance, Store, Timing, reachable, uuid7
from sagas.store.database import sqlstate
from sagas.store.off_the_loop import blocking
from sagas.store.starting import WAITED_IN_VAIN


class IfExists(StrEnum):
    """The policy of `start` if an instance has the business key already."""

    RETURN = "return"  # returns the existing instance, and starts nothing
    REJECT = "reject"  # raises
    RESTART = "restart"  # starts a new one after a compensated one, raises after a failed one, returns any other


class Engine:
    """Composes the parts; one per ``Sagas``."""

    def __init__(
        self,
        app: Celery,
        database: DatabaseUrl,
        schema: str,
        timing: Timing,
        secrecy: Secrecy | None = None,
        headers: Iterable[str] | None = (),
        control_queue: str = CONTROL_QUEUE,
        step_results: bool = False,
    ) -> None:
        self.app = app
        self.secrecy = secrecy or Secrecy()
        self.captor = Captor(headers, self.secrecy)
        #: The transaction around a `start` that was given none; a framework's integration sets it.
        self.ambient: Callable[[], CallersTransaction | None] = lambda: None
        #: Whether this engine is meant if a process has several; a framework that knows its current app sets it.
        self.is_current: Callable[[], bool] = lambda: False
        self.store = Store(database, schema, timing)
        self.store.database.hides_parameters = self.secrecy.is_wanted
        self.carrying = Carrying(app, self.store.headers, self.store.clock, self.secrecy)
        self.control = Control(control_queue, self.store.fleet)
        self.messages = Messages(app, control_queue, step_results)
        self.impatient_sender = ImpatientSender(self.messages)
        self.loop = Loop(self.store, self.messages, self.impatient_sender, self.secrecy)
        self._same_database: set[tuple[URL, URL]] = set()
        #: Whether `sagas.testing.inline` runs the messages.
        self.runs_inline = False
        self.identity = WorkerIdentity()
        self.held = LocalDeliveries()
        self.leave = Leave()
        self.sentences = Sentences()
        self.watchdog = Watchdog(self.sentences)

    def reachable(self) -> AbstractContextManager[None]:
        """Return a context in which an error says what to do if the database does not answer."""
        return reachable(self.store.database)

    def register(self, plan: Plan) -> None:
        """Make sure that no other steps are in flight under a plan's version. Raises PlanChanged."""
        self.store.starting.register(plan)

    def refuse_eager(self, saga: str) -> None:
        """Raise ConfigurationError if `start` could only run the steps in its caller."""
        if self.app.conf.task_always_eager and not self.runs_inline:
            raise ConfigurationError(
                f"saga {saga!r} not started: task_always_eager is set, and sagas run in workers. In a test start it "
                "inside `with sagas.testing.inline(…):` (in Django, `with self.run_sagas():`), which works in an eager "
                "suite; everywhere else unset task_always_eager"
            )

    def begin(self, plan: Plan) -> Beginning:
        """Take the headers that a new instance's messages carry: once, in its caller's thread and context.

        Raises:
            StartRefused, PayloadError: the headers cannot be kept.
        """
        instance_id, first_id = uuid7(), str(uuid4())
        seen = self._captured(plan, instance_id, first_id)
        return Beginning(instance_id, first_id, None if seen is None else self.captor.kept(seen, plan))

    def left_out(self, plan: Plan) -> list[str]:
        """Return the headers of a message from here that are not kept because they look like tokens."""
        seen = self._captured(plan, uuid7(), str(uuid4()))
        return [] if seen is None else self.captor.left_out(seen)

    def _captured(self, plan: Plan, instance_id: UUID, first_id: str) -> Mapping[str, Any] | None:
        # An eager app would run the step here and now, except in `inline`.
        if not self.captor.is_wanted or (self.app.conf.task_always_eager and not self.runs_inline):
            return None
        return captured(partial(self.messages.rehearse, instance_id, plan), instance_id, first_id)

    def start(
        self,
        plan: Plan,
        *,
        key: str | None,
        data: str,
        deadline: datetime | None,
        deadline_seconds: float | None,
        transaction: CallersTransaction | None,
        lock_requests: Sequence[LockRequest] = (),
        if_exists: IfExists = IfExists.RETURN,
        beginning: Beginning | None = None,
    ) -> UUID:
        """Insert an instance and send its chain once the insert is committed; never raises for the broker.

        Args:
            transaction: the caller's, given explicitly; by default the `ambient` one, if any.
            lock_requests: the resources that the instance must hold before it begins.
            if_exists: what to do if an instance has the key already.
            beginning: taken before, if this is not the caller's thread.

        Raises:
            KeyInUse: the key is taken, and ``if_exists`` rejects that, or the instance that has it is failed.
            ResourceLocked: another instance holds a resource that it wants, and its plan says to refuse that.
        """
        self.refuse_eager(plan.saga)
        beginning = beginning or self.begin(plan)
        self.register(plan)
        if plan.if_locked is IfLocked.REFUSE and lock_requests:
            self._refuse_locked(plan, key, [one.resource for one in lock_requests if one.lasting])
        new = NewInstance(
            id=beginning.id,
            plan=plan,
            key=key,
            data=data,
            headers=beginning.headers,
            deadline=deadline,
            deadline_seconds=deadline_seconds,
            lock_requests=lock_requests,
            restarts=key is not None and if_exists is IfExists.RESTART,
        )
        if transaction is None:
            transaction = self.ambient()
        if transaction is None:
            found = self.store.starting.insert(new, self.messages)
        else:
            self.refuse_elsewhere(transaction)
            found = self.store.starting.insert_in(transaction, new, self.messages)
        if found.id != new.id:
            if if_exists is IfExists.REJECT:
                raise KeyInUse(
                    f"saga {plan.saga!r} has an instance with the key {key!r} already: {found.id}. Look at it with "
                    "Sagas.get, or start without if_exists='reject' to get it"
                )
            if new.restarts:
                self._refuse_beside_failed(plan, key, found.id)
            return found.id
        self.store.headers.remember(new.id, new.headers)
        hurry = self._hurry(new, beginning.first_id, is_to_be_sent=found.is_to_be_sent)
        if transaction is None:
            hurry()
        else:
            transaction.after_commit(hurry, lambda: self.store.instances.read(new.id) is not None)
        return new.id

    def post(self, instance_id: UUID, mail: Mail, key: str | None, transaction: CallersTransaction | None) -> bool:
        """Put an entry into an instance's inbox, without a lock on its row; it is read after the commit.

        Args:
            transaction: the caller's, given explicitly; by default the `ambient` one, if any.

        Returns:
            False if an entry with this key existed already.
        """
        inbox = self.store.instances.inbox
        if transaction is None:
            transaction = self.ambient()
        if transaction is None:
            number = inbox.put_now(instance_id, mail, key)
            self.loop.poke(instance_id, wait_for_broker=False)
            return number is not None
        self.refuse_elsewhere(transaction)
        put = partial(inbox.put, transaction.scalar, instance_id, mail, key)
        try:
            number = self.store.starting.unharmed(transaction, put, may_wait=key is not None)
        except Exception as error:
            if key is None or sqlstate(error) not in WAITED_IN_VAIN:
                raise
            raise SignalInProgress(
                f"the signal {mail.name!r} with key {key!r} is being sent in another open transaction; send it last in "
                "yours, take several keys in one order, and try again when the other has ended"
            ) from error
        # If the poke comes before the commit it finds nothing; the sweep will.
        transaction.after_commit(partial(self.loop.poke, instance_id, wait_for_broker=False), lambda: True)
        return number is not None

    def signal(
        self,
        instance_id: UUID,
        mail: Mail,
        key: str | None,
        transaction: CallersTransaction | None,
        *,
        is_forward: bool,
    ) -> bool | None:
        """Send a signal like `post`. Outside a transaction, an immediate look tells what becomes of it.

        Args:
            is_forward: whether the instance seemed to take signals a moment ago.

        Returns:
            None if it came too late, which the history notes where it was posted.
        """
        transaction = transaction or self.ambient()
        if transaction is not None:
            return self.post(instance_id, mail, key, transaction) if is_forward else None
        inbox = self.store.instances.inbox
        number = inbox.put_now(instance_id, mail, key)
        looked = self.loop.look(instance_id, wait_for_broker=False)
        if number is None:
            return False if is_forward else None
        if looked is None:
            return True  # committed: the sweep looks
        decision = looked.decision
        too_late = (note for note in decision.notes if note.event is HistoryEvent.SIGNAL_TOO_LATE)
        if any(note.detail.get("number") == number for note in too_late):
            return None
        is_seen_here = any(mail.id == number for mail in decision.state.evidence.inbox)
        return True if is_seen_here or not inbox.came_too_late(instance_id, number) else None

    def unknown_task(self, headers: Mapping[str, Any], task: str) -> None:
        """Handle a message that Celery dropped because the worker has no task with that name."""
        named = execution_in(headers)
        if named is None:
            return
        instance_id, address = named
        error = ErrorInfo(
            type="celery.exceptions.NotRegistered",
            message=f"a worker of its queue has no task {task!r}: deploy one that has, or keep the old name until "
            "instances with this plan have ended",
        )
        self.loop.handle(instance_id, Misdelivered(address=address, error=error, task=task), wait_for_broker=False)

    def redactor(self, instance_id: UUID, *seen: Any) -> Redact:
        """Return a function that removes an instance's secret values from a text.

        Args:
            seen: data that the database may not have, or cannot be read to find.
        """
        if not self.secrecy.is_wanted:
            return str
        try:
            stored = self.store.instances.contents(instance_id)
        except Exception:  # the data seen has to suffice
            stored = ()
        return self.secrecy.redactor(*stored, *seen)

    def refuse_elsewhere(self, transaction: CallersTransaction) -> None:
        """Refuse a transaction in another database than the sagas'. A framework's own adapter knows its database.

        Each pair of databases is checked once per process.
        """
        if isinstance(transaction, JoinedConnection):
            pair = (transaction.url, self.store.database.url)
            if pair not in self._same_database:
                self.store.starting.refuse_elsewhere(transaction, transaction.url)
                self._same_database.add(pair)

    def _refuse_locked(self, plan: Plan, key: str | None, resources: Sequence[str]) -> None:
        own = None if key is None else blocking(partial(self.store.instances.find, plan.saga, key))
        taken = blocking(partial(self.store.locks.first_taken, resources, own))
        if taken is not None:
            raise ResourceLocked(
                f"saga {plan.saga!r}: another one holds {taken!r}; try again when that has ended, or let this one wait "
                "with Saga(if_locked='wait')"
            )

    def _refuse_beside_failed(self, plan: Plan, key: str | None, failed_id: UUID) -> None:
        """Refuse to start beside a failed instance: once an operator lets it go on, both would do the same."""
        row = blocking(partial(self.store.instances.read, failed_id))
        if row is not None and row.status == SagaStatus.FAILED:
            raise KeyInUse(
                f"saga {plan.saga!r} with the key {key!r} failed and waits for a person: {failed_id}. Resolve, retry "
                "or skip it first; one that was undone can be started again"
            )

    def _hurry(self, new: NewInstance, first_id: str | None, *, is_to_be_sent: bool) -> Callable[[], None]:
        """Return a function that sends the first messages; what cannot be sent now waits in its queue's line."""

        def send() -> None:
            ids = chain((first_id,), repeat(None))
            # A test that runs sagas in its own process does not wait for a line.
            heads = new.plan.heads(0) if new.plan.begins_at_once and (is_to_be_sent or self.runs_inline) else ()
            for head, own_id in zip(heads, ids, strict=False):
                window = window_from(new.plan, None, Address(head.position, head.branch))
                self.loop.send_window(new.id, new.plan, window, wait_for_broker=False, first_id=own_id)
            if not new.plan.begins_at_once:
                self.loop.poke(new.id, wait_for_broker=False)
            fields: dict[str, Any] = {"saga_id": new.id, "saga": new.plan.saga, "key": new.key}
            saga_started.send(sender=None, **fields)

        return send
