"""H6 in async sessions: keys in other people's transactions. Nobody waits long, and no transaction is harmed."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sagas import StartInProgress
from sagas.contrib.asyncio import AsyncSagaHandle
from tests.integration.asyncio_.conftest import AsyncCaller, order
from tests.support.bench import Bench


async def until_somebody_waits(caller: AsyncCaller) -> None:
    rows = Bench(caller.sync.shop.database_url, caller.sync.shop.sagas.engine.store)
    try:
        await asyncio.to_thread(rows.wait_for_lock_waiters, 1)
    finally:
        for connection in rows._opened:
            connection.close()


def test_an_existing_key_gives_its_instance_and_sends_nothing(caller: AsyncCaller) -> None:
    async def view(engine: AsyncEngine) -> None:
        first = await caller.start(key="k")
        async with AsyncSession(engine) as session:
            await order(session)
            again = await caller.start(session, key="k")
            own = await caller.start(session, key="own")
            assert await caller.start(session, key="own") == own
            await session.commit()
        assert (again, type(again.id)) == (first, type(first.id))

    caller.run(view)

    assert (caller.sync.messages(), caller.sync.instances(), caller.sync.orders()) == (2, 2, 1)


def test_h6_a_key_that_another_open_session_holds_is_refused_after_a_while_and_harms_nothing(
    caller: AsyncCaller,
) -> None:
    async def ask(engine: AsyncEngine, isolation: str) -> None:
        async with AsyncSession(engine) as session:
            await session.connection(execution_options={"isolation_level": isolation})
            await order(session)

            with pytest.raises(StartInProgress, match="key 'k' is being started in another open transaction"):
                await caller.start(session, key="k")

            # Then: the caller's transaction is as it was
            assert await session.scalar(text("SHOW lock_timeout")) == "0"
            await order(session)
            await session.commit()

    async def view(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as holder:
            await caller.start(holder, key="k")
            await asyncio.gather(
                *(ask(engine, level) for level in ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"))
            )
            await holder.commit()

    caller.run(view)

    assert (caller.sync.messages(), caller.sync.instances(), caller.sync.orders()) == (1, 1, 6)


def test_h6_of_two_sessions_with_one_key_the_second_gets_the_firsts_instance(caller: AsyncCaller) -> None:
    async def place(session: AsyncSession) -> AsyncSagaHandle:
        run = await caller.start(session, key="k")
        await session.commit()
        return run

    async def view(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as one, AsyncSession(engine) as two:
            first = await caller.start(one, key="k")
            second = asyncio.create_task(place(two))
            await until_somebody_waits(caller)
            await one.commit()
            assert await second == first

    caller.run(view)

    assert (caller.sync.messages(), caller.sync.instances()) == (1, 1)


def test_h6_a_repeatable_read_session_gets_the_instance_committed_after_its_snapshot(caller: AsyncCaller) -> None:
    async def view(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as session:
            await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            await order(session)  # the snapshot is taken
            other = await caller.start(key="k")
            assert await caller.start(session, key="k") == other
            await order(session)
            await session.commit()

    caller.run(view)

    assert (caller.sync.messages(), caller.sync.orders()) == (1, 2)


@pytest.mark.parametrize("caller", ["asyncpg"], indirect=True)
def test_h6_two_keys_crosswise_cost_no_transaction(caller: AsyncCaller) -> None:
    async def view(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as one, AsyncSession(engine) as two:
            for session, key in ((one, "1"), (two, "2")):
                await order(session)
                await caller.start(session, key=key)
            crossing = await asyncio.gather(
                caller.start(one, key="2"), caller.start(two, key="1"), return_exceptions=True
            )
            refused = [error for error in crossing if isinstance(error, StartInProgress)]
            assert refused
            assert all(isinstance(answer, StartInProgress | AsyncSagaHandle) for answer in crossing)
            await one.commit()
            await two.commit()

    caller.run(view)

    assert (caller.sync.instances(), caller.sync.orders()) == (2, 2)
