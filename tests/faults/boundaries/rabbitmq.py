"""A throwaway RabbitMQ: one node with its own port, name and directory, and an empty virtual host for each lane.

It is Debian's `rabbitmq-server`, installed by apt-get in a container of root's, where no service starts by that.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from config.servers import EmbeddedServer, ServerError

#: Not the wrapper on the PATH, which changes to an account and to directories of its own.
PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
VHOSTS = 8
#: No questions, and to Debian's `invoke-rc.d`: nothing is to be started.
QUIETLY = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
INSTALL = ("apt-get", "install", "--yes", "--no-install-recommends", "rabbitmq-server")


class Node(EmbeddedServer):
    """A node that nothing but its port leads to: without epmd, and without a command line tool."""

    name = "RabbitMQ"
    variable = "SAGAS_BROKER_URL"
    ends_at = signal.SIGTERM

    def __init__(self) -> None:
        super().__init__()
        self._port, self._distribution = free_port(), free_port()
        self._vhosts = iter(range(VHOSTS))

    def empty_vhost(self) -> str:
        """The URL of a virtual host that nobody has used yet."""
        return f"amqp://test:test@127.0.0.1:{self._port}/lane{next(self._vhosts)}"

    def _prepare(self) -> None:
        vhosts = [f"lane{number}" for number in range(VHOSTS)]
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
            "RABBITMQ_NODENAME": f"boundaries{self._port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
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
        super()._end(signum)
        if process is not None:
            # The script that started it may have left the node behind.
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), 2) as client:
                client.settimeout(2)
                client.sendall(b"AMQP\x00\x00\x09\x01")
                return bool(client.recv(8))
        except OSError:
            return False


def node() -> Node:
    """One that runs; skips the test with the reason where there can be none."""
    if not PROGRAM.exists():
        if os.geteuid() != 0 or shutil.which("apt-get") is None or Path("/run/systemd/system").exists():
            pytest.skip("RabbitMQ is not installed, and this is no container in which root could do it by apt-get")
        done = subprocess.run(INSTALL, env=os.environ | QUIETLY, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"RabbitMQ cannot be installed: {done.stderr[-500:]}")
    try:
        return Node().start()
    except ServerError as error:
        pytest.skip(f"RabbitMQ does not start: {error}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
