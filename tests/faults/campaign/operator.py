"""The operator who looks at failed sagas: removes what made an undo impossible, and lets them go on."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from celery import Celery
from sqlalchemy import text

from sagas import SagaHandle, Sagas
from tests.faults.campaign import bank
from tests.faults.campaign.fault_environment import FaultEnvironment

IMPOSSIBLE = """
SELECT id::text, data ->> 'impossible' FROM sagas.saga_instance
WHERE status = 'failed' AND data ? 'impossible' AND id NOT IN (SELECT saga_id FROM bank.excluded) ORDER BY id
"""


class Operator:
    """An operator, with the library bound to the servers directly, without any cable."""

    def __init__(self, environment: FaultEnvironment, sagas: Sagas) -> None:
        self.environment, self.sagas = environment, sagas

    def mend(self) -> list[UUID]:
        """Let every second saga whose undo was impossible go on; they should end compensated."""
        mended = []
        for saga_id, how in self.environment.ask_patiently(IMPOSSIBLE)[::2]:
            run = self.sagas.get(saga_id)
            if how == "manual":
                self._undo_by_hand(run)
            else:
                self.environment.ask_patiently("INSERT INTO bank.repaired VALUES (%s)", saga_id)
                run.retry("the account is open again")
            mended.append(run.id)
        return mended

    def _undo_by_hand(self, run: SagaHandle) -> None:
        with self.sagas.engine.store.database.transaction() as connection:
            connection.execute(text("SET LOCAL statement_timeout = '20s'"))
            bank.undo_on(connection, f"{run.id}:withdraw", run.id, "withdraw", f"by hand:{run.id}:withdraw")
        run.resolve("paid back by hand", step="withdraw")

    def timeline(self, subject: str) -> str:
        """Return an instance as text, with what the bank has of it."""
        run = self.sagas.get(subject)
        effects = self.environment.ask_patiently(
            "SELECT at, 'effect ' || key FROM bank.effect WHERE saga_id = %(id)s "
            "UNION ALL SELECT at, CASE WHEN undid THEN 'undone by ' ELSE 'found undone by ' END || key FROM bank.undo "
            "WHERE saga_id = %(id)s "
            "UNION ALL SELECT at, 'began ' || key FROM bank.begun WHERE key LIKE %(id)s || ':%%' ORDER BY 1".replace(
                "%(id)s", "%s"
            ),
            *[subject] * 3,
        )
        return "\n".join([run.timeline(), *(f"    bank  {at:%H:%M:%S.%f}  {what}" for at, what in effects)])


@contextmanager
def operator(environment: FaultEnvironment) -> Iterator[Operator]:
    """Yield an operator, who has an application of their own."""
    app = Celery("tests.faults.campaign.operator", broker=environment.broker.url, set_as_current=False)
    sagas = Sagas(app, database=environment.postgres.url)
    try:
        yield Operator(environment, sagas)
    finally:
        sagas.engine.store.database.dispose()
        app.close()
