"""Start runs of a choreography, and publish events into them."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, get_args
from uuid import UUID

from sagas.choreography.exchange import Exchange
from sagas.choreography.signatures import IfExistsWord
from sagas.definition.options import LONGEST_RESOURCE, choice
from sagas.definition.signatures import CeleryTask
from sagas.engine import (
    Engine,
    PlanTarget,
    Posted,
    Publisher,
    PublishingStep,
    callers_transaction,
    engine_for,
    published,
)
from sagas.errors import PayloadError, StartRefused
from sagas.handle import SagaHandle
from sagas.model.choreography import ChoreographyPlan
from sagas.model.payload import excerpt, is_storable
from sagas.store import BY_A_STEP, CallersTransaction, IntendedRun, NewRun, run_id_of

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session, scoped_session

#: A business key, or an id, is indexed.
LONGEST_KEY = LONGEST_RESOURCE


def posted_by(
    engine: Engine,
    plan: ChoreographyPlan,
    exchange: Exchange,
    publisher: PublishingStep,
    event: Any,
    run: SagaHandle | UUID | str | None,
) -> Posted:
    """Return an event that a step publishes: into a run, or as the first of a new one."""
    who = f"choreography {plan.name!r}"
    written = published(exchange.write(event, engine.secrecy), publisher.key)
    if written.type != plan.starts:
        if run is None:
            raise PayloadError(f"{who}: {written.type} starts no run: say with run= into which it is published")
        return Posted(run_id=addressed(plan, run, who), event=written, intended=intended_run(plan, run))
    if run is not None and not isinstance(run, str):
        raise PayloadError(
            f"{who}: {written.type} starts a run: run={excerpt(run)} must be the text of its business key, or be left "
            "out"
        )
    check_key(run, f"{who}: run=")
    whole = Publisher(engine).whole_graph(plan)
    new = NewRun.of(whole, run, written, by=BY_A_STEP, beginner=publisher.instance_id)
    return Posted(run_id=new.id, event=written, starts=new)


def addressed(plan: ChoreographyPlan, run: SagaHandle | UUID | str, who: str) -> UUID:
    """Return the id of a run, by a handle, an id or the business key, which needs no lookup."""
    if isinstance(run, SagaHandle):
        return run.id
    if isinstance(run, UUID):
        return run
    if not isinstance(run, str):
        raise PayloadError(f"{who}: run={excerpt(run)} must be a handle, a UUID, or the text of a business key")
    check_key(run, f"{who}: run=")
    return run_id_of(plan.name, run)


def intended_run(plan: ChoreographyPlan, run: SagaHandle | UUID | str) -> IntendedRun:
    """Return what is known of a run without a query. Its id is derived from its business key, but does not show it."""
    return IntendedRun(choreography=plan.name, key=run if isinstance(run, str) else None, early_for=plan.early_for)


def check_key(key: str | None, who: str) -> None:
    if key is not None and not (isinstance(key, str) and 1 <= len(key) <= LONGEST_KEY and is_storable(key)):
        raise StartRefused(f"{who}: key={excerpt(key)} must be text of 1 to {LONGEST_KEY} characters, without NUL")


def refuses_existing(if_exists: str, who: str) -> bool:
    return choice(if_exists, get_args(IfExistsWord), f"{who}: if_exists") == "reject"


def transaction_of(
    session: "Session | scoped_session[Any] | None", connection: "Connection | CallersTransaction | None", who: str
) -> CallersTransaction | None:
    """Return the transaction in which a caller publishes; None if it gave none."""
    if session is not None and connection is not None:
        raise StartRefused(f"{who}: pass session= or connection=, not both")
    return callers_transaction(session, connection)


class Published(ABC):
    """The part of a choreography that starts runs and publishes into them."""

    @property
    @abstractmethod
    def who(self) -> str: ...

    @property
    @abstractmethod
    def exchange(self) -> Exchange: ...

    @abstractmethod
    def tasks(self) -> list[CeleryTask]: ...

    @abstractmethod
    def plan(self, engine: PlanTarget) -> ChoreographyPlan: ...

    def start(
        self,
        event: Any,
        *,
        key: str | None = None,
        session: "Session | scoped_session[Any] | None" = None,
        connection: "Connection | CallersTransaction | None" = None,
        if_exists: IfExistsWord = "return",
    ) -> SagaHandle:
        """Start a run with its first event. A run whose start returned, or whose transaction committed, is never lost.

        Args:
            event: an event of the class in ``starts=``.
            key: the business key: events can be published by it, even before the run exists. If it has a run that began
                with the same event, that is returned, and nothing is started.
            session: insert in this SQLAlchemy session's transaction; the event is delivered after its commit.
            connection: the same with a SQLAlchemy connection. By default it joins the transaction that a framework's
                integration finds open (Django's ``atomic()``, Flask's ``db.session``), or else commits at once.
            if_exists: ``"reject"`` raises `KeyInUse` if the key has a run.

        Raises:
            PayloadError: it is not an event of this choreography, or cannot be stored.
            StartRefused: another event starts it, or the key cannot be one.
            NotRegistered: no worker has registered the choreography.
            PlanChanged: this process declares it otherwise than its workers.
            KeyInUse: the key has a run that began with another event, or ``if_exists="reject"`` and any run.
            PublishInProgress: another open transaction is starting a run with the same key.
            DatabaseUnreachable: the database does not answer. With a ``key`` it is safe to call again.
        """
        engine = engine_for(self.tasks(), self.who)
        return self.start_on(engine, event, key=key, session=session, connection=connection, if_exists=if_exists)

    def start_on(
        self,
        engine: Engine,
        event: Any,
        *,
        key: str | None = None,
        session: "Session | scoped_session[Any] | None" = None,
        connection: "Connection | CallersTransaction | None" = None,
        if_exists: IfExistsWord = "return",
    ) -> SagaHandle:
        """Start like `start`, on a particular engine, if a process has several."""
        plan, who = self.plan(engine), self.who
        rejects = refuses_existing(if_exists, who)
        check_key(key, who)
        written = self.exchange.write(event, engine.secrecy)
        if written.type != plan.starts:
            raise StartRefused(f"{who} starts with {plan.starts}, not with {written.type}: publish that into a run")
        with engine.reachable():
            transaction = transaction_of(session, connection, who)
            run_id = Publisher(engine).start(plan, written, key=key, transaction=transaction, rejects=rejects)
        return SagaHandle(engine, run_id)

    def publish(
        self,
        event: Any,
        *,
        run: SagaHandle | UUID | str,
        key: str | None = None,
        session: "Session | scoped_session[Any] | None" = None,
        connection: "Connection | CallersTransaction | None" = None,
        if_exists: IfExistsWord = "return",
    ) -> bool:
        """Publish an event into a run from outside, such as from a webhook. In a handler, return it instead.

        Args:
            run: a handle, the id as a UUID, or the business key as text. An event for a key whose run does not exist
                yet is kept until it does.
            key: identifies the event: a second one of its type with the same key does nothing.
            session, connection: publish in this transaction, as with `start`.
            if_exists: ``"reject"`` raises `KeyInUse` if the key has an event of this type.

        Returns:
            False if the event was there already, with this key.

        Raises:
            PayloadError: it is not an event of this choreography, or cannot be stored.
            StartRefused: ``run`` is a saga.
            KeyInUse: the key has an event of this type with another content: this one is kept out.
            PublishInProgress: another open transaction is publishing with the same key.
            DatabaseUnreachable: the database does not answer. With a ``key`` it is safe to call again.
        """
        engine = engine_for(self.tasks(), self.who)
        return self.publish_on(
            engine, event, run=run, key=key, session=session, connection=connection, if_exists=if_exists
        )

    def posted_by(
        self, publisher: PublishingStep, engine: Engine, event: Any, run: SagaHandle | UUID | str | None
    ) -> Posted:
        """Return an event as a step of a saga publishes it: see `current_step.publish`."""
        return posted_by(engine, self.plan(engine), self.exchange, publisher, event, run)

    def publish_on(
        self,
        engine: Engine,
        event: Any,
        *,
        run: SagaHandle | UUID | str,
        key: str | None = None,
        session: "Session | scoped_session[Any] | None" = None,
        connection: "Connection | CallersTransaction | None" = None,
        if_exists: IfExistsWord = "return",
    ) -> bool:
        """Publish like `publish`, on a particular engine, if a process has several."""
        plan, who = self.plan(engine), self.who
        rejects = refuses_existing(if_exists, who)
        check_key(key, f"{who}: publish")
        written = self.exchange.write(event, engine.secrecy)
        run_id, intended = addressed(plan, run, who), intended_run(plan, run)
        with engine.reachable():
            transaction = transaction_of(session, connection, who)
            return Publisher(engine).publish(
                run_id, written, key=key, transaction=transaction, rejects=rejects, intended=intended
            )
