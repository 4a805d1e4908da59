"""A throwaway RabbitMQ, Debian's: one node with its own port, name and directory, and empty virtual hosts."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

from config.servers import EmbeddedServer, ServerError
from tests.support import debian
from tests.support.workers import kill_group

#: Not the wrapper on the PATH, which switches to its own account and directories.
PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
VHOSTS = 8


class RabbitMQ(EmbeddedServer):
    """A node that is reachable only through its port: without epmd, and without a command line tool."""

    name = "RabbitMQ"
    variable = "SAGAS_BROKER_URL"
    ends_at = signal.SIGTERM

    def __init__(self) -> None:
        super().__init__()
        self.port, self._distribution = free_port(), free_port()
        self._vhosts = iter(range(VHOSTS))

    def empty_vhost(self) -> str:
        """Return the URL of an unused virtual host."""
        return self.url_at(self.port, f"vhost{next(self._vhosts)}")

    @staticmethod
    def url_at(port: int, vhost: str = "vhost0") -> str:
        """Return the broker's URL through a port, its own or a cable's."""
        return f"amqp://test:test@127.0.0.1:{port}/{vhost}"

    def _prepare(self) -> None:
        if not PROGRAM.exists() and (reason := debian.install("rabbitmq-server")):
            raise ServerError(reason)
        vhosts = [f"vhost{number}" for number in range(VHOSTS)]
        everything = {"user": "test", "configure": ".*", "write": ".*", "read": ".*"}
        definitions = {
            "users": [{"name": "test", "password": "test", "tags": ""}],
            "vhosts": [{"name": vhost} for vhost in vhosts],
            "permissions": [everything | {"vhost": vhost} for vhost in vhosts],
        }
        (self.directory / "definitions.json").write_text(json.dumps(definitions))
        (self.directory / "rabbitmq.conf").write_text(f"load_definitions = {self.directory}/definitions.json\n")

    def _command(self) -> list[str]:
        return [str(PROGRAM)]

    def _popen(self, command: list[str]) -> "subprocess.Popen[bytes]":
        directory = str(self.directory)
        environment = {
            "HOME": directory,
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
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
                preexec_fn=self._end_with_parent(),
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
