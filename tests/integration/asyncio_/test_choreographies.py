"""Choreographies in an async session: a start and an event are committed with it, or never were."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from sagas import InstanceNotFound, SagaStatus, StartRefused
from sagas.contrib.asyncio import AsyncSagaHandle, publish, start_run
from tests.integration.asyncio_.conftest import AsyncCaller, order
from tests.support import journal
from tests.support.choreographed import Noted, Ordered, ring


@pytest.fixture(autouse=True)
def registered(caller: AsyncCaller) -> None:
    caller.sync.shop.sagas.register()


def noted(caller: AsyncCaller, run: AsyncSagaHandle) -> int:
    """Return how many events of a run are stored, beside its first."""
    asked = "SELECT name FROM sagas.saga_inbox WHERE instance_id = %s AND name = 'Noted'"
    return len(journal.query(caller.sync.shop.database_url, asked, str(run.id)))


async def start(caller: AsyncCaller, session: AsyncSession | None = None, key: str | None = None) -> AsyncSagaHandle:
    return await start_run(ring, Ordered(script={}), key=key, session=session, sagas=caller.sync.shop.sagas)


async def note(
    caller: AsyncCaller, run: AsyncSagaHandle | str, session: AsyncSession | None = None, key: str | None = None
) -> bool:
    event = Noted(script={}, number=1)
    return await publish(ring, event, run=run, key=key, session=session, sagas=caller.sync.shop.sagas)


def test_the_order_and_its_run_commit_together_and_the_first_event_is_delivered_once(caller: AsyncCaller) -> None:
    async def view(engine: AsyncEngine) -> AsyncSagaHandle:
        async with AsyncSession(engine) as session:
            await order(session)
            run = await start(caller, session)
            assert (caller.sync.messages(), caller.sync.instances()) == (0, 0)
            await session.commit()
            assert await run.status() is SagaStatus.PENDING
        return run

    run = caller.run(view)

    assert (caller.sync.messages(), caller.sync.orders()) == (1, 1)
    assert caller.sync.sent_for() == {str(run.id)}


def test_a_rollback_starts_no_run_and_publishes_no_event(caller: AsyncCaller) -> None:
    async def view(engine: AsyncEngine) -> tuple[AsyncSagaHandle, AsyncSagaHandle]:
        there = await start(caller)
        async with AsyncSession(engine) as session:
            run = await start(caller, session)
            assert await note(caller, there, session)
            await session.rollback()
        return there, run

    there, run = caller.run(view)

    with pytest.raises(InstanceNotFound):
        _ = run.sync.status
    assert noted(caller, there) == 0


def test_without_a_session_a_run_and_its_events_are_committed_at_once(caller: AsyncCaller) -> None:
    key = f"order-{uuid4()}"

    async def webhook(_: AsyncEngine) -> tuple[AsyncSagaHandle, bool, bool]:
        run = await start(caller, key=key)
        return run, await note(caller, run, key="hook-1"), await note(caller, key, key="hook-1")

    run, first, second = caller.run(webhook)

    assert (first, second) == (True, False)
    assert (run.sync.status, noted(caller, run)) == (SagaStatus.PENDING, 1)
    assert caller.sync.sent_for() == {str(run.id)}


@pytest.mark.parametrize("what", [start, note], ids=["start_run", "publish"])
def test_a_session_that_is_not_asynchronous_is_refused_with_the_way_out(
    caller: AsyncCaller, what: Callable[..., Awaitable[object]]
) -> None:
    run = () if what is start else ("order-1",)
    with pytest.raises(StartRefused, match=r"choreography 'ring': session=.* is not an AsyncSession; with a Session"):
        asyncio.run(what(caller, *run, session=Session()))  # type: ignore[arg-type]
