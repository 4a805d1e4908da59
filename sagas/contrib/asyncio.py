"""Sagas from asyncio, with SQLAlchemy's `AsyncSession`: FastAPI, Starlette, or a script of your own::

    async with AsyncSession(engine) as session:
        session.add(Order(id=order_id, …))
        run = await start(order, {"order_id": order_id, …}, key=order_id, session=session)
        await session.commit()  # the order and its saga, or neither; then the chain is sent
    await run.wait(timeout=10)

Nothing here blocks the event loop: queries on the library's own database connections run in a thread, and so does the
sending after the commit. Waiting and watching sleep on the loop, and hold no thread and no connection between two
looks. ``await asyncio.to_thread(run.wait)`` would hold a thread for as long as the saga takes; hence a separate handle,
with the same methods: ``run.cancel("…")`` becomes ``await run.cancel("…")``.

Choreographies have `start_run` and `publish`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session

from sagas.choreography import Choreography
from sagas.choreography.signatures import IfExistsWord as IfRunExists
from sagas.definition import Deadline, IfExistsWord, Saga
from sagas.engine import engine_for
from sagas.errors import StartRefused, WaitTimeout
from sagas.extension import Sagas
from sagas.handle import Pace, SagaHandle, Snapshot, refuse_in_step
from sagas.model import Data, SagaStatus

T = TypeVar("T")


class AsyncSagaHandle:
    """A handle on one instance, returned by `start`, `get` and `find`. Every read is fresh.

    Attributes:
        id: the instance's id.
        sync: the `SagaHandle`, for methods that are missing here: ``await asyncio.to_thread(run.sync.retry, "…")``.
    """

    def __init__(self, handle: SagaHandle) -> None:
        self.id: UUID = handle.id
        self.sync = handle

    def __repr__(self) -> str:
        return f"<AsyncSagaHandle {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncSagaHandle) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    async def status(self) -> SagaStatus:
        """Return the current status.

        Raises:
            InstanceNotFound: it was rolled back or purged, or is not committed yet; the other methods raise it too.
        """
        return (await self.snapshot()).status

    async def snapshot(self, *, history: bool = False) -> Snapshot:
        """Read everything in one consistent look (see `SagaHandle.snapshot`)."""
        return await asyncio.to_thread(self.sync.snapshot, history=history)

    async def progress(self) -> dict[str, Any]:
        """Return its progress, ready for JSON (see `SagaHandle.progress`)."""
        return await asyncio.to_thread(self.sync.progress)

    async def wait(self, timeout: float | None = None, *, disable_sync_subtasks: bool = True) -> SagaStatus:
        """Wait until it ends: `completed`, `compensated`, or `failed` (a person must look).

        Args:
            timeout: seconds; None waits without limit.

        Raises:
            WaitTimeout: it had not ended in time. The saga itself goes on.
            WaitRefused: it was called in a step (see `SagaHandle.wait`).
        """
        if disable_sync_subtasks:
            refuse_in_step("wait")
        pace = Pace.of_wait(timeout)
        while not (status := await self.status()).is_final:
            if (pause := pace.next()) is None:
                raise WaitTimeout(f"saga {self.id} is still {status.value} after {timeout:g} s; it goes on without you")
            await asyncio.sleep(pause)
        return status

    async def watch(
        self, timeout: float | None = None, *, every: float = 0.5, disable_sync_subtasks: bool = True
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield its `progress()` now and at each change, until it ends or the time is over.

        As server-sent events, in FastAPI::

            @app.get("/orders/{order_id}/events", response_class=EventSourceResponse)
            async def events(run: Annotated[AsyncSagaHandle, Depends(run_of_order)]):
                async for progress in run.watch(timeout=60):
                    yield ServerSentEvent(event="progress", data=progress)

        and wherever else a response is streamed from text, with ``from sagas.contrib.events import sse``::

            StreamingResponse((sse(progress) async for progress in run.watch(60)), media_type="text/event-stream")

        Args:
            timeout: seconds; None watches until the end.
            every: seconds between two looks.

        Raises:
            WaitRefused: it was called in a step (see `SagaHandle.watch`).
        """
        if disable_sync_subtasks:
            refuse_in_step("watch")
        pace = Pace(timeout, every)
        last: dict[str, Any] = {}
        while True:
            seen = await self.snapshot()
            if seen.progress() != last:
                yield seen.progress()  # a copy: what the caller adds to it is not a change
            last = seen.progress()
            if last["ended"] or (pause := pace.next()) is None:
                return
            await asyncio.sleep(pause)

    async def cancel(self, reason: str, *, by: str = "application") -> None:
        """Stop forward work, then undo everything that was done or is in doubt (see `SagaHandle.cancel`).

        Raises:
            TransitionRefused: it is past its pivot, completed, or failed.
        """
        await asyncio.to_thread(self.sync.cancel, reason, by=by)

    async def signal(
        self,
        name: str,
        payload: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        session: "AsyncSession | None" = None,
        by: str = "application",
    ) -> bool:
        """Send a signal that a `WaitFor` step waits for, or will wait for (see `SagaHandle.signal`).

        Args:
            session: send it in this session's transaction; it takes effect after the commit.

        Raises:
            TransitionRefused: it has ended, or is being undone.
        """
        send = partial(self.sync.signal, name, payload, key=key, by=by)
        if session is None:
            return await asyncio.to_thread(send)
        return await session.run_sync(lambda joined: send(session=joined))


