"""The shop's sessions, one for each way to write a view. A real shop has one of the two.

When is it committed? Before the response is sent, or a customer is told "placed" of an order that then fails to
commit. But what stands behind the `yield` of a dependency runs, unless told otherwise, after the response was sent.
So either the view commits, or the dependency has `scope="function"`.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Annotated

from fastapi import Depends
from sqlalchemy import create_engine, make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from config.settings import Settings

_url = make_url(Settings.from_environment().database_url)
async_engine = create_async_engine(_url.set(drivername="postgresql+asyncpg"), pool_pre_ping=True)
engine = create_engine(_url, pool_pre_ping=True)


async def _async_session() -> AsyncIterator[AsyncSession]:
    async with AsyncSession(async_engine) as session:
        yield session


def _session() -> Iterator[Session]:
    with Session(engine) as session, session.begin():
        yield session


#: The view commits it.
UncommittedAsyncSession = Annotated[AsyncSession, Depends(_async_session)]
#: Committed when the view has returned, and before its response is sent; rolled back when the view raises.
SessionOfView = Annotated[Session, Depends(_session, scope="function")]
