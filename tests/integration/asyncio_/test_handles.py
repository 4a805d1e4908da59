"""What a view does with an instance, by id and by key, while a real worker runs it."""

import asyncio
from uuid import uuid4

import pytest

from sagas import InstanceNotFound, SagaStatus, TransitionRefused, WaitTimeout
from sagas.contrib.asyncio import find, get, start
from tests.conftest import Shop
from tests.support import gates, scripted


def test_an_instance_is_found_by_its_id_and_by_its_key(busy_shop: Shop) -> None:
    sagas, key = busy_shop.sagas, uuid4().hex

    async def view() -> None:
        run = await start(scripted.three, {"script": {}}, key=key, sagas=sagas)
        found = await find(sagas, saga="three", key=key)

        assert run == found == await get(sagas, run.id) == await get(sagas, str(run.id))
        assert len({run, found}) == 1
        assert await run.wait(30) is SagaStatus.COMPLETED
        assert await run.status() is SagaStatus.COMPLETED
        assert await run.progress() == run.sync.progress()
        with pytest.raises(TransitionRefused, match="cannot be cancelled"):
            await run.cancel("too late")
        assert [entry.event for entry in (await run.snapshot(history=True)).history][-1] == "completed"

    asyncio.run(view())


def test_what_is_not_there_is_not_found(busy_shop: Shop) -> None:
    async def view() -> None:
        for unknown in (uuid4(), "no id"):
            with pytest.raises(InstanceNotFound):
                await get(busy_shop.sagas, unknown)
        for unknown in ("nobody's", "of a stranger\x00"):
            assert await find(busy_shop.sagas, saga="three", key=unknown) is None

    asyncio.run(view())


def test_it_is_waited_for_watched_and_cancelled(busy_shop: Shop) -> None:
    async def view() -> None:
        run = await start(scripted.three, {"script": {"b": "wait:go"}}, sagas=busy_shop.sagas)
        await asyncio.to_thread(gates.until_reached, busy_shop.database_url, run.sync, "go")

        # While it runs: giving up harms nothing
        with pytest.raises(WaitTimeout, match=r"is still running after 0\.1 s; it goes on without you"):
            await run.wait(0.1)
        assert [progress["status"] async for progress in run.watch(0.2, every=0.05)] == ["running"]

        # Cancelled: what runs is awaited, then undone
        watching = run.watch(30, every=0.05)
        seen = [await anext(watching)]
        await run.cancel("changed my mind", by="customer")
        gates.open_gate(busy_shop.database_url, run.sync, "go")
        seen += [progress async for progress in watching]
        assert await run.wait() is SagaStatus.COMPENSATED
        assert [progress["ended"] for progress in seen] == [False] * (len(seen) - 1) + [True]
        assert seen[-1]["status"] == "compensated"

    asyncio.run(view())
