"""The launcher of the embedded servers, with real servers, really killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from celery import Celery
from redis import Redis
from sqlalchemy import create_engine, text

from config import binaries, servers
from config.servers import (
    EmbeddedBroker,
    EmbeddedPostgres,
    EmbeddedServers,
    ServerError,
    create_database,
    drop_database,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A server that a test may kill, apart from the one that all tests share."""
    with EmbeddedPostgres(durable=False) as server:
        yield server


def execute(url: str, statement: str) -> list[tuple[object, ...]]:
    engine = create_engine(url)
    with engine.begin() as connection:
        result = connection.execute(text(statement))
        rows = [tuple(row) for row in result] if result.returns_rows else []
    engine.dispose()
    return rows


def client(broker: EmbeddedBroker, database: int = 0) -> Redis:
    return Redis(unix_socket_path=f"{broker.directory}/valkey.sock", db=database)


def is_dead(pid: int) -> bool:
    """Ended, reaped or not: not every init process reaps at once."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
    return not state or state.startswith("Z")


def wait_for_end(*pids: int) -> None:
    for _ in poll(f"the end of {pids}"):
        if all(map(is_dead, pids)):
            return


def poll(what: str) -> Iterator[None]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        yield
        time.sleep(0.02)
    pytest.fail(f"waited 20 s for {what}")


def test_postgres_keeps_what_was_committed_when_it_is_killed(own_postgres: EmbeddedPostgres) -> None:
    url = own_postgres.create_database("killed")
    execute(url, "CREATE TABLE kept (x int); INSERT INTO kept VALUES (42)")
    first = own_postgres.pid

    own_postgres.kill()
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(host=str(own_postgres.directory), user="postgres")
    own_postgres.start()

    assert own_postgres.pid not in (None, first)
    assert execute(url, "SELECT x FROM kept") == [(42,)]


def test_postgres_starts_again_while_connections_of_the_killed_one_are_open(
    own_postgres: EmbeddedPostgres,
) -> None:
    connections = [psycopg2.connect(host=str(own_postgres.directory), user="postgres") for _ in range(20)]

    own_postgres.kill()
    own_postgres.start()

    assert execute(own_postgres.url, "SELECT 1") == [(1,)]
    for connection in connections:
        connection.close()


def test_postgres_restarts_cleanly_at_the_same_address(own_postgres: EmbeddedPostgres) -> None:
    url = own_postgres.create_database("restarted")
    execute(url, "CREATE UNLOGGED TABLE fragile (x int); INSERT INTO fragile VALUES (1)")

    own_postgres.restart()

    assert execute(url, "SELECT x FROM fragile") == [(1,)]


def test_a_database_is_copied_from_a_template_and_dropped_under_its_users(
    own_postgres: EmbeddedPostgres,
) -> None:
    execute(own_postgres.create_database("template"), "CREATE TABLE copied (x int)")
    url = own_postgres.create_database("copy", template="template")
    assert execute(url, "SELECT * FROM copied") == []

    user = psycopg2.connect(host=str(own_postgres.directory), user="postgres", dbname="copy")
    drop_database(own_postgres.url, "copy")

    names = execute(own_postgres.url, "SELECT datname FROM pg_database")
    assert ("template",) in names
    assert ("copy",) not in names
    user.close()


def test_a_database_url_keeps_password_and_driver() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(servers, "_execute", lambda url, statement: None)
        url = create_database("postgresql+psycopg2://me:s%40fe@db:5433/postgres?sslmode=require", "mine")
    assert url == "postgresql+psycopg2://me:s%40fe@db:5433/mine?sslmode=require"


def test_postgres_is_durable_unless_told_otherwise(own_postgres: EmbeddedPostgres) -> None:
    assert execute(own_postgres.url, "SHOW fsync") == [("off",)]
    with EmbeddedPostgres() as server:
        assert execute(server.url, "SHOW fsync") == [("on",)]
        assert execute(server.url, "SHOW listen_addresses") == [("",)]


def test_postgres_runs_from_an_installation_that_its_user_cannot_reach(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As with an environment below /root. Other users than root run PostgreSQL as themselves.
    monkeypatch.setattr(servers, "_open_to_all", lambda path: path.name != "postgres")
    with EmbeddedPostgres(durable=False) as server:
        assert execute(server.url, "SELECT 1") == [(1,)]
        assert (server.directory / "install").exists() == (os.geteuid() == 0)


def test_the_directory_is_closed_to_other_users_and_gone_after_stop() -> None:
    with EmbeddedServers(durable=False) as both:
        directories = [both.postgres.directory, both.broker.directory]
        assert [path.stat().st_mode & 0o077 for path in directories] == [0, 0]
    assert not any(path.exists() for path in directories)
    both.broker.stop()  # once more does nothing


def test_the_broker_forgets_when_killed_unless_it_is_persistent() -> None:
    for persistent in (False, True):
        with EmbeddedBroker(persistent=persistent) as broker:
            with client(broker) as redis:
                redis.set("message", "kept")
            broker.restart()  # ends cleanly, so an append-only file is complete
            broker.kill()
            broker.start()
            with client(broker) as redis:
                assert redis.get("message") == (b"kept" if persistent else None)


def test_celery_reaches_the_broker_through_its_url(broker_url: str) -> None:
    app = Celery("reached", broker=broker_url, set_as_current=False)
    with app.connection_for_write() as connection, connection.SimpleQueue("letters") as queue:
        queue.put({"hello": "world"})
        assert queue.get(timeout=5).payload == {"hello": "world"}


@pytest.mark.parametrize("turn", ["first", "second"])
def test_every_test_gets_an_empty_keyspace(broker_url: str, broker: EmbeddedBroker, turn: str) -> None:
    with client(broker, int(broker_url.rpartition("=")[2])) as redis:
        assert redis.dbsize() == 0
        redis.set("left", "behind")


@pytest.mark.parametrize("turn", ["first", "second"])
def test_every_test_gets_an_empty_database(database_url: str, turn: str) -> None:
    execute(database_url, "CREATE TABLE left_behind (x int)")


def test_a_server_that_does_not_start_shows_its_log_and_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    command = EmbeddedPostgres._command
    monkeypatch.setattr(EmbeddedPostgres, "_command", lambda self: [*command(self), "-c", "max_connections=no"])
    server = EmbeddedPostgres(durable=False)
    with pytest.raises(ServerError, match=r"(?s)max_connections.*SAGAS_DATABASE_URL"):
        server.start()
    assert server.pid is None
    with pytest.raises(ServerError, match="call start"):
        _ = server.url


@pytest.mark.parametrize(("room", "durable", "is_there"), [(0, False, True), (0, True, False), (2**62, False, False)])
def test_data_that_need_not_last_are_kept_in_memory_if_there_is_room(
    room: int,
    durable: bool,
    is_there: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    memory = tmp_path_factory.getbasetemp()  # a test's own would be too long for a socket
    monkeypatch.setattr(servers, "MEMORY", memory)
    monkeypatch.setattr(servers, "ROOM", room)
    server = EmbeddedPostgres(durable=durable)

    directory = servers._temporary_directory(None, in_memory=server.in_memory)

    assert (directory.parent == memory) is is_there
    directory.rmdir()


def test_missing_binaries_name_the_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(binaries, "_package", lambda name: tmp_path)
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(()))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerError, match="SAGAS_DATABASE_URL"):
        EmbeddedPostgres().start()
    with pytest.raises(ServerError, match="SAGAS_BROKER_URL"):
        EmbeddedBroker().start()


HOST = """
import os, sys, time
import signal
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may have it ignored, as nohup does
from config.servers import EmbeddedServers
with EmbeddedServers(durable=False) as both:
    if os.fork() == 0:
        sys.exit()  # runs the exit hooks in a child: they must leave the servers alone
    os.wait()
    print(both.postgres.pid, both.broker.pid, both.postgres.directory, both.broker.directory, flush=True)
    time.sleep(60)
"""


@pytest.mark.faults
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_the_servers_end_with_the_process_that_started_them(signum: signal.Signals) -> None:
    if signum is signal.SIGKILL and sys.platform != "linux":
        pytest.skip("only Linux tells a child of its parent's sudden death")
    with subprocess.Popen(
        [sys.executable, "-c", HOST], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as host:
        assert host.stdout is not None
        postgres, broker, *directories = host.stdout.readline().split()
        assert not is_dead(int(postgres))
        assert not is_dead(int(broker))

        host.send_signal(signum)
        host.wait(30)

    wait_for_end(int(postgres), int(broker))
    if signum is signal.SIGKILL:
        for directory in directories:  # nobody was left to remove them
            subprocess.run(["rm", "-r", directory], check=True)
    else:
        assert not any(Path(directory).exists() for directory in directories)
    if signum in (signal.SIGTERM, signal.SIGHUP):
        assert host.returncode == 128 + signum
