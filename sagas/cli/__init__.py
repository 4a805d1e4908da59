"""``celery -A <app> sagas …``: migrate, inspect, and act on instances."""

from sagas.cli import acting, dead, doubtful, events, lists, standing
from sagas.cli.commands import sagas

__all__ = ["acting", "dead", "doubtful", "events", "lists", "sagas", "standing"]
