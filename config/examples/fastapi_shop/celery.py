"""The Celery app. `Sagas` makes its tasks steps of sagas; the web application starts them."""

from celery import Celery

from config.demo import faults
from config.settings import Settings
from sagas import Sagas

settings = Settings.from_environment()

app = Celery("fastapi_shop", broker=settings.broker_url, include=["tasks.orders"])
sagas = Sagas(
    app,
    database=settings.database_url,
    schema=settings.schema,
    heartbeat=settings.heartbeat,
    sweep_every=settings.sweep_every,
)

# Orders can be staged (see `config.examples.staging`); a real shop has no such line.
faults.install()
