"""An application that shares a broker, and perhaps a schema, with another one: the environment says which it is."""

import os

from celery import Celery

from sagas import PermanentError, Saga, Sagas, Step


def make(
    name: str, broker_url: str, database_url: str, *, schema: str, control_queue: str = "sagas", patient: bool = False
) -> tuple[Sagas, Saga]:
    """Make the application and its only saga, which is undone."""
    app = Celery(name, broker=broker_url, set_as_current=False)
    app.conf.task_default_queue = name
    app.conf.worker_hijack_root_logger = False
    sagas = Sagas(
        app, database=database_url, schema=schema, control_queue=control_queue, heartbeat=0.5, sweep_every=3600
    )

    @app.task(name=f"{name}.hold", shared=False)
    def hold() -> None: ...

    @app.task(name=f"{name}.unhold", shared=False)
    def unhold() -> None: ...

    @app.task(name=f"{name}.charge", shared=False)
    def charge() -> None:
        raise PermanentError("declined")

    steps = [Step(hold, compensation=unhold), Step(charge, compensation=None, timeout=60 if patient else None)]
    return sagas, Saga("neighbours-order", steps=steps)


if "NEIGHBOUR" in os.environ:
    sagas, order = make(
        os.environ["NEIGHBOUR"],
        os.environ["SAGAS_BROKER_URL"],
        os.environ["SAGAS_DATABASE_URL"],
        schema=os.environ.get("NEIGHBOUR_SCHEMA", "sagas"),
        control_queue=os.environ.get("NEIGHBOUR_QUEUE", "sagas"),
        patient="NEIGHBOUR_PATIENT" in os.environ,
    )
    app = sagas.app
