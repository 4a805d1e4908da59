"""An application on an async engine: each of its tests runs on both drivers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from sqlalchemy import URL, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from sagas.contrib.asyncio import AsyncSagaHandle, start
from tests.conftest import Shop
from tests.support import scripted
from tests.support.caller import Caller, caller_in

T = TypeVar("T")


@dataclass(frozen=True)
class AsyncCaller:
    """What a user has: an async engine, and the application. A `Caller` looks at it from outside."""

    sync: Caller
    url: URL

    def run(self, work: Callable[[AsyncEngine], Awaitable[T]]) -> T:
        """Run on an event loop of its own. When it returns, what was to be sent has been sent."""

        async def main() -> T:
            async with self.engine() as engine:
                return await work(engine)

        return asyncio.run(main())

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[AsyncEngine]:
        engine = create_async_engine(self.url)
        try:
            yield engine
        finally:
            await engine.dispose()

    async def start(self, session: AsyncSession | None = None, **options: Any) -> AsyncSagaHandle:
        options = {"sagas": self.sync.shop.sagas} | options
        return await start(scripted.three, {"script": {}}, session=session, **options)


def on_driver(sync_caller: Caller, driver: str) -> AsyncCaller:
    return AsyncCaller(sync_caller, make_url(sync_caller.shop.database_url).set(drivername=f"postgresql+{driver}"))


@pytest.fixture(scope="module")
def sync_caller(own_shop: Shop) -> Iterator[Caller]:
    with caller_in(own_shop) as made:
        yield made


@pytest.fixture(params=["asyncpg", "psycopg"])
def caller(request: pytest.FixtureRequest, sync_caller: Caller) -> Iterator[AsyncCaller]:
    """Shared by a module's tests, and emptied after each."""
    yield on_driver(sync_caller, request.param)
    with sync_caller.engine.begin() as connection:
        connection.execute(text("TRUNCATE orders, sagas.saga_instance CASCADE"))
    sync_caller.shop.sagas.app.control.purge()


async def order(on: AsyncSession | AsyncConnection) -> None:
    """The user's own row."""
    await on.execute(text("INSERT INTO orders VALUES (1)"))
