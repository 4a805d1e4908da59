"""What waits in the broker."""

from tests.django_project.celery import app


def messages() -> int:
    """How many messages of steps wait for a worker."""
    with app.connection_for_read() as connection:
        return int(connection.default_channel.client.llen("celery"))


def empty() -> None:
    with app.connection_for_read() as connection:
        connection.default_channel.client.flushdb()
