"""Nothing of the library holds up the event loop: whatever blocks does so in a thread."""

import asyncio
import logging
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sagas import SagaStatus
from sagas.contrib.asyncio import AsyncSagaHandle
from tests.integration.asyncio_.conftest import AsyncCaller, order
from tests.support.application import make


@pytest.fixture
def silence() -> Iterator[str]:
    """A broker that takes every connection and never answers."""
    directory = Path(tempfile.mkdtemp(prefix="s-", dir="/tmp"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "b.sock"))
        listener.listen(50)
        yield f"redis+socket://{directory}/b.sock"
    shutil.rmtree(directory)


class Said(logging.Handler):
    """Waits for a log record."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words
        self.at: float | None = None
        self.heard = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self._words in record.getMessage() and self.at is None:
            self.at = time.monotonic()
            self.heard.set()


@pytest.fixture
def given_up() -> Iterator[Said]:
    said = Said("not sent, the sweep will send it")
    logging.getLogger("sagas").addHandler(said)
    yield said
    logging.getLogger("sagas").removeHandler(said)


async def beat(beats: list[float]) -> None:
    while True:
        beats.append(time.monotonic())
        await asyncio.sleep(0.01)


def test_a_broker_that_never_answers_holds_up_neither_the_commit_nor_the_loop(
    caller: AsyncCaller, silence: str, given_up: Said
) -> None:
    sagas = make(silence, caller.sync.shop.database_url)
    beats: list[float] = []

    async def view(engine: AsyncEngine) -> tuple[AsyncSagaHandle, float]:
        beating = asyncio.create_task(beat(beats))
        async with AsyncSession(engine) as session:
            await order(session)
            run = await caller.start(session, sagas=sagas)
            await session.commit()
            committed_at = time.monotonic()
        assert await asyncio.to_thread(given_up.heard.wait, 20)
        beating.cancel()
        return run, committed_at

    run, committed_at = caller.run(view)

    # Then: the commit returned while the message was still being sent, and the loop went on
    assert given_up.at is not None
    assert committed_at < given_up.at
    assert len([at for at in beats if committed_at < at < given_up.at]) >= 5
    assert (run.sync.status, caller.sync.orders()) == (SagaStatus.PENDING, 1)
    sagas.engine.store.database.dispose()


@pytest.mark.parametrize("own", [True, False], ids=["without a session", "in a session"])
def test_the_first_start_of_a_process_asks_for_its_plan_aside(caller: AsyncCaller, own: bool) -> None:
    """Whoever holds up that statement holds up this start alone."""
    sagas = make(caller.sync.shop.broker_url, caller.sync.shop.database_url)
    locking = create_engine(caller.sync.shop.database_url)

    async def view(engine: AsyncEngine) -> AsyncSagaHandle:
        async with AsyncSession(engine) as session, AsyncSession(engine) as watching:
            starting = asyncio.create_task(caller.start(None if own else session, sagas=sagas))
            # The loop goes on, as it must to see this.
            waits = text(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'sagas.saga_definition'::regclass"
            )
            gives_up_at = time.monotonic() + 10
            while not await watching.scalar(waits):
                assert not starting.done(), "it did not wait, or everything waited for it"
                assert time.monotonic() < gives_up_at
            holder.rollback()
            run = await starting
            await session.commit()
        return run

    with locking.connect() as holder:
        # Were the loop held up, this would end it.
        holder.execute(text("SET idle_in_transaction_session_timeout = '5s'"))
        holder.execute(text("LOCK TABLE sagas.saga_definition"))
        run = caller.run(view)
    locking.dispose()
    sagas.engine.store.database.dispose()

    assert run.sync.status is SagaStatus.PENDING


def test_a_key_that_only_another_connection_sees_is_looked_up_aside(
    caller: AsyncCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    instances = caller.sync.shop.sagas.engine.store.instances
    find: Callable[..., Any] = instances.find
    asked, answer = threading.Event(), threading.Event()

    def find_later(*arguments: Any) -> Any:
        asked.set()
        assert answer.wait(10), "the loop was held up"
        return find(*arguments)

    async def view(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as session:
            await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            await order(session)  # the snapshot is taken
            other = await caller.start(key="k")
            monkeypatch.setattr(instances, "find", find_later)
            starting = asyncio.create_task(caller.start(session, key="k"))
            while not asked.is_set():
                await asyncio.sleep(0.01)
            answer.set()
            assert await starting == other
            await session.rollback()

    caller.run(view)


@pytest.mark.parametrize("caller", ["psycopg"], indirect=True)
def test_many_who_wait_and_watch_hold_no_threads(caller: AsyncCaller) -> None:
    """More than the loop has threads: one that held its thread would leave none for the others."""

    async def view(engine: AsyncEngine) -> None:
        run = await caller.start()

        async def watch() -> list[str]:
            return [progress["status"] async for progress in run.watch(every=0.05)]

        waiting = [asyncio.create_task(run.wait(60)) for _ in range(40)]
        watching = [asyncio.create_task(watch()) for _ in range(10)]
        await asyncio.sleep(0)  # they all look for the first time
        async with asyncio.timeout(20):
            await run.cancel("nobody works here")
            assert await asyncio.gather(*waiting) == [SagaStatus.COMPENSATED] * 40
            assert {seen[-1] for seen in await asyncio.gather(*watching)} == {"compensated"}

    caller.run(view)


@pytest.mark.parametrize("caller", ["psycopg"], indirect=True)
def test_a_message_that_is_due_when_the_loop_is_closing_is_sent_all_the_same(caller: AsyncCaller) -> None:
    async def view(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as session:
            await caller.start(session)
            # As at the very end of asyncio.run()
            await asyncio.get_running_loop().shutdown_default_executor()
            await session.commit()

    caller.run(view)

    assert caller.sync.messages() == 1
