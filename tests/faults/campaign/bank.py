"""The bank: accounts, an append-only ledger with one row for each effect, and one for each undo.

An effect takes an amount out of `source`, puts one into `target`, or both. What one saga has taken and not yet put
anywhere is in transit; so at every moment the balances and what is in transit make up what there was in the beginning.

Effects come by two ways. Through the *barrier* (see `tasks.services.barrier`): the same key again does nothing, and an
action whose undo has been here is refused. Or through `current_step.connection`, where the library promises that the
effect and the step's completion are one: there nothing absorbs a repetition, it would break a unique key.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from uuid import UUID

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import InterfaceError, OperationalError

from sagas import PermanentError, current_step

RICH, POOR = range(1, 201), range(201, 221)
OPENING_OF_THE_RICH, OPENING_OF_THE_POOR = 1_000_000, 10

SCHEMA = """
CREATE SCHEMA bank;
CREATE TABLE bank.account (
    id integer PRIMARY KEY, opening bigint NOT NULL,
    balance bigint NOT NULL, CONSTRAINT no_balance_below_zero CHECK (balance >= 0)
) WITH (fillfactor = 50);
-- The barrier.
CREATE TABLE bank.door (key text PRIMARY KEY, closed_at timestamptz) WITH (fillfactor = 70);
CREATE TABLE bank.effect (
    key text CONSTRAINT one_row_an_effect PRIMARY KEY, saga_id uuid NOT NULL, step text NOT NULL,
    source integer, target integer, amount bigint NOT NULL CHECK (amount > 0),
    through_step boolean NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX effect_saga ON bank.effect (saga_id);
CREATE TABLE bank.undo (
    key text CONSTRAINT one_row_an_undo PRIMARY KEY, action_key text NOT NULL, saga_id uuid NOT NULL,
    step text NOT NULL, undid boolean NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX undo_action ON bank.undo (action_key);
-- When the body of an action began, each time.
CREATE TABLE bank.begun (key text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE INDEX begun_key ON bank.begun (key);
-- Starts inside a transaction of the starter's own: this row and the instance, or neither.
CREATE TABLE bank.intent (key text PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp());
-- All that may be started; and the starts that returned, from the starter's file.
CREATE TABLE bank.planned_saga (key text PRIMARY KEY, joined boolean NOT NULL);
CREATE TABLE bank.returned (key text NOT NULL, saga_id uuid);
-- What was published into choreographed runs: all that may be, in transactions of their own or not, and what returned.
CREATE TABLE bank.noted (run text NOT NULL, key text NOT NULL, PRIMARY KEY (run, key));
CREATE TABLE bank.published (run text NOT NULL, key text NOT NULL, joined boolean NOT NULL);
-- What the campaign spoilt by hand; and whose undo has been made possible again.
CREATE TABLE bank.excluded (saga_id uuid PRIMARY KEY, why text NOT NULL);
CREATE TABLE bank.repaired (saga_id uuid PRIMARY KEY);

CREATE FUNCTION bank.is_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON bank.effect EXECUTE FUNCTION bank.is_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON bank.undo EXECUTE FUNCTION bank.is_append_only();
"""


class Refused(PermanentError):
    """A clean no."""


class DoorClosed(Refused):
    """The action arrived after its own undo."""


@dataclass(frozen=True, slots=True)
class Move:
    """What an action does: takes from, puts into, or both; neither for a mere note."""

    source: int | None
    target: int | None
    amount: int


@cache
def _engine_of(pid: int, url: str) -> Engine:
    # A connection must not cross a fork, and the parent's stays in the cache on purpose (see tasks.services.database).
    # Whoever waits for the lock of a frozen process shall not wait for ever.
    arguments = {"connect_timeout": 5, "options": "-c lock_timeout=4000 -c statement_timeout=20000"}
    return create_engine(url, pool_pre_ping=True, pool_size=8, isolation_level="READ COMMITTED", connect_args=arguments)


def engine() -> Engine:
    """The engine of this process, on the database that its environment names."""
    return _engine_of(os.getpid(), os.environ["SAGAS_DATABASE_URL"])


@contextmanager
def transaction() -> Iterator[Connection]:
    """The bank's own short transaction.

    Raises:
        ConnectionError: the outcome is unknown; ask again with the same key.
    """
    try:
        with engine().begin() as connection:
            yield connection
    except (OperationalError, InterfaceError) as error:
        raise ConnectionError(f"the bank did not answer: {error.orig}") from error


def open_for_business(connection: Connection) -> None:
    """Make the tables and the accounts."""
    connection.exec_driver_sql(SCHEMA)
    for accounts, opening in ((RICH, OPENING_OF_THE_RICH), (POOR, OPENING_OF_THE_POOR)):
        connection.execute(
            text("INSERT INTO bank.account SELECT id, :opening, :opening FROM generate_series(:first, :last) AS id"),
            {"opening": opening, "first": accounts[0], "last": accounts[-1]},
        )


def note_beginning(key: str) -> None:
    """The body of an action begins. Not synced: evidence, not truth."""
    with transaction() as connection:
        connection.execute(
            text(
                "WITH unsynced AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)) "
                "INSERT INTO bank.begun (key) SELECT :key FROM unsynced"
            ),
            {"key": key},
        )


def act(move: Move) -> None:
    """An action through the barrier, under the running step's idempotency key."""
    with transaction() as connection:
        if _enter(connection, current_step.idempotency_key):
            _book(connection, move, through_step=False)


def act_in_step(move: Move) -> None:
    """An action through the step's own transaction, which takes care that it happens once."""
    connection = current_step.connection
    connection.execute(text("SET LOCAL lock_timeout = '4s'"))
    _book(connection, move, through_step=True)


def undo() -> bool:
    """Undo the running compensation's action through the barrier; whether there was something to undo."""
    with transaction() as connection:
        return undo_on(connection, current_step.action_key)


def undo_in_step() -> bool:
    """The same in the compensation's own transaction."""
    connection = current_step.connection
    connection.execute(text("SET LOCAL lock_timeout = '4s'"))
    return undo_on(connection, current_step.action_key)


def undo_on(
    connection: Connection, action_key: str, saga_id: UUID | None = None, step: str = "", key: str = ""
) -> bool:
    """Close the door behind an action, and reverse what it did, if it did and nobody has reversed it yet.

    Args:
        saga_id, step, key: of whoever does it by hand, and not in an undo.
    """
    if saga_id is None:
        saga_id, step, key = current_step.saga_id, current_step.name, current_step.idempotency_key
    # Waits for an action or another undo under way, so what is read next is final.
    connection.execute(
        text(
            "INSERT INTO bank.door AS door (key, closed_at) VALUES (:key, clock_timestamp()) "
            "ON CONFLICT (key) DO UPDATE SET closed_at = coalesce(door.closed_at, excluded.closed_at)"
        ),
        {"key": action_key},
    )
    effect = connection.execute(
        text(
            "SELECT source, target, amount FROM bank.effect WHERE key = :action_key AND NOT EXISTS "
            "(SELECT FROM bank.undo WHERE action_key = :action_key AND undid)"
        ),
        {"action_key": action_key},
    ).one_or_none()
    if connection.scalar(text("SELECT 1 FROM bank.undo WHERE key = :key"), {"key": key}):
        return False
    if effect is not None:
        _pay(connection, Move(effect.target, effect.source, effect.amount))
    connection.execute(
        text(
            "INSERT INTO bank.undo (key, action_key, saga_id, step, undid) "
            "VALUES (:key, :action_key, :saga_id, :step, :undid)"
        ),
        {"key": key, "action_key": action_key, "saga_id": saga_id, "step": step, "undid": effect is not None},
    )
    return effect is not None


def is_repaired(saga_id: UUID) -> bool:
    """Whether what made the undo of this saga impossible has been mended."""
    with transaction() as connection:
        return bool(connection.scalar(text("SELECT count(*) FROM bank.repaired WHERE saga_id = :id"), {"id": saga_id}))


def _enter(connection: Connection, key: str) -> bool:
    taken = connection.execute(
        text("INSERT INTO bank.door (key) VALUES (:key) ON CONFLICT (key) DO NOTHING"), {"key": key}
    )
    if taken.rowcount:
        return True
    if connection.scalar(text("SELECT closed_at FROM bank.door WHERE key = :key"), {"key": key}) is not None:
        raise DoorClosed(f"{key} was undone; what it asked for must not happen now")
    return False


def _book(connection: Connection, move: Move, *, through_step: bool) -> None:
    _pay(connection, move)
    connection.execute(
        text(
            "INSERT INTO bank.effect (key, saga_id, step, source, target, amount, through_step) "
            "VALUES (:key, :saga_id, :step, :source, :target, :amount, :through_step)"
        ),
        {
            "key": current_step.idempotency_key,
            "saga_id": current_step.saga_id,
            "step": current_step.name,
            "source": move.source,
            "target": move.target,
            "amount": move.amount,
            "through_step": through_step,
        },
    )


def _pay(connection: Connection, move: Move) -> None:
    changes = [(move.source, -move.amount), (move.target, move.amount)]
    for account, change in sorted((account, change) for account, change in changes if account is not None):
        paid = connection.execute(
            text("UPDATE bank.account SET balance = balance + :change WHERE id = :id AND balance + :change >= 0"),
            {"id": account, "change": change},
        )
        if not paid.rowcount:
            raise Refused(f"account {account} does not have {-change}")
