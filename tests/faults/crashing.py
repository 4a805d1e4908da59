"""What some workers of the fault tests run: a saga whose step makes PostgreSQL crash just after its own claim.

The effects are lines of a file: a journal in the database would make the claim durable, which must get lost here.
"""

import os
import signal
from pathlib import Path
from uuid import UUID

from celery import Celery, shared_task

from sagas import Saga, Sagas, Step, current_step
from tests.support import journal

__all__ = ["app", "lines", "sagas"]


def write(what: str) -> None:
    with Path(os.environ["SAGAS_TEST_EFFECTS"]).open("a") as file:
        file.write(f"{current_step.saga_id} {what}\n")


def lines(file: Path, saga_id: UUID) -> list[str]:
    """An instance's effects, in their order."""
    written = file.read_text().splitlines() if file.exists() else []
    return [what for id, _, what in (line.partition(" ") for line in written) if id == str(saga_id)]


@shared_task
def act() -> None:
    write(current_step.name)


@shared_task
def undo() -> None:
    write(f"undo {current_step.name}")


@shared_task
def act_and_crash() -> None:
    """Its effect; then one of the server's processes is killed, as by the OOM killer, and so is this one. Once."""
    file = Path(os.environ["SAGAS_TEST_EFFECTS"])
    first = current_step.name not in lines(file, current_step.saga_id)
    write(current_step.name)
    if first:
        connection = journal.connect()
        os.kill(connection.info.backend_pid, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


def fragile(name: str, *, idempotent: bool) -> Saga:
    return Saga(
        name,
        steps=[
            Step(act, name="a", compensation=undo),
            Step(act_and_crash, name="b", compensation=undo, idempotent=idempotent),
            Step(act, name="c", compensation=undo),
        ],
    )


repeatable = fragile("repeatable", idempotent=True)
unrepeatable = fragile("unrepeatable", idempotent=False)

if "SAGAS_BROKER_URL" in os.environ and "SAGAS_DATABASE_URL" in os.environ:
    app = Celery("tests.faults.crashing", broker=os.environ["SAGAS_BROKER_URL"], set_as_current=False)
    # Slow, so that neither a heartbeat nor a sweep makes the claim durable before the crash.
    sagas = Sagas(app, database=os.environ["SAGAS_DATABASE_URL"], heartbeat=1.0, sweep_every=1.0)
