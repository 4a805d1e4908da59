"""``celery -A <app> sagas …``: migrate, look, and act on instances."""

from sagas.cli.commands import sagas

__all__ = ["sagas"]
