"""Publish events and start runs: in the caller's transaction if there is one, and looked at after its commit."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from sagas.engine.core import Engine
from sagas.engine.registry import WrittenEvent, choreographies
from sagas.errors import KeyInUse, NotRegistered, PublishInProgress, StartRefused
from sagas.model import Address
from sagas.model.choreography import ChoreographyPlan
from sagas.model.choreography.as_plan import RunPlan
from sagas.model.choreography.state import Published
from sagas.store import CallersTransaction, NewRun, sqlstate, uuid7
from sagas.store.off_the_loop import blocking
from sagas.store.runs import IntendedRun, Scalar
from sagas.store.starting import WAITED_IN_VAIN

logger = logging.getLogger("sagas")


class Publisher:
    """Publishes the events of one engine. It needs their types and their run, and no subscriptions."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._loop = engine, engine.loop
        store = engine.store
        self._runs, self._instances, self._starting = store.runs, store.instances, store.starting
        self._headers, self._database = store.headers, store.database

    def register_graphs(self) -> None:
        """Register the graph of every choreography that this process has declared. See `Runs.register`."""
        for choreography in choreographies():
            self._runs.register(choreography.plan(self._engine))

    def start(
        self,
        plan: ChoreographyPlan,
        written: WrittenEvent,
        *,
        key: str | None,
        transaction: CallersTransaction | None,
        rejects: bool = False,
    ) -> UUID:
        """Insert a run with its first event and the deliveries of that, which are sent after the commit.

        Args:
            plan: the graph as this process knows it: a part of what the workers have registered is enough.
            rejects: raise if the key has a run already.

        Raises:
            NotRegistered: no worker has registered the choreography.
            PlanChanged: this process declares the choreography otherwise than the workers.
            StartRefused, PayloadError: the headers of the caller cannot be kept.
            KeyInUse: the key has a run that began with another event, or any run if that is to be rejected.
        """
        engine = self._engine
        engine.refuse_eager(plan.name)
        whole = self.whole_graph(plan)
        new = NewRun.of(whole, key, published(written), headers=engine.begin(RunPlan.of(whole)).headers)
        to_send: list[Address] | None = None

        def insert(scalar: Scalar) -> bool | None:
            nonlocal to_send
            to_send = self._runs.begin(scalar, new, engine.messages)
            return self._runs.is_started_so(scalar, new) if to_send is None else True

        inserted = self._insert(new.id, insert, key, transaction, lambda: self._begin(new, to_send))
        if inserted is None or (rejects and not inserted):
            how = "and began with another event" if inserted is None else "already"
            raise KeyInUse(f"choreography {plan.name!r} has a run with the key {key!r} {how}: {new.id}")
        return new.id

    def whole_graph(self, plan: ChoreographyPlan) -> ChoreographyPlan:
        """Return the registered graph, by which a run starts.

        Raises:
            NotRegistered: no worker has registered the choreography.
            PlanChanged: this process declares the choreography otherwise than the workers.
        """
        whole = blocking(partial(self._runs.whole_graph, plan))
        if whole is None:
            raise NotRegistered(
                f"choreography {plan.name!r} version {plan.version} is not registered: its whole graph is what the "
                "workers know once they have imported it. Start a worker, or call Sagas.register() where all of its "
                "modules are imported"
            )
        self._instances.remember(RunPlan.of(whole))
        return whole

    def publish(
        self,
        run_id: UUID,
        written: WrittenEvent,
        *,
        key: str | None,
        transaction: CallersTransaction | None,
        rejects: bool = False,
        intended: IntendedRun | None = None,
    ) -> bool:
        """Insert an event; the first look at its run, after the commit, numbers and delivers it.

        Args:
            intended: the run that the publisher means, if it does not exist yet.

        Returns:
            False if an event of its type with this key, and the same content, was there already.

        Raises:
            StartRefused: it is for a saga.
            KeyInUse: the key has an event with another content, or any event if that is to be rejected.
        """
        event = published(written)
        insert = partial(self._runs.publish, run_id=run_id, event=event, key=key, intended=intended)
        inserted = self._insert(run_id, insert, key, transaction)
        if inserted is None and blocking(partial(self._runs.is_a_saga, run_id)):
            raise StartRefused(
                f"{run_id} is a saga, which hears no events: publish {event.type} into a run of a choreography, or "
                "signal the saga"
            )
        if inserted is None or (rejects and not inserted):
            how = "with another content" if inserted is None else "already"
            raise KeyInUse(f"run {run_id} has an event {event.type} with the key {key!r} {how}: it is kept out")
        return inserted

    def _insert(
        self,
        run_id: UUID,
        insert: Callable[[Scalar], bool | None],
        key: str | None,
        transaction: CallersTransaction | None,
        follow: Callable[[], None] | None = None,
    ) -> bool | None:
        """Insert in the caller's transaction, or in one of its own.

        Args:
            follow: what is done after the commit; by default the run is looked at.
        """
        engine = self._engine
        if transaction is None:
            transaction = engine.ambient()
        look = partial(self._loop.poke, run_id, wait_for_broker=False)
        if transaction is None:
            inserted = blocking(partial(self._insert_now, insert))
            (follow or look)()
            return inserted
        engine.refuse_elsewhere(transaction)
        try:
            inserted = self._starting.unharmed(
                transaction, partial(insert, transaction.scalar), may_wait=key is not None
            )
        except Exception as error:
            if key is None or sqlstate(error) not in WAITED_IN_VAIN:
                raise
            raise PublishInProgress(
                f"the key {key!r} is being taken in another open transaction; publish last in yours, take several keys "
                "in one order, and try again when the other has ended"
            ) from error
        if follow is not None:
            transaction.after_commit(follow, lambda: self._instances.read(run_id) is not None)
        else:  # a look before the commit finds nothing; the sweep will
            transaction.after_commit(look, lambda: True)
        return inserted

    def _begin(self, new: NewRun, to_send: Sequence[Address] | None) -> None:
        """Send the first deliveries; look at the run if there are none, or if events have come before it.

        Args:
            to_send: None: there was a run already.
        """
        if to_send is not None:
            self._headers.remember(new.id, new.headers)
        for address in to_send or ():
            self._loop.send_window(new.id, RunPlan.of(new.plan), [address], wait_for_broker=False)
        try:
            is_awaited = not to_send or (new.key is not None and self._runs.has_early(new.id))
        except SQLAlchemyError as error:  # the start is committed: the sweep finds what came before it
            logger.warning("events before run %s not looked for: %s", new.id, type(error).__qualname__)
            return
        if is_awaited:
            self._loop.poke(new.id, wait_for_broker=False)

    def _insert_now(self, insert: Callable[[Scalar], bool | None]) -> bool | None:
        def work() -> bool | None:
            with self._database.autocommit() as connection:
                return insert(connection.scalar)

        return self._database.retrying(work)


def published(written: WrittenEvent, caused_by: str | None = None) -> Published:
    """Return an event from outside its run, with an id of its own."""
    return Published(id=uuid7(), type=written.type, version=written.version, payload=written.text, caused_by=caused_by)
