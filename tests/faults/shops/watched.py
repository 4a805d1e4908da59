"""What the shops' HTTP servers run in the fault tests: `watched:django` is Django's shop, unchanged, in a wrapper.

It tells in the header `X-Sending` how many seconds each request was kept waiting by the library's sender, and it lets
a request be the process's last (see `crash_moments`).
"""

import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from gunicorn.util import import_app

from config.examples.shops import SHOPS
from sagas.engine.impatient import ImpatientSender
from tests.faults.shops import crash_moments

HEADER = "X-Sending"

#: A list, since a view may run in a copy of its request's context.
sending: ContextVar[list[float] | None] = ContextVar("sending", default=None)

_send = ImpatientSender.send


def timed_send(self: ImpatientSender, *arguments: Any, **options: Any) -> bool:
    began = time.monotonic()
    try:
        return _send(self, *arguments, **options)
    finally:
        spent = sending.get()
        # Nobody waits for what is sent from an executor's thread, which has no request.
        if spent is not None:
            spent.append(time.monotonic() - began)


def begin(header: str | None) -> list[float]:
    crash_moments.announce(header)
    spent: list[float] = []
    sending.set(spent)
    return spent


def wsgi(application: Any) -> Any:
    def respond(environ: dict[str, Any], start_response: Any) -> Any:
        spent = begin(environ.get(f"HTTP_{crash_moments.HEADER.upper().replace('-', '_')}"))

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            return start_response(status, [*headers, (HEADER, str(sum(spent)))], *rest)

        return application(environ, start)

    return respond


def asgi(application: Any) -> Any:
    async def respond(
        scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        given = dict(scope.get("headers", ())).get(crash_moments.HEADER.lower().encode())
        spent = begin(given.decode() if given else None)

        async def tell(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = message | {
                    "headers": [*message["headers"], (HEADER.lower().encode(), str(sum(spent)).encode())]
                }
            await send(message)

        await application(scope, receive, tell)

    return respond


def __getattr__(framework: str) -> Any:
    if framework not in SHOPS:
        raise AttributeError(framework)
    shop = SHOPS[framework]
    own = next(word for word in shop.web if word.startswith(shop.celery))
    crash_moments.install()
    ImpatientSender.send = timed_send  # type: ignore[method-assign]
    wrap = asgi if framework == "fastapi" else wsgi
    return wrap(import_app(own))
