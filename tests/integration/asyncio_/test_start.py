"""Starting in an async session: its commit is the start's, its rollback too, whichever driver it is on."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session

from sagas import InstanceNotFound, SagaStatus, SchemaMissing, StartRefused
from sagas.contrib.asyncio import AsyncSagaHandle, start
from sagas.engine import current_app
from tests.conftest import Shop
from tests.integration.asyncio_.conftest import AsyncCaller, on_driver, order
from tests.support import scripted
from tests.support.application import make
from tests.support.caller import announced_starts, caller_in
from tests.support.workers import eventually


def test_the_order_and_its_saga_commit_together_and_the_chain_is_sent_once(caller: AsyncCaller) -> None:
    async def view(engine: AsyncEngine) -> AsyncSagaHandle:
        async with AsyncSession(engine) as session:
            await order(session)
            run = await caller.start(session)
            assert (caller.sync.messages(), caller.sync.instances()) == (0, 0)
            await session.commit()
            assert await run.status() is SagaStatus.PENDING
            # The next commit sends nothing.
            await order(session)
            await session.commit()
        return run

    run = caller.run(view)

    assert (caller.sync.messages(), caller.sync.instances(), caller.sync.orders()) == (1, 1, 2)
    assert run.sync == caller.sync.shop.sagas.get(run.id)


def test_a_rollback_and_an_exception_in_the_view_start_and_send_nothing(caller: AsyncCaller) -> None:
    runs: list[AsyncSagaHandle] = []

    async def changes_its_mind(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as session:
            await order(session)
            runs.append(await caller.start(session))
            await session.rollback()
            # The session goes on, with something else
            await order(session)
            await session.commit()

    async def breaks(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as session, session.begin():
            await order(session)
            runs.append(await caller.start(session))
            raise ZeroDivisionError

    caller.run(changes_its_mind)
    with pytest.raises(ZeroDivisionError):
        caller.run(breaks)

    for run in runs:
        with pytest.raises(InstanceNotFound):
            _ = run.sync.status

    assert (caller.sync.messages(), caller.sync.instances(), caller.sync.orders()) == (0, 0, 1)


def test_a_session_that_is_never_committed_starts_nothing_and_says_so(
    caller: AsyncCaller, caplog: pytest.LogCaptureFixture
) -> None:
    started = announced_starts()

    async def view(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as session:
            await caller.start(session)
            await session.close()
            # It is used again, for something else
            await order(session)
            await session.commit()

    caller.run(view)

    assert started == []
    assert (caller.sync.messages(), caller.sync.instances(), caller.sync.orders()) == (0, 0, 1)
    assert "closed without a commit: nothing was started" in caplog.text


def test_m11_savepoints_send_only_what_was_kept_and_only_after_the_outer_commit(caller: AsyncCaller) -> None:
    started = announced_starts()

    async def view(engine: AsyncEngine) -> list[AsyncSagaHandle]:
        async with AsyncSession(engine) as session:
            async with session.begin_nested():
                kept = await caller.start(session)
                async with session.begin_nested():
                    await order(session)
            savepoint = await session.begin_nested()
            await caller.start(session)
            async with session.begin_nested():
                await caller.start(session)
            await savepoint.rollback()
            after = await caller.start(session)
            assert caller.sync.messages() == 0
            await session.commit()
        return [kept, after]

    kept = caller.run(view)

    assert sorted(started) == sorted(run.id for run in kept)
    assert (caller.sync.messages(), caller.sync.instances(), caller.sync.orders()) == (2, 2, 1)


def test_every_argument_gets_through_either_driver(caller: AsyncCaller) -> None:
    moment = datetime.now(UTC) + timedelta(hours=1)

    async def view(engine: AsyncEngine) -> list[tuple[object, ...]]:
        async with AsyncSession(engine) as session:
            for number, deadline in enumerate([None, 90, 2.5, timedelta(minutes=2), moment]):
                await caller.start(session, key=f"{number} ü 'quoted'", deadline=deadline)
            await session.commit()
            rows = await session.execute(
                text("SELECT key, deadline, deadline_seconds FROM sagas.saga_instance ORDER BY key")
            )
            return [tuple(row) for row in rows]

    keys = [f"{number} ü 'quoted'" for number in range(5)]
    times = [(None, None), (None, 90.0), (None, 2.5), (None, 120.0), (moment, None)]
    assert caller.run(view) == [(key, *time) for key, time in zip(keys, times, strict=True)]


@pytest.mark.parametrize("caller", ["asyncpg"], indirect=True)
def test_an_application_whose_connections_encode_jsonb_themselves_disturbs_nothing(caller: AsyncCaller) -> None:
    async def view(engine: AsyncEngine) -> AsyncSagaHandle:
        @event.listens_for(engine.sync_engine, "connect")
        def decode_json(connection: object, _: object) -> None:
            connection.run_async(  # type: ignore[attr-defined]
                lambda driver: driver.set_type_codec(
                    "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
                )
            )

        async with AsyncSession(engine) as session:
            run = await caller.start(session)
            await session.commit()
        return run

    assert caller.run(view).sync.data == {"script": {}}


def test_without_a_session_it_is_committed_and_sent_at_once(caller: AsyncCaller) -> None:
    async def view(engine: AsyncEngine) -> AsyncSagaHandle:
        run = await caller.start(key="k")
        assert caller.sync.messages() == 1
        assert await caller.start(key="k") == run
        return run

    assert caller.run(view).sync.status is SagaStatus.PENDING
    assert (caller.sync.messages(), caller.sync.instances()) == (1, 1)


def test_a_scoped_session_and_an_async_connection_are_joined_as_well(caller: AsyncCaller) -> None:
    async def view(engine: AsyncEngine) -> None:
        sessions = async_scoped_session(async_sessionmaker(engine), scopefunc=lambda: "request")
        await start(scripted.three, {"script": {}}, session=sessions, sagas=caller.sync.shop.sagas)
        await sessions.commit()
        await sessions.remove()
        async with engine.begin() as connection:
            await order(connection)
            await connection.run_sync(lambda joined: caller.sync.start(connection=joined))
            assert caller.sync.instances() == 1

    caller.run(view)

    assert (caller.sync.instances(), caller.sync.orders()) == (2, 1)
    eventually(lambda: caller.sync.messages() == 2, "both messages")


@pytest.mark.parametrize("caller", ["psycopg"], indirect=True)
def test_the_current_app_of_the_loops_thread_decides_where_there_are_several(caller: AsyncCaller) -> None:
    other = make(caller.sync.shop.broker_url, caller.sync.shop.database_url)

    async def view(engine: AsyncEngine) -> AsyncSagaHandle:
        with current_app(caller.sync.shop.sagas.app):
            return await caller.start(sagas=None)

    assert caller.run(view).sync.status is SagaStatus.PENDING
    other.engine.store.database.dispose()


@pytest.mark.parametrize("caller", ["psycopg"], indirect=True)
def test_a_session_of_the_other_kind_is_refused_with_the_cure(caller: AsyncCaller) -> None:
    async def view(engine: AsyncEngine) -> None:
        blocking: Any = Session(caller.sync.engine)
        with pytest.raises(StartRefused, match=r"is not an AsyncSession; with a Session, call saga\.start"):
            await caller.start(blocking)
        async with AsyncSession(engine) as session:
            with pytest.raises(StartRefused, match=r"is not a SQLAlchemy Session.* sagas\.contrib\.asyncio"):
                caller.sync.start(session=session)

    caller.run(view)

    assert caller.sync.instances() == 0


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_missing_tables_say_how_to_make_them(shop: Shop, driver: str) -> None:
    async def view(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as session:
            await caller.start(session)
            await session.rollback()
            await session.execute(text("DROP SCHEMA sagas CASCADE"))
            await session.commit()
            with pytest.raises(SchemaMissing, match="sagas migrate"):
                await caller.start(session)
            # Then: the session is unharmed
            await order(session)
            await session.commit()

    with caller_in(shop) as sync_caller:
        caller = on_driver(sync_caller, driver)
        caller.run(view)
        assert sync_caller.orders() == 1
