"""Inline sagas with which something happens between two of their steps: a death, a lost answer, a look from outside."""

import os
import signal
from typing import Any

import psycopg2
from celery import shared_task, signals
from sqlalchemy import Connection, CursorResult
from sqlalchemy.exc import OperationalError

from sagas import Saga, Step, current_step
from sagas.store.prepared import Prepared
from tests.support import journal
from tests.support.continuing import forget, write_signal
from tests.support.scripted import enter_in_ledger, step

NAME = "tests.support.between_steps."
FOLLOWING = """
SELECT step.name, step.status, step.attempts, step.token, step.worker_id FROM sagas.saga_step AS step
WHERE step.instance_id = %s AND step.status <> 'completed'
"""


@shared_task
def dies_afterwards() -> None:
    """Its process is killed when it has completed and been traced."""
    journal.write(current_step.name)


@shared_task
def falls_afterwards() -> None:
    """So is the whole worker."""
    journal.write(current_step.name)


@shared_task
def is_watched() -> None:
    """What follows it is looked at when it has completed and been traced."""
    journal.write(current_step.name)


@shared_task
def look_back() -> None:
    """Write down what another session sees of the ledger, then write into it by the step's own transaction."""
    connection = journal.connect()
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT entry FROM public.ledger WHERE saga_id = %s ORDER BY id", (str(current_step.saga_id),))
        seen = [entry for (entry,) in cursor.fetchall()]
    finally:
        connection.close()
    journal.write(f"{current_step.name} sees {seen}")
    enter_in_ledger(current_step.name)


@signals.task_postrun.connect
def on_postrun(sender: Any, kwargs: Any, **_: Any) -> None:
    match sender.name.removeprefix(NAME):
        case "dies_afterwards":
            os.kill(os.getpid(), signal.SIGKILL)
        case "falls_afterwards":
            os.killpg(os.getpgid(0), signal.SIGKILL)
        case "is_watched":
            connection = journal.connect()
            try:
                cursor = connection.cursor()
                cursor.execute(FOLLOWING, (kwargs["saga_id"],))
                for row in cursor.fetchall():
                    write_signal(kwargs["saga_id"], f"then {row}")
            finally:
                connection.close()


def lose_answers() -> None:
    """In this process the first answer to each claim and each completion is lost with its connection."""
    run, lost = Prepared.run, set[str]()

    def run_and_lose(self: Prepared, connection: Connection, parameters: dict[str, Any]) -> CursorResult[Any]:
        answer = run(self, connection, parameters)
        what = f"{self.name} {parameters.get('instance_id')} {parameters.get('position')}"
        if "token" not in parameters or what in lost:
            return answer
        lost.add(what)
        connection.invalidate()
        cut = psycopg2.OperationalError("server closed the connection unexpectedly")
        raise OperationalError(self.name, None, cut, connection_invalidated=True)

    Prepared.run = run_and_lose  # type: ignore[method-assign]


if os.environ.get("SAGAS_TEST_LOSES_ANSWERS"):
    lose_answers()


def once(name: str, task: Any = None) -> Step:
    """A step that must not run twice."""
    return Step(task, name=name, compensation=forget, idempotent=False) if task else step(name, idempotent=False)


def saga(name: str, *steps: Step) -> Saga:
    return Saga(name, steps=steps, continuation="inline")


dying = saga("inline-dying", step("a"), once("b", dies_afterwards), once("c"), step("d"))
falling = saga("inline-falling", step("a"), step("b"), once("c", falls_afterwards), once("d"), step("e"))
watched = saga("inline-watched", once("a", is_watched), once("b"))
looking_back = saga("inline-looking-back", *(Step(look_back, name=name, compensation=forget) for name in "abc"))
