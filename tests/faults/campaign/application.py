"""What the campaign's workers, beats and starter run, on the servers and settings that the environment names."""

import os
import select
import time

from celery import Celery

from sagas import Sagas
from tests.faults.campaign import business, remittance

if "FAKETIME" in os.environ:
    # libfaketime 0.9.10 gets the end of such a sleep wrong, which is a moment of the monotonic clock: EINVAL.
    time.sleep = lambda seconds: select.select([], [], [], seconds) and None

__all__ = ["app", "business", "remittance", "sagas"]

app = Celery("tests.faults.campaign", broker=os.environ["SAGAS_BROKER_URL"], set_as_current=False)
sagas = Sagas(
    app,
    database=os.environ["SAGAS_DATABASE_URL"],
    heartbeat=float(os.environ.get("SAGAS_HEARTBEAT", "2.0")),
    sweep_every=float(os.environ.get("SAGAS_SWEEP_EVERY", "2.0")),
)
