"""RabbitMQ, where the machine has it: `apt-get install rabbitmq-server`."""

import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

from config.servers import ServerError
from tests.faults.campaign.servers import KeepsItsData

#: Not the wrapper on the PATH, which changes to an account and to directories of its own.
PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class Rabbit(KeepsItsData):
    """A node of its own: data, logs and cookie in its directory, no epmd, nothing but one port."""

    name = "RabbitMQ"
    variable = "SAGAS_BROKER_URL"
    ends_at = signal.SIGTERM

    def __init__(self) -> None:
        super().__init__()
        self.port, self._distribution = free_port(), free_port()

    @property
    def url(self) -> str:
        return self.url_at(self.port)

    @staticmethod
    def url_at(port: int) -> str:
        """The broker as it is reached through a cable."""
        return f"amqp://guest:guest@127.0.0.1:{port}//"

    @property
    def upstream(self) -> tuple[str, int]:
        """Where a cable leads."""
        return "127.0.0.1", self.port

    def length(self) -> int | None:
        """Nobody counts here."""
        return None

    def _command(self) -> list[str]:
        if not PROGRAM.exists():
            raise ServerError("No RabbitMQ: apt-get install rabbitmq-server.")
        return [str(PROGRAM)]

    def _popen(self, command: list[str]) -> "subprocess.Popen[bytes]":
        directory = str(self.directory)
        environment: dict[str, Any] = {
            "HOME": directory,
            "RABBITMQ_NODENAME": f"campaign{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_MNESIA_BASE": f"{directory}/data",
            "RABBITMQ_LOG_BASE": f"{directory}/log",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{directory}/plugins",
            "RABBITMQ_CONFIG_FILE": f"{directory}/rabbitmq",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-erl_epmd_port {self._distribution} -start_epmd false",
            "RABBITMQ_LOGS": "-",
        }
        with (self.directory / "server.log").open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory,
                env=os.environ | environment,
                start_new_session=True,
                preexec_fn=self._death_warrant(),
            )

    def _end(self, signum: signal.Signals) -> None:
        process = self._process
        if process is not None and signum == signal.SIGKILL:
            # The script that started it would leave the node behind.
            kill_group(process.pid)
        super()._end(signum)
        if process is not None:
            kill_group(process.pid)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as client:
                client.settimeout(2)
                client.sendall(b"AMQP\x00\x00\x09\x01")
                return bool(client.recv(8))
        except OSError:
            return False


def kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        pass


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
