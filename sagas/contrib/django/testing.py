"""For a Django project's own tests: sagas that run in the test, on the test's database, without a broker.

A `TestCase` wraps each test in a transaction that is never committed, and steps run on the test's own connection, so
they see what the test has written. A `TransactionTestCase` commits as in production.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar
from uuid import UUID

from django.db import connections, transaction
from django.test import TestCase, TransactionTestCase
from sqlalchemy import Connection, TextClause

from sagas.contrib.django.binding import bound_sagas, bound_store
from sagas.contrib.django.conf import configuration
from sagas.errors import ConfigurationError
from sagas.store import Database, Instances
from sagas.testing import Inline, inline


class _KeepsConnections(TransactionTestCase):
    """Keep connections, as in production, until the class ends: the test database could not be dropped."""

    @classmethod
    def setUpClass(cls) -> None:
        database = bound_store().database
        cls.addClassCleanup(setattr, database, "keeps_connections", database.keeps_connections)
        cls.addClassCleanup(database.dispose)
        database.dispose()
        database.keeps_connections = lambda: True
        super().setUpClass()


class SagaTransactionTestCase(_KeepsConnections):
    """A `TransactionTestCase` in which sagas run. After each test the saga tables are emptied, as Django's own are."""

    def run(self, result: Any = None) -> Any:
        try:
            return super().run(result)
        finally:
            bound_store().instances.delete_all()

    @contextmanager
    def run_sagas(self) -> Iterator[Inline]:
        """Run the sagas that are started and committed in the block to their ends (see `sagas.testing.inline`)."""
        with inline(bound_sagas()) as caught:
            yield caught


class SagaTestCase(_KeepsConnections, TestCase):
    """A `TestCase` in which sagas run, although nothing is ever committed::

        class CheckoutTests(SagaTestCase):
            def test_a_declined_card_releases_the_goods(self):
                with self.run_sagas():
                    self.client.post("/orders", {"sku": "pen", "card": "declined"})
                assert sagas.find(saga="order", key="42").status == "compensated"

    Sagas started in a test are deleted after it; those started in ``setUpTestData``, after the class. A step that
    catches a database error needs an ``atomic()`` around its cause, as everything in a `TestCase` does.
    """

    _started: ClassVar[list[UUID]] = []

    @classmethod
    def setUpClass(cls) -> None:
        cls._started = []
        cls.addClassCleanup(_forget, cls._started, 0)
        super().setUpClass()

    def run(self, result: Any = None) -> Any:
        started_before = len(self._started)
        try:
            return super().run(result)
        finally:
            _forget(self._started, started_before)

    @classmethod
    @contextmanager
    def run_sagas(cls) -> Iterator[Inline]:
        """Run the sagas that are started in the block to their ends, except those that an ``atomic()`` rolled back.

        The block's ``on_commit`` callbacks run at its end, as ``captureOnCommitCallbacks(execute=True)`` does; those
        of a step run right after it.
        """
        sagas, store, alias = bound_sagas(), bound_store(), configuration().database
        if alias not in cls.databases:
            raise ConfigurationError(f"sagas live in the database {alias!r}: add it to {cls.__qualname__}.databases")

        def committing() -> AbstractContextManager[Any]:
            captured: AbstractContextManager[Any] = cls.captureOnCommitCallbacks(using=alias, execute=True)
            return captured

        stand_in = _TestTransaction(store.database, store.instances, alias, cls._started)
        surrounding, sagas.engine.ambient = sagas.engine.ambient, lambda: stand_in
        try:
            with inline(sagas, around=committing) as caught, committing():
                yield caught
        finally:
            sagas.engine.ambient = surrounding
            stand_in.forget_rolled_back()


class _TestTransaction:
    """Stands in for a transaction that will never be committed (see `CallersTransaction`).

    The instance is committed at once on a connection of the library's, and deleted again if an ``atomic()`` around its
    start rolls back, as Django's list of callbacks shows.
    """

    def __init__(self, database: Database, instances: Instances, alias: str, started: list[UUID]) -> None:
        self._database = database
        self._instances = instances
        self._alias = alias
        self._started = started
        self._connection: Connection | None = None
        self._last: UUID | None = None
        self._open: dict[UUID, Callable[[], None]] = {}

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        self.forget_rolled_back()
        with self._database.transaction() as self._connection:
            yield

    def scalar(self, statement: TextClause, parameters: Mapping[str, Any]) -> Any:
        assert self._connection is not None
        self._last = parameters.get("id", self._last)
        return self._connection.scalar(statement, parameters)

    def after_commit(self, do: Callable[[], None], committed: Callable[[], bool]) -> None:
        assert self._last is not None
        started = self._last

        def send() -> None:
            # Once: captured callbacks stay in Django's list, for the next capture.
            if self._open.pop(started, None):
                do()

        self._open[started] = send
        self._started.append(started)
        transaction.on_commit(send, using=self._alias)

    def forget_rolled_back(self) -> None:
        waiting = [entry[1] for entry in connections[self._alias].run_on_commit]
        gone = [instance_id for instance_id, send in self._open.items() if send not in waiting]
        for instance_id in gone:
            del self._open[instance_id]
        if gone:
            self._instances.delete(gone)


def _forget(started: list[UUID], since: int) -> None:
    if len(started) > since:
        bound_store().instances.delete(started[since:])
        del started[since:]
