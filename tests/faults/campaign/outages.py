"""What happens to the servers: dead, empty, frozen, crashed, full, slow, replaced."""

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped,unused-ignore]
import psycopg2

from tests.faults.campaign.fault_environment import FaultEnvironment
from tests.faults.campaign.faults import Course, NotNow, fault
from tests.faults.campaign.servers import Standby, follow_synchronously
from tests.support import journal

if TYPE_CHECKING:
    from tests.faults.campaign.fault_runner import Strike
    from tests.faults.campaign.recoveries import Recoveries

#: How PostgreSQL ends: with a checkpoint, or as in a crash, by which unsynced commits are lost.
IN_ORDER, AT_ONCE = "in order", "at once"
OTHERS = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"

# -- the broker


@fault("broker killed and back", "broker", subject="broker", weight=1.5)
def kill_broker(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    environment.broker.kill()
    try:
        yield environment.dice.choice([0.5, 3.0, 8.0])
    finally:
        environment.broker.start()


@fault("broker killed and back empty", "broker", subject="broker", quick=True, broker="valkey")
def empty_broker(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    environment.broker.kill()
    try:
        yield environment.dice.choice([0.2, 2.0])
        environment.valkey.forget()
    finally:
        environment.broker.start()


@fault("broker restarted in order", "broker", subject="broker")
def restart_broker(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    environment.broker.restart()
    yield from ()


@fault("broker frozen", "broker", subject="broker")
def freeze_broker(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    with suspended(environment.broker.pid):
        yield environment.dice.choice([2.0, 7.0, 12.0])


@fault("FLUSHALL", "broker", subject="broker", weight=1, quick=True, broker="valkey")
def flush(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    with environment.redis() as client:
        client.flushall()
    yield from ()


# -- the database


@fault("PostgreSQL shut down at once, and recovered", "database", subject="database", quick=True)
def crash_database(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    environment.postgres.stop_at_once()
    try:
        yield environment.dice.choice([0.1, 2.0])
    finally:
        environment.postgres.start()


def restart_the_database(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    """Away for anything between a moment and longer than it takes to be declared dead."""
    away = environment.dice.uniform(0.2, 8.0)
    strike.detail = environment.deal({IN_ORDER: 1, AT_ONCE: 1})
    stop = environment.postgres.stop_in_order if strike.detail == IN_ORDER else environment.postgres.stop_at_once
    stop()
    environment.hang_up()
    try:
        yield away
    finally:
        environment.postgres.start()


@fault("PostgreSQL killed and away for longer than a lease", "database", subject="database", weight=0.7)
def kill_database(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    environment.postgres.kill()
    try:
        yield environment.settings.heartbeat * environment.dice.uniform(3, 6)
    finally:
        environment.postgres.start()


@fault("PostgreSQL restarted in order", "database", subject="database")
def restart_database(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    environment.postgres.restart()
    yield from ()


@fault("SIGKILL of a PostgreSQL backend (crash recovery)", "database", subject="database", weight=1.5, quick=True)
def kill_backend(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    backends = environment.ask(f"SELECT pid {OTHERS}")
    if not backends:
        raise NotNow
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(environment.dice.choice(backends)[0]), signal.SIGKILL)
    environment.hang_up()
    yield 2.0


@fault("all connections to PostgreSQL ended (pg_terminate_backend)", "database", subject="database", quick=True)
def end_connections(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    if environment.ask(f"SELECT pg_terminate_backend(pid) {OTHERS}") is None:
        raise NotNow
    yield from ()


@fault("some connections to PostgreSQL ended", "database", subject="database")
def end_some_connections(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    if environment.ask(f"SELECT pg_terminate_backend(pid) {OTHERS} AND random() < 0.3") is None:
        raise NotNow
    yield from ()


@fault("PostgreSQL frozen", "database", subject="database", weight=0.7)
def freeze_database(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    environment.hang_up()
    with suspended(environment.postgres.pid):
        environment.database_is_silent = True
        try:
            yield environment.dice.choice([2.0, 10.0])
        finally:
            environment.database_is_silent = False


@fault("no connection to PostgreSQL left (max_connections)", "database", subject="database")
def use_up_connections(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    held: list[Any] = []
    try:
        # As soon as one is free it is taken.
        for _ in range(12):
            with contextlib.suppress(psycopg2.OperationalError):
                while True:
                    held.append(journal.connect(environment.postgres.url))
            environment.ask(f"SELECT pg_terminate_backend(pid) {OTHERS} AND application_name = '' AND random() < 0.1")
            yield 0.5
        strike.detail = f"{len(held)} held"
    finally:
        for connection in held:
            connection.close()


@fault("commits hang (synchronous replication without a standby)", "database", subject="database")
def slow_commits(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    if environment.ask("ALTER SYSTEM SET synchronous_standby_names = 'nobody'") is None:
        raise NotNow
    try:
        for _ in range(4):
            environment.ask("SELECT pg_reload_conf()")
            yield environment.dice.choice([0.5, 2.0, 3.0])
            environment.ask("ALTER SYSTEM SET synchronous_standby_names = ''")
            environment.ask("SELECT pg_reload_conf()")
            yield 0.5
            environment.ask("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    finally:
        environment.ask_patiently("ALTER SYSTEM SET synchronous_standby_names = ''")
        environment.ask_patiently("SELECT pg_reload_conf()")


@fault("tables locked by somebody's migration", "database", subject="database", weight=0.7)
def lock_tables(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    try:
        connection = journal.connect(environment.postgres.url)
    except psycopg2.OperationalError as error:
        raise NotNow from error
    try:
        connection.autocommit = False
        cursor = connection.cursor()
        cursor.execute("SET lock_timeout = '3s'")
        table = environment.dice.choice(["saga_instance", "saga_step", "saga_worker"])
        strike.detail = table
        cursor.execute(f"LOCK TABLE sagas.{table} IN ACCESS EXCLUSIVE MODE")
        # Whoever asks now waits until we let go.
        environment.database_is_silent = True
        yield environment.dice.choice([2.0, 6.0])
    except psycopg2.Error as error:
        raise NotNow from error
    finally:
        environment.database_is_silent = False
        connection.close()


@fault("standby promoted", "failover", subject="database", weight=0.3)
def fail_over(environment: FaultEnvironment, strike: "Strike", recoveries: "Recoveries") -> Course:
    former = environment.postgres
    standby = Standby(former)
    standby.start()
    try:
        follow_synchronously(former)
        yield 5.0
        former.kill()
        environment.hang_up()
        yield environment.dice.choice([0.2, 3.0])
        standby.promote()
    except BaseException:
        # What has been promised by then is on the standby as well, but it is the former one that goes on.
        former.start()
        environment.ask_patiently("ALTER SYSTEM SET synchronous_standby_names = ''")
        environment.ask_patiently("SELECT pg_reload_conf()")
        standby.stop()
        raise
    environment.postgres = standby
    environment.hang_up()
    former.stop()


@contextmanager
def suspended(pid: int | None) -> Iterator[None]:
    """No process of a server runs; connections stay open and do not answer."""
    if pid is None:
        raise NotNow
    parent = psutil.Process(pid)
    parent.suspend()
    stopped = [parent, *parent.children(recursive=True)]
    for process in stopped[1:]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()
    try:
        yield
    finally:
        for process in reversed(stopped):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
