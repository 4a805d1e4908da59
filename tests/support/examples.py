"""The runnable application's examples on real servers: their Sagas in this process, and a worker of `config`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery

from config.servers import EmbeddedBroker, EmbeddedPostgres
from sagas import Saga, SagaHandle, Sagas, SagaStatus, StepStatus
from tasks.services.database import engine
from tasks.services.tables import create_tables
from tests.conftest import GivenPostgres, empty_keyspace
from tests.support.workers import Worker, running

PATIENCE = 60.0


@dataclass(frozen=True)
class Examples:
    """Starts the examples' sagas, and waits for their ends."""

    sagas: Sagas

    def start(self, saga: Saga, data: dict[str, Any], key: str) -> SagaHandle:
        return self.sagas.start(saga, data, key=key)

    def run(self, saga: Saga, data: dict[str, Any], key: str) -> tuple[SagaHandle, SagaStatus]:
        """Start a saga and wait for its end."""
        run = self.start(saga, data, key)
        return run, run.wait(PATIENCE)


@contextmanager
def examples(postgres: EmbeddedPostgres | GivenPostgres, broker: EmbeddedBroker, directory: Path) -> Iterator[Examples]:
    """Yield the application on its own database and keyspace, with one running worker."""
    environment = {
        "SAGAS_DATABASE_URL": postgres.create_database(f"test_{uuid4().hex}"),
        "SAGAS_BROKER_URL": empty_keyspace(broker),
        "SAGAS_HEARTBEAT": "0.5",
        "SAGAS_SWEEP_EVERY": "0.5",
    }
    with pytest.MonkeyPatch.context() as patch:
        # The services read the environment, in this process too.
        patch.setenv("SAGAS_DATABASE_URL", environment["SAGAS_DATABASE_URL"])
        app = Celery("tests.examples", broker=environment["SAGAS_BROKER_URL"], set_as_current=False)
        sagas = Sagas(app, database=environment["SAGAS_DATABASE_URL"], heartbeat=0.5, sweep_every=0.5)
        sagas.migrate()
        create_tables(engine())
        worker = Worker(environment, directory / "worker.log", application="config", arguments=("-c", "4"))
        with running(worker):
            yield Examples(sagas)
        engine().dispose()
        sagas.engine.store.database.dispose()


def steps(run: SagaHandle) -> dict[str, StepStatus]:
    """Return the status of each step, in the plan's order."""
    return {step.name: step.status for step in run.steps}
