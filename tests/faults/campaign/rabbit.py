"""RabbitMQ as the campaign's broker."""

from tests.faults.campaign.servers import KeepsItsData
from tests.support.rabbitmq import RabbitMQ


class Rabbit(KeepsItsData, RabbitMQ):
    """A node that keeps what is durable."""

    @property
    def url(self) -> str:
        return self.url_at(self.port)

    @property
    def upstream(self) -> tuple[str, int]:
        """Where a cable leads."""
        return "127.0.0.1", self.port

    def length(self) -> int | None:
        """Nobody counts here."""
        return None
