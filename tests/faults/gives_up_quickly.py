"""The order example for workers that give a lost database up after a second."""

from config.celery_app import app, sagas
from sagas.engine.loop import Loop
from sagas.store import hot

__all__ = ["app", "sagas"]

PATIENCE = 1.0

hot.OUTAGE_PATIENCE = PATIENCE
assert Loop.handle.__kwdefaults__ is not None
Loop.handle.__kwdefaults__["patience"] = PATIENCE
