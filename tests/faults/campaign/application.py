"""What the campaign's workers, beats and starter run, on the servers and settings that the environment names."""

import os

from celery import Celery

from sagas import Sagas
from tests.faults.campaign import business

__all__ = ["app", "business", "sagas"]

app = Celery("tests.faults.campaign", broker=os.environ["SAGAS_BROKER_URL"], set_as_current=False)
sagas = Sagas(
    app,
    database=os.environ["SAGAS_DATABASE_URL"],
    heartbeat=float(os.environ.get("SAGAS_HEARTBEAT", "2.0")),
    sweep_every=float(os.environ.get("SAGAS_SWEEP_EVERY", "2.0")),
)
