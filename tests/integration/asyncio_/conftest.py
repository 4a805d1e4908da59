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
from tests.support.office import Office, opened

T = TypeVar("T")


@dataclass(frozen=True)
class AsyncOffice:
    """What a user has: an async engine, and the application. An `Office` looks at it from outside."""

    office: Office
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
        options = {"sagas": self.office.shop.sagas} | options
        return await start(scripted.three, {"script": {}}, session=session, **options)


def on_driver(office: Office, driver: str) -> AsyncOffice:
    return AsyncOffice(office, make_url(office.shop.database_url).set(drivername=f"postgresql+{driver}"))


@pytest.fixture(scope="module")
def office(own_shop: Shop) -> Iterator[Office]:
    with opened(own_shop) as made:
        yield made


@pytest.fixture(params=["asyncpg", "psycopg"])
def desk(request: pytest.FixtureRequest, office: Office) -> Iterator[AsyncOffice]:
    """Shared by a module's tests, and emptied after each."""
    yield on_driver(office, request.param)
    with office.engine.begin() as connection:
        connection.execute(text("TRUNCATE orders, sagas.saga_instance CASCADE"))
    office.shop.sagas.app.control.purge()


async def order(on: AsyncSession | AsyncConnection) -> None:
    """The user's own row."""
    await on.execute(text("INSERT INTO orders VALUES (1)"))
