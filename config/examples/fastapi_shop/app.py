"""The shop's pages: `uvicorn config.examples.fastapi_shop.app:app`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from config.examples.fastapi_shop.celery import sagas
from config.examples.fastapi_shop.database import SessionOfView, UncommittedAsyncSession, async_engine, engine
from config.examples.fastapi_shop.models import Order
from config.examples.order_form import BadOrder, OrderForm
from config.examples.page import front_page
from config.examples.reasons import TOO_LATE, why_undone
from config.examples.staging import stage
from sagas import InstanceNotFound, StartInProgress, TransitionRefused, WaitTimeout
from sagas.contrib.asyncio import AsyncSagaHandle, find, get, start
from tasks.orders import order

LONGEST_WAIT = 30.0


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    await async_engine.dispose()
    engine.dispose()


app = FastAPI(title="The shop", lifespan=lifespan)


async def order_form(body: Annotated[Any, Body()] = None) -> OrderForm:
    return OrderForm.parse(body)


async def run_of_order(order_id: str) -> AsyncSagaHandle:
    run = await find(sagas, saga=order.name, key=order_id)
    if run is None:
        raise HTTPException(404, f"there is no order {order_id!r}")
    return run


Form = Annotated[OrderForm, Depends(order_form)]
Run = Annotated[AsyncSagaHandle, Depends(run_of_order)]


@app.get("/", response_class=HTMLResponse)
def page() -> str:
    return front_page("python3 run.py exec celery -A config.examples.fastapi_shop sagas show order/KEY")


@app.post("/orders")
async def place(form: Form, session: UncommittedAsyncSession) -> JSONResponse:
    """Insert the order's row and the saga's in one transaction; the saga is sent after its commit."""
    is_new = await session.scalar(Order.placed(form)) is not None
    if is_new:
        await asyncio.to_thread(stage, form)
    run = await start(order, form.saga_input, key=form.order_id, session=session)
    await session.commit()
    return JSONResponse({"order_id": form.order_id, "saga_id": str(run.id)}, 201 if is_new else 200)


@app.post("/orders/sync")
def place_in_a_thread(form: Form, session: SessionOfView) -> JSONResponse:
    """Place an order with a `Session`, in the thread that FastAPI gives to a view that is not a coroutine."""
    is_new = session.scalar(Order.placed(form)) is not None
    if is_new:
        stage(form)
    run = order.start(form.saga_input, key=form.order_id, session=session)
    return JSONResponse({"order_id": form.order_id, "saga_id": str(run.id)}, 201 if is_new else 200)


@app.get("/orders/{order_id}")
async def progress(run: Run) -> dict[str, Any]:
    return await run.progress()


@app.get("/orders/{order_id}/events", response_class=EventSourceResponse)
async def events(run: Run) -> AsyncIterator[ServerSentEvent]:
    async for changed in run.watch(timeout=60):
        yield ServerSentEvent(event="progress", data=changed)


@app.get("/orders/{order_id}/why")
async def why(run: Run) -> dict[str, str | None]:
    return {"why": why_undone(await run.snapshot())}


@app.get("/orders/{order_id}/wait")
async def wait(run: Run, timeout: Annotated[float, Query(ge=0)] = 10) -> JSONResponse:
    try:
        return JSONResponse({"status": await run.wait(min(timeout, LONGEST_WAIT))})
    except WaitTimeout:
        return JSONResponse({"status": await run.status()}, 202)


@app.post("/orders/{order_id}/cancel")
async def cancel(run: Run) -> dict[str, str]:
    await run.cancel("the customer changed their mind", by="customer")
    return {"status": await run.status()}


@app.get("/sagas/{saga_id}")
async def saga_progress(saga_id: str) -> dict[str, Any]:
    return await (await get(sagas, saga_id)).progress()


@app.exception_handler(HTTPException)
async def refused(request: Request, error: HTTPException) -> JSONResponse:
    return JSONResponse({"error": error.detail}, error.status_code)


@app.exception_handler(BadOrder)
async def bad_order(request: Request, error: BadOrder) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 400)


@app.exception_handler(RequestValidationError)
async def bad_request(request: Request, error: RequestValidationError) -> JSONResponse:
    return JSONResponse({"error": "; ".join(f"{wrong['loc'][-1]}: {wrong['msg']}" for wrong in error.errors())}, 400)


@app.exception_handler(InstanceNotFound)
async def not_found(request: Request, error: InstanceNotFound) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 404)


@app.exception_handler(StartInProgress)
async def start_in_progress(request: Request, error: StartInProgress) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 409)


@app.exception_handler(TransitionRefused)
async def too_late(request: Request, error: TransitionRefused) -> JSONResponse:
    return JSONResponse({"error": TOO_LATE}, 409)
