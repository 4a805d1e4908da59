"""In FastAPI: the session as a dependency, and progress as server-sent events, through a real uvicorn."""

import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import httpx
import pytest
import uvicorn
from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from sagas import SagaHandle
from sagas.contrib.asyncio import AsyncSagaHandle, get, start
from sagas.contrib.events import sse
from tests.conftest import Shop
from tests.support import gates, scripted
from tests.support.workers import eventually


class Server:
    """An application as its users write it, served by a thread of this process."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.app = FastAPI()
        self.left = threading.Event()
        self.url = ""
        self.engine = create_async_engine(make_url(shop.database_url).set(drivername="postgresql+asyncpg"))
        self._add_views()

    def _add_views(self) -> None:
        app, sagas = self.app, self.shop.sagas

        async def session() -> AsyncIterator[AsyncSession]:
            async with AsyncSession(self.engine) as opened:
                yield opened

        async def the_run(saga_id: str) -> AsyncSagaHandle:
            return await get(sagas, saga_id)

        @app.post("/orders")
        async def place(body: dict[str, Any], session: Annotated[AsyncSession, Depends(session)]) -> dict[str, str]:
            run = await start(scripted.three, body, session=session, sagas=sagas)
            if "explode" in body["script"]:
                raise RuntimeError(str(run.id))
            await session.commit()
            return {"saga_id": str(run.id)}

        @app.get("/{saga_id}/events", response_class=EventSourceResponse)
        async def events(run: Annotated[AsyncSagaHandle, Depends(the_run)]) -> AsyncIterator[ServerSentEvent]:
            try:
                async for progress in run.watch(timeout=60, every=0.05):
                    yield ServerSentEvent(event="progress", data=progress)
            finally:
                self.left.set()

        @app.get("/{saga_id}/stream")
        async def stream(run: Annotated[AsyncSagaHandle, Depends(the_run)]) -> StreamingResponse:
            return StreamingResponse(
                (sse(progress) async for progress in run.watch(60)), media_type="text/event-stream"
            )

        app.router.add_event_handler("shutdown", self.engine.dispose)

    @contextmanager
    def running(self) -> Iterator["Server"]:
        server = uvicorn.Server(uvicorn.Config(self.app, port=0, ws="none", log_level="critical"))
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            eventually(lambda: server.started, "the server to start")
            self.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
            yield self
        finally:
            server.should_exit = True
            thread.join()

    def place(self, **script: str) -> SagaHandle:
        answer = httpx.post(f"{self.url}/orders", json={"script": script}, trust_env=False)
        answer.raise_for_status()
        return self.shop.sagas.get(answer.json()["saga_id"])

    @contextmanager
    def watching(self, run: SagaHandle, address: str) -> Iterator[Iterator[dict[str, Any]]]:
        """The events of an instance as they come."""
        with httpx.stream("GET", f"{self.url}/{run.id}/{address}", timeout=30, trust_env=False) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            yield events_in(response.iter_lines())


def events_in(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.startswith("event:"):
            assert line == "event: progress"
            yield json.loads(next(lines).removeprefix("data: "))
            assert next(lines) == ""


@pytest.fixture
def server(busy_shop: Shop) -> Iterator[Server]:
    with Server(busy_shop).running() as running:
        yield running


def test_an_exception_in_the_view_starts_nothing(server: Server) -> None:
    def instances() -> int:
        return len(server.shop.sagas.list(limit=10_000))

    before = instances()
    with pytest.raises(httpx.HTTPStatusError, match="500"):
        server.place(explode="ok")

    assert instances() == before


@pytest.mark.parametrize("address", ["events", "stream"])
def test_progress_is_streamed_as_it_changes_until_the_saga_ends(server: Server, address: str) -> None:
    run = server.place(b="wait:go")
    gates.until_reached(server.shop.database_url, run, "go")

    with server.watching(run, address) as events:
        seen = [next(events)]
        gates.open_gate(server.shop.database_url, run, "go")
        seen += list(events)

    assert [step["status"] for step in seen[0]["steps"]] == ["completed", "running", "pending"]
    assert [progress["ended"] for progress in seen] == [False] * (len(seen) - 1) + [True]
    assert seen[-1] == run.progress()


def test_a_client_that_leaves_ends_the_watching(server: Server) -> None:
    run = server.place(b="wait:go")

    with server.watching(run, "events") as events:
        next(events)
    assert server.left.wait(20)

    assert not run.status.is_final
    gates.open_gate(server.shop.database_url, run, "go")
    run.wait(30)
