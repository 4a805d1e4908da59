"""What is done to a saga from outside of workers, each time in a process of its own, which may die of it.

Forked from a server that has imported everything (see `forked`), so that one costs a few hundredths of a second.
"""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch
from uuid import UUID

from sqlalchemy import Connection, create_engine, text

from sagas import DeadLetter, Saga, Sagas
from sagas.engine.after_commit import until_sent
from tests.faults.boundaries import crash_hooks
from tests.support import scripted, shapes
from tests.support.choreographed import Noted, Ordered, ring
from tests.support.forked import processes

#: How long any of these may take, in seconds.
PATIENCE = 60.0


@dataclass(frozen=True, kw_only=True)
class Errand:
    """One thing to be done. ``what`` names a function in `ERRANDS`."""

    what: str
    saga: str
    saga_id: UUID
    data: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    servers: Mapping[str, str] = field(default_factory=dict)


def run(errand: Errand) -> bool:
    """Returns whether it was done; False: its process was killed over it."""
    process = processes.Process(target=work, args=(errand,), daemon=True)
    process.start()
    process.join(PATIENCE)
    assert process.exitcode in (0, -signal.SIGKILL), f"{errand.what} ended with {process.exitcode}"
    return process.exitcode == 0


def work(errand: Errand) -> None:
    """In its process."""
    os.environ.update(errand.servers)
    from tests.support import application  # it reads the environment

    sagas = application.make(errand.servers["SAGAS_BROKER_URL"], errand.servers["SAGAS_DATABASE_URL"])
    crash_hooks.install(SITES.get(errand.what, "operator"))
    crash_hooks.saga.set(errand.saga_id)
    with patch("sagas.engine.core.uuid7", lambda: errand.saga_id):
        ERRANDS[errand.what](sagas, errand)
    until_sent()


def start(sagas: Sagas, errand: Errand) -> None:
    sagas.start(saga_named(errand.saga), errand.data, **errand.options)


@contextmanager
def in_own_transaction(errand: Errand) -> Iterator[Connection]:
    with create_engine(errand.servers["SAGAS_DATABASE_URL"]).connect() as connection, connection.begin():
        connection.execute(
            text("INSERT INTO public.ledger (saga_id, entry) VALUES (:id, 'order')"), {"id": errand.saga_id}
        )
        yield connection


def start_in_transaction(sagas: Sagas, errand: Errand) -> None:
    """With an order of the application's own, which has to live or die with it."""
    with in_own_transaction(errand) as connection:
        sagas.start(saga_named(errand.saga), errand.data, connection=connection, **errand.options)


def do(sagas: Sagas, errand: Errand) -> None:
    """Whatever a handle can."""
    getattr(sagas.get(errand.saga_id), errand.what)(**errand.options)


def start_run(sagas: Sagas, errand: Errand) -> None:
    ring.start_on(sagas.engine, Ordered(**errand.data), **errand.options)


def start_run_in_transaction(sagas: Sagas, errand: Errand) -> None:
    with in_own_transaction(errand) as connection:
        ring.start_on(sagas.engine, Ordered(**errand.data), connection=connection, **errand.options)


def publish(sagas: Sagas, errand: Errand) -> None:
    ring.publish_on(sagas.engine, Noted(script={}, number=1), run=errand.saga_id, **errand.options)


def publish_in_transaction(sagas: Sagas, errand: Errand) -> None:
    with in_own_transaction(errand) as connection:
        ring.publish_on(
            sagas.engine, Noted(script={}, number=1), run=errand.saga_id, connection=connection, **errand.options
        )


def replay(sagas: Sagas, errand: Errand) -> None:
    sagas.dead_letters.replay(letters_of(sagas, errand), **errand.options)


def edit(sagas: Sagas, errand: Errand) -> None:
    (letter,) = letters_of(sagas, errand)
    sagas.dead_letters.edit(letter, **errand.options)


def let_go(sagas: Sagas, errand: Errand) -> None:
    sagas.dead_letters.skip(letters_of(sagas, errand), **errand.options)


def letters_of(sagas: Sagas, errand: Errand) -> list[DeadLetter]:
    return [letter for letter in sagas.dead_letters.list(limit=1000) if letter.run == errand.saga_id]


ERRANDS: dict[str, Callable[[Sagas, Errand], None]] = {
    "start": start,
    "start_in_transaction": start_in_transaction,
    "cancel": do,
    "retry": do,
    "signal": do,
    "skip": do,
    "resolve": do,
    "start_run": start_run,
    "start_run_in_transaction": start_run_in_transaction,
    "publish": publish,
    "publish_in_transaction": publish_in_transaction,
    "replay": replay,
    "edit": edit,
    "let_go": let_go,
}
STARTS = ("start", "start_in_transaction", "start_run", "start_run_in_transaction")
PUBLISHES = ("publish", "publish_in_transaction")
SITES = dict.fromkeys(STARTS, "start") | dict.fromkeys(PUBLISHES, "publisher")


def saga_named(name: str) -> Saga:
    sagas = [it for module in (scripted, shapes) for it in vars(module).values() if isinstance(it, Saga)]
    return next(saga for saga in sagas if saga.name == name)
