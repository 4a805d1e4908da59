"""The application of the tests' workers: the scripted sagas, on the servers and settings of the environment."""

import os

from celery import Celery

from sagas import Sagas
from sagas.engine.messages import SWEEP_TASK
from tests.support import scripted, shapes

__all__ = ["app", "sagas", "scripted", "shapes"]


def make(broker_url: str, database_url: str) -> Sagas:
    """Make a separate application, as each test and each of its workers has one."""
    app = Celery("tests.support.application", broker=broker_url, set_as_current=False)
    app.conf.worker_hijack_root_logger = False
    for setting in os.environ.get("SAGAS_TEST_SETTINGS", "").split():
        name, _, value = setting.partition("=")
        app.conf[name] = int(value) if value.lstrip("-").isdigit() else value
    sagas = Sagas(
        app,
        database=database_url,
        heartbeat=float(os.environ.get("SAGAS_HEARTBEAT", "0.5")),
        sweep_every=float(os.environ.get("SAGAS_SWEEP_EVERY", "0.5")),
        parked_after=float(os.environ.get("SAGAS_PARKED_AFTER", "300")),
    )
    app.on_after_finalize.connect(sweep_each_second)
    return sagas


def sweep_each_second(sender: Celery, **_: object) -> None:
    """Shorten beat's interval: tests do not wait for a quarter of a minute."""
    sender.conf.beat_schedule[SWEEP_TASK]["schedule"] = 1.0


if "SAGAS_BROKER_URL" in os.environ and "SAGAS_DATABASE_URL" in os.environ:
    sagas = make(os.environ["SAGAS_BROKER_URL"], os.environ["SAGAS_DATABASE_URL"])
    app = sagas.app
