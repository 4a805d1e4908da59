"""The application: an ordinary Celery app, with one line that makes its tasks steps of sagas.

`celery -A config worker --beat` runs it.
"""

from celery import Celery

from config.demo import faults
from config.schedule import BEAT_SCHEDULE
from config.settings import Settings
from sagas import Sagas

settings = Settings.from_environment()

app = Celery(
    "config",
    broker=settings.broker_url,
    include=["tasks.orders", "tasks.fulfilment", "tasks.travel", "tasks.choreography", "config.demo.audits"],
)
app.conf.update(
    accept_content=["json"],
    task_serializer="json",
    result_serializer="json",
    timezone="UTC",
    enable_utc=True,
    # Sagas adds its sweep to this, so it must be set before.
    beat_schedule=dict(BEAT_SCHEDULE),
)

sagas = Sagas(
    app,
    database=settings.database_url,
    schema=settings.schema,
    heartbeat=settings.heartbeat,
    sweep_every=settings.sweep_every,
)

# The demo lets calls of the services go wrong; a real application has no such line.
faults.install()
