"""The person who looks at failed sagas: mends what made an undo impossible, and lets them go on."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from celery import Celery
from sqlalchemy import text

from sagas import SagaHandle, Sagas
from tests.faults.campaign import bank
from tests.faults.campaign.stage import Stage

IMPOSSIBLE = """
SELECT id::text, data ->> 'impossible' FROM sagas.saga_instance
WHERE status = 'failed' AND data ? 'impossible' AND id NOT IN (SELECT saga_id FROM bank.excluded) ORDER BY id
"""


class Person:
    """Has the library bound to the servers, past all cables."""

    def __init__(self, stage: Stage, sagas: Sagas) -> None:
        self.stage, self.sagas = stage, sagas

    def mend(self) -> list[UUID]:
        """Every second saga whose undo was impossible goes on; they should end compensated."""
        mended = []
        for saga_id, how in self.stage.ask_patiently(IMPOSSIBLE)[::2]:
            run = self.sagas.get(saga_id)
            if how == "manual":
                self._undo_by_hand(run)
            else:
                self.stage.ask_patiently("INSERT INTO bank.repaired VALUES (%s)", saga_id)
                run.retry("the account is open again")
            mended.append(run.id)
        return mended

    def _undo_by_hand(self, run: SagaHandle) -> None:
        with self.sagas.engine.store.database.transaction() as connection:
            connection.execute(text("SET LOCAL statement_timeout = '20s'"))
            bank.undo_on(connection, f"{run.id}:withdraw", run.id, "withdraw", f"by hand:{run.id}:withdraw")
        run.resolve("paid back by hand", step="withdraw")

    def timeline(self, subject: str) -> str:
        """An instance as text, with what the bank has of it."""
        run = self.sagas.get(subject)
        effects = self.stage.ask_patiently(
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
def person(stage: Stage) -> Iterator[Person]:
    """Somebody with an application of their own."""
    app = Celery("tests.faults.campaign.person", broker=stage.broker.url, set_as_current=False)
    sagas = Sagas(app, database=stage.postgres.url)
    try:
        yield Person(stage, sagas)
    finally:
        sagas.engine.store.database.dispose()
        app.close()
