"""For a Django project's own tests: sagas that run in the test, on the test's database, without a broker.

A `TestCase` wraps each test in a transaction that is never committed, and steps run on the test's own connection, so
they see what the test has written. A `TransactionTestCase` commits as in production.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from uuid import UUID

from django.db import connections, transaction
from django.test import TestCase, TransactionTestCase
from sqlalchemy import TextClause

from sagas.contrib.django.binding import bound
from sagas.contrib.django.conf import configuration
from sagas.extension import Sagas
from sagas.testing import Inline, inline


class _ForgetsSagas:
    """After each test the saga tables are emptied, as Django empties or rolls back its own."""

    def run(self, result: Any = None) -> Any:
        try:
            return super().run(result)  # type: ignore[misc]
        finally:
            bound().engine.store.instances.delete_all()


class SagaTransactionTestCase(_ForgetsSagas, TransactionTestCase):
    """A `TransactionTestCase` in which sagas run."""

    @contextmanager
    def run_sagas(self) -> Iterator[Inline]:
        """What is started and committed inside the block has ended after it (see `sagas.testing.inline`)."""
        with inline(bound()) as caught:
            yield caught


class SagaTestCase(_ForgetsSagas, TestCase):
    """A `TestCase` in which sagas run, although nothing is ever committed::

    class CheckoutTests(SagaTestCase):
        def test_a_declined_card_releases_the_goods(self):
            with self.run_sagas():
                self.client.post("/orders", {"sku": "pen", "card": "declined"})
            assert sagas.find(saga="order", key="42").status == "compensated"
    """

    @contextmanager
    def run_sagas(self) -> Iterator[Inline]:
        """What is started inside the block has ended after it, except what an ``atomic()`` rolled back.

        The block's ``on_commit`` callbacks run at its end, as ``captureOnCommitCallbacks(execute=True)`` does.
        """
        sagas, alias = bound(), configuration().database
        stand_in = _TestTransaction(sagas, alias)
        surrounding, sagas.engine.ambient = sagas.engine.ambient, lambda: stand_in
        try:
            with inline(sagas) as caught:
                with self.captureOnCommitCallbacks(using=alias, execute=True):
                    yield caught
                while caught.is_waiting:
                    # Steps have callbacks of their own, and start sagas.
                    with self.captureOnCommitCallbacks(using=alias, execute=True):
                        caught.run()
        finally:
            sagas.engine.ambient = surrounding
            stand_in.forget_rolled_back()


class _TestTransaction:
    """Stands in for a transaction that will never be committed (see `CallersTransaction`).

    The instance is committed at once on a connection of the library's, and forgotten again if an ``atomic()`` around
    its start rolls back, which Django's list of callbacks tells.
    """

    def __init__(self, sagas: Sagas, alias: str) -> None:
        self._sagas = sagas
        self._alias = alias
        self._last: UUID | None = None
        self._open: dict[UUID, Callable[[], None]] = {}

    def savepoint(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def scalar(self, statement: TextClause, parameters: Mapping[str, Any]) -> Any:
        self.forget_rolled_back()
        self._last = parameters.get("id", self._last)
        with self._sagas.engine.store.database.autocommit() as connection:
            return connection.scalar(statement, parameters)

    def after_commit(self, do: Callable[[], None], committed: Callable[[], bool]) -> None:
        assert self._last is not None
        started = self._last

        def send() -> None:
            self._open.pop(started, None)
            do()

        self._open[started] = send
        transaction.on_commit(send, using=self._alias)

    def forget_rolled_back(self) -> None:
        waiting = [entry[1] for entry in connections[self._alias].run_on_commit]
        gone = [instance_id for instance_id, send in self._open.items() if send not in waiting]
        for instance_id in gone:
            del self._open[instance_id]
        if gone:
            self._sagas.engine.store.instances.delete(gone)
