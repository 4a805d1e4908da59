"""``celery -A <app> sagas …``: migrate, inspect, and act on instances."""

from sagas.cli import acting, doubtful, events, lists
from sagas.cli.commands import sagas

__all__ = ["acting", "doubtful", "events", "lists", "sagas"]
