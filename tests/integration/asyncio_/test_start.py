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
from tests.integration.asyncio_.conftest import AsyncOffice, on_driver, order
from tests.support import scripted
from tests.support.application import make
from tests.support.office import announced, opened
from tests.support.workers import eventually


def test_the_order_and_its_saga_commit_together_and_the_chain_is_sent_once(desk: AsyncOffice) -> None:
    async def view(engine: AsyncEngine) -> AsyncSagaHandle:
        async with AsyncSession(engine) as session:
            await order(session)
            run = await desk.start(session)
            assert (desk.office.messages(), desk.office.instances()) == (0, 0)
            await session.commit()
            assert await run.status() is SagaStatus.PENDING
            # The next commit sends nothing.
            await order(session)
            await session.commit()
        return run

    run = desk.run(view)

    assert (desk.office.messages(), desk.office.instances(), desk.office.orders()) == (1, 1, 2)
    assert run.sync == desk.office.shop.sagas.get(run.id)


def test_a_rollback_and_an_exception_in_the_view_start_and_send_nothing(desk: AsyncOffice) -> None:
    runs: list[AsyncSagaHandle] = []

    async def changes_its_mind(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as session:
            await order(session)
            runs.append(await desk.start(session))
            await session.rollback()
            # The session goes on, with something else
            await order(session)
            await session.commit()

    async def breaks(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as session, session.begin():
            await order(session)
            runs.append(await desk.start(session))
            raise ZeroDivisionError

    desk.run(changes_its_mind)
    with pytest.raises(ZeroDivisionError):
        desk.run(breaks)

    for run in runs:
        with pytest.raises(InstanceNotFound):
            _ = run.sync.status

    assert (desk.office.messages(), desk.office.instances(), desk.office.orders()) == (0, 0, 1)


def test_a_session_that_is_never_committed_starts_nothing_and_says_so(
    desk: AsyncOffice, caplog: pytest.LogCaptureFixture
) -> None:
    started = announced()

    async def view(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as session:
            await desk.start(session)
            await session.close()
            # It is used again, for something else
            await order(session)
            await session.commit()

    desk.run(view)

    assert started == []
    assert (desk.office.messages(), desk.office.instances(), desk.office.orders()) == (0, 0, 1)
    assert "closed without a commit: nothing was started" in caplog.text


def test_m11_savepoints_send_only_what_was_kept_and_only_after_the_outer_commit(desk: AsyncOffice) -> None:
    started = announced()

    async def view(engine: AsyncEngine) -> list[AsyncSagaHandle]:
        async with AsyncSession(engine) as session:
            async with session.begin_nested():
                kept = await desk.start(session)
                async with session.begin_nested():
                    await order(session)
            savepoint = await session.begin_nested()
            await desk.start(session)
            async with session.begin_nested():
                await desk.start(session)
            await savepoint.rollback()
            after = await desk.start(session)
            assert desk.office.messages() == 0
            await session.commit()
        return [kept, after]

    kept = desk.run(view)

    assert sorted(started) == sorted(run.id for run in kept)
    assert (desk.office.messages(), desk.office.instances(), desk.office.orders()) == (2, 2, 1)


def test_every_argument_gets_through_either_driver(desk: AsyncOffice) -> None:
    moment = datetime.now(UTC) + timedelta(hours=1)

    async def view(engine: AsyncEngine) -> list[tuple[object, ...]]:
        async with AsyncSession(engine) as session:
            for number, deadline in enumerate([None, 90, 2.5, timedelta(minutes=2), moment]):
                await desk.start(session, key=f"{number} ü 'quoted'", deadline=deadline)
            await session.commit()
            rows = await session.execute(
                text("SELECT key, deadline, deadline_seconds FROM sagas.saga_instance ORDER BY key")
            )
            return [tuple(row) for row in rows]

    keys = [f"{number} ü 'quoted'" for number in range(5)]
    times = [(None, None), (None, 90.0), (None, 2.5), (None, 120.0), (moment, None)]
    assert desk.run(view) == [(key, *time) for key, time in zip(keys, times, strict=True)]


@pytest.mark.parametrize("desk", ["asyncpg"], indirect=True)
def test_an_application_whose_connections_encode_jsonb_themselves_disturbs_nothing(desk: AsyncOffice) -> None:
    async def view(engine: AsyncEngine) -> AsyncSagaHandle:
        @event.listens_for(engine.sync_engine, "connect")
        def decode_json(connection: object, _: object) -> None:
            connection.run_async(  # type: ignore[attr-defined]
                lambda driver: driver.set_type_codec(
                    "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
                )
            )

        async with AsyncSession(engine) as session:
            run = await desk.start(session)
            await session.commit()
        return run

    assert desk.run(view).sync.data == {"script": {}}


def test_without_a_session_it_is_committed_and_sent_at_once(desk: AsyncOffice) -> None:
    async def view(engine: AsyncEngine) -> AsyncSagaHandle:
        run = await desk.start(key="k")
        assert desk.office.messages() == 1
        assert await desk.start(key="k") == run
        return run

    assert desk.run(view).sync.status is SagaStatus.PENDING
    assert (desk.office.messages(), desk.office.instances()) == (1, 1)


def test_a_scoped_session_and_an_async_connection_are_joined_as_well(desk: AsyncOffice) -> None:
    async def view(engine: AsyncEngine) -> None:
        sessions = async_scoped_session(async_sessionmaker(engine), scopefunc=lambda: "request")
        await start(scripted.three, {"script": {}}, session=sessions, sagas=desk.office.shop.sagas)
        await sessions.commit()
        await sessions.remove()
        async with engine.begin() as connection:
            await order(connection)
            await connection.run_sync(lambda joined: desk.office.start(connection=joined))
            assert desk.office.instances() == 1

    desk.run(view)

    assert (desk.office.instances(), desk.office.orders()) == (2, 1)
    eventually(lambda: desk.office.messages() == 2, "both messages")


@pytest.mark.parametrize("desk", ["psycopg"], indirect=True)
def test_the_current_app_of_the_loops_thread_decides_where_there_are_several(desk: AsyncOffice) -> None:
    other = make(desk.office.shop.broker_url, desk.office.shop.database_url)

    async def view(engine: AsyncEngine) -> AsyncSagaHandle:
        with current_app(desk.office.shop.sagas.app):
            return await desk.start(sagas=None)

    assert desk.run(view).sync.status is SagaStatus.PENDING
    other.engine.store.database.dispose()


@pytest.mark.parametrize("desk", ["psycopg"], indirect=True)
def test_a_session_of_the_other_kind_is_refused_with_the_cure(desk: AsyncOffice) -> None:
    async def view(engine: AsyncEngine) -> None:
        blocking: Any = Session(desk.office.engine)
        with pytest.raises(StartRefused, match=r"is not an AsyncSession; with a Session, call saga\.start"):
            await desk.start(blocking)
        async with AsyncSession(engine) as session:
            with pytest.raises(StartRefused, match=r"is not a SQLAlchemy Session.* sagas\.contrib\.asyncio"):
                desk.office.start(session=session)

    desk.run(view)

    assert desk.office.instances() == 0


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_missing_tables_say_how_to_make_them(shop: Shop, driver: str) -> None:
    async def view(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as session:
            await desk.start(session)
            await session.rollback()
            await session.execute(text("DROP SCHEMA sagas CASCADE"))
            await session.commit()
            with pytest.raises(SchemaMissing, match="sagas migrate"):
                await desk.start(session)
            # Then: the session is unharmed
            await order(session)
            await session.commit()

    with opened(shop) as office:
        desk = on_driver(office, driver)
        desk.run(view)
        assert office.orders() == 1
