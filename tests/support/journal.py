"""Every effect of a test's steps, one row each, committed at once."""

import os
from typing import Any
from uuid import UUID

import psycopg2
from sqlalchemy import make_url

from sagas import current_step

CREATE = """
CREATE TABLE IF NOT EXISTS public.journal (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    saga_id uuid NOT NULL, what text NOT NULL, key text NOT NULL, action_key text NOT NULL,
    attempt integer NOT NULL, pid integer NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- See `gates`.
CREATE TABLE IF NOT EXISTS public.gate (
    saga_id uuid NOT NULL, name text NOT NULL, reached integer NOT NULL DEFAULT 0, open boolean NOT NULL DEFAULT false,
    PRIMARY KEY (saga_id, name)
);
-- Written by steps through `current_step.connection`.
CREATE TABLE IF NOT EXISTS public.ledger (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, saga_id uuid NOT NULL, entry text NOT NULL
);
"""


def connect(url: str | None = None) -> Any:
    """Open a separate driver connection, in autocommit: it is not part of the library under test."""
    parsed = make_url(url or os.environ["SAGAS_DATABASE_URL"])
    query = {name: value for name, value in parsed.query.items() if isinstance(value, str)}
    arguments: dict[str, Any] = {"user": parsed.username, "password": parsed.password, "dbname": parsed.database}
    if parsed.host:
        arguments |= {"host": parsed.host, "port": parsed.port}
    connection = psycopg2.connect(**{name: value for name, value in (arguments | query).items() if value is not None})
    connection.autocommit = True
    return connection


def create(url: str) -> None:
    connection = connect(url)
    try:
        connection.cursor().execute(CREATE)
    finally:
        connection.close()


def write(what: str) -> None:
    """Record the effect of a running step."""
    connection = connect()
    try:
        connection.cursor().execute(
            "INSERT INTO public.journal (saga_id, what, key, action_key, attempt, pid) VALUES (%s, %s, %s, %s, %s, %s)",
            (
                str(current_step.saga_id),
                what,
                current_step.idempotency_key,
                current_step.action_key,
                current_step.attempt,
                os.getpid(),
            ),
        )
    finally:
        connection.close()


def effects(url: str, saga_id: UUID) -> list[str]:
    """Return the effects, in order."""
    return [what for what, _ in entries(url, saga_id)]


def entries(url: str, saga_id: UUID) -> list[tuple[str, str]]:
    """Return the effects and their idempotency keys, in order."""
    rows = query(url, "SELECT what, key FROM public.journal WHERE saga_id = %s ORDER BY id", str(saga_id))
    return [(what, key) for what, key in rows]


def action_keys(url: str, saga_id: UUID) -> list[str]:
    """Return the key of the action that each effect belongs to."""
    rows = query(url, "SELECT action_key FROM public.journal WHERE saga_id = %s ORDER BY id", str(saga_id))
    return [key for (key,) in rows]


def ledger(url: str, saga_id: UUID) -> list[str]:
    """Return what steps wrote through `current_step.connection` and committed."""
    rows = query(url, "SELECT entry FROM public.ledger WHERE saga_id = %s ORDER BY id", str(saga_id))
    return [entry for (entry,) in rows]


def events(url: str, saga_id: UUID, event: str) -> int:
    """Return how often the library noted an event in an instance's history."""
    counted = "SELECT count(*) FROM sagas.saga_event WHERE instance_id = %s AND event = %s"
    return int(query(url, counted, str(saga_id), event)[0][0])


def query(url: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Query or change the database past the library."""
    return run(url, statement, parameters)


def run(url: str, statement: str, parameters: tuple[Any, ...] | None) -> list[tuple[Any, ...]]:
    """Run a statement on a connection that is kept for the next one; without parameters ``%`` is not a placeholder."""
    kept = _kept(url)
    try:
        return _fetched(kept, statement, parameters)
    except psycopg2.Error as error:
        if error.pgcode is not None and not kept.closed:
            raise
        _forget(url)  # the server was restarted, or has ended its connections
        return _fetched(_kept(url), statement, parameters)


#: Connections of this process by the database's URL: opening one costs more than most queries.
_connections: dict[tuple[int, str], Any] = {}
MOST_KEPT = 4


def _kept(url: str) -> Any:
    own = (os.getpid(), url)
    if own not in _connections:
        while len(_connections) >= MOST_KEPT:
            _connections.pop(next(iter(_connections))).close()
        _connections[own] = connect(url)
    return _connections[own]


def _forget(url: str) -> None:
    connection = _connections.pop((os.getpid(), url), None)
    if connection is not None:
        connection.close()


def _fetched(connection: Any, statement: str, parameters: tuple[Any, ...] | None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall()) if cursor.description else []
