"""``celery -A <app> sagas …``: migrate, inspect, and act on instances."""

from sagas.cli import acting, bridges, dead, doubtful, events, lists, standing
from sagas.cli.commands import sagas

__all__ = ["acting", "bridges", "dead", "doubtful", "events", "lists", "sagas", "standing"]