async def start(
    saga: Saga,
    data: Data,
    *,
    session: "AsyncSession | async_scoped_session[Any] | None" = None,
    key: str | None = None,
    deadline: Deadline | None = None,
    if_exists: IfExistsWord = "return",
    sagas: Sagas | None = None,
) -> AsyncSagaHandle:
    """Start an instance. One that returned without a session, or whose session committed, is never lost.

    This works with ``postgresql+asyncpg://`` and ``postgresql+psycopg://``. With an ``AsyncConnection``, use
    ``await connection.run_sync(lambda joined: saga.start(data, connection=joined))``.

    Args:
        saga: the saga to start.
        data, key, deadline, if_exists: see `Saga.start`.
        session: insert in this session's transaction; the chain is sent after its commit. Without a session the
            instance is committed at once.
        sagas: the `Sagas` to use, if a process has several.

    Raises:
        StartInProgress: another open transaction is starting the same key. The session's own is unharmed.
        StartRefused, PayloadError: as in `Saga.start`.
    """
    # Here, since a thread has its own current app.
    who = f"saga {saga.name!r}"
    engine = sagas.engine if sagas is not None else engine_for(saga.tasks(), who)
    begin = partial(saga.start_on, engine, data, key=key, deadline=deadline, if_exists=if_exists)
    if session is None:
        # Here too: some of the context that the messages carry belongs to this thread.
        begin = partial(begin, beginning=engine.begin(saga.plan(engine)))
    return AsyncSagaHandle(await _done(begin, session, who, "saga.start(data, session=…)"))


async def start_run(
    choreography: Choreography,
    event: Any,
    *,
    session: "AsyncSession | async_scoped_session[Any] | None" = None,
    key: str | None = None,
    if_exists: IfRunExists = "return",
    sagas: Sagas | None = None,
) -> AsyncSagaHandle:
    """Start a run of a choreography with its first event, as `start` starts a saga.

    Args:
        choreography: the choreography to start.
        event, key, if_exists: see `Choreography.start`, which has the errors, too.
        session: insert in this session's transaction; the event is delivered after its commit. Without a session the
            run is committed at once.
        sagas: the `Sagas` to use, if a process has several.
    """
    engine = sagas.engine if sagas is not None else engine_for(choreography.tasks(), choreography.who)
    begin = partial(choreography.start_on, engine, event, key=key, if_exists=if_exists)
    return AsyncSagaHandle(await _done(begin, session, choreography.who, "choreography.start(event, session=…)"))


async def publish(
    choreography: Choreography,
    event: Any,
    *,
    run: AsyncSagaHandle | UUID | str,
    session: "AsyncSession | async_scoped_session[Any] | None" = None,
    key: str | None = None,
    if_exists: IfRunExists = "return",
    sagas: Sagas | None = None,
) -> bool:
    """Publish an event into a run of a choreography from outside, such as from a webhook.

    Args:
        choreography: the choreography of the run.
        run: a handle, the id as a UUID, or the business key as text.
        event, key, if_exists: see `Choreography.publish`, which has the errors, too.
        session: publish in this session's transaction. Without a session the event is committed at once.
        sagas: the `Sagas` to use, if a process has several.

    Returns:
        False if the event was there already, with this key.
    """
    engine = sagas.engine if sagas is not None else engine_for(choreography.tasks(), choreography.who)
    named = run.sync if isinstance(run, AsyncSagaHandle) else run
    send = partial(choreography.publish_on, engine, event, run=named, key=key, if_exists=if_exists)
    return await _done(send, session, choreography.who, "choreography.publish(event, session=…)")


async def _done(work: Callable[..., T], session: object, who: str, instead: str) -> T:
    """Do the work in a thread, or in the transaction of a session. Raises StartRefused if that is not asyncio's."""
    if session is None:
        return await asyncio.to_thread(work)
    own = session() if isinstance(session, async_scoped_session) else session
    if not isinstance(own, AsyncSession):
        raise StartRefused(
            f"{who}: session={session!r} is not an AsyncSession; with a Session, call {instead}, and not on the event "
            "loop, since it blocks"
        )
    return await own.run_sync(lambda joined: work(session=joined))


async def get(sagas: Sagas, id: UUID | str) -> AsyncSagaHandle:
    """Return a handle on an instance.

    Raises:
        InstanceNotFound: there is no instance with this id.
    """
    return AsyncSagaHandle(await asyncio.to_thread(sagas.get, id))


async def find(sagas: Sagas, *, saga: str, key: str) -> AsyncSagaHandle | None:
    """Return the current instance of a business key; None if there is none."""
    found = await asyncio.to_thread(sagas.find, saga=saga, key=key)
    return None if found is None else AsyncSagaHandle(found)
