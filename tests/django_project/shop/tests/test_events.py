"""Progress as server-sent events, under WSGI and under ASGI."""

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connection
from django.test import RequestFactory

from sagas import SagaHandle
from sagas.contrib.django import event_stream, sagas
from sagas.contrib.django.testing import SagaTransactionTestCase
from tests.django_project.shop.tests.instances import begin, run


def parsed(chunk: bytes) -> dict[str, Any]:
    name, data, end = chunk.decode().split("\n", 2)
    assert (name, end) == ("event: progress", "\n"), chunk
    return dict(json.loads(data.removeprefix("data: ")))


def last(chunks: Iterable[bytes]) -> dict[str, Any]:
    return [parsed(chunk) for chunk in chunks if not chunk.startswith(b":")][-1]


class EventStreamTests(SagaTransactionTestCase):
    def cancel(self, one: SagaHandle) -> None:
        with self.run_sagas():
            one.cancel("enough")

    def test_an_ended_saga_is_one_event(self) -> None:
        one = run(self, "k-1")

        response = self.client.get("/orders/k-1/events/")

        self.assertEqual(response["Content-Type"], "text/event-stream")
        self.assertEqual(response["Cache-Control"], "no-cache")
        self.assertEqual(response["X-Accel-Buffering"], "no")
        (only,) = response.streaming_content
        self.assertEqual(parsed(only), one.progress())

    def test_changes_are_told_until_the_end(self) -> None:
        one = begin(self, "k-1")
        stream = iter(self.client.get("/orders/k-1/events/").streaming_content)

        self.assertEqual(parsed(next(stream))["status"], "pending")
        self.cancel(one)

        self.assertEqual(last(stream)["status"], "compensated")

    def test_nothing_is_held_between_two_looks(self) -> None:
        begin(self, "k-1")
        response = self.client.get("/orders/k-1/events/")
        self.assertIsNotNone(connection.connection)  # the view has used the ORM

        next(iter(response.streaming_content))

        self.assertIsNone(connection.connection)
        self.assertEqual(sagas.engine.store.database.engine.pool.checkedout(), 0)

    def test_silence_is_filled_with_comments_and_ends_in_time(self) -> None:
        one = begin(self, "k-1")
        response = event_stream(RequestFactory().get("/"), one, timeout=0.2, keep_alive=0.05, every=0.02)

        first, *others = response.streaming_content

        self.assertEqual(parsed(first)["status"], "pending")
        self.assertEqual(set(others), {b": nothing new\n\n"})

    async def test_under_asgi_it_is_an_asynchronous_stream(self) -> None:
        one = await sync_to_async(begin)(self, "k-1")
        response = await self.async_client.get("/orders/k-1/events/")
        self.assertTrue(response.is_async)
        self.assertEqual(response["Cache-Control"], "no-cache")
        stream: AsyncIterator[bytes] = aiter(response)

        self.assertEqual(parsed(await anext(stream))["status"], "pending")
        await sync_to_async(self.cancel)(one)

        self.assertEqual(last([chunk async for chunk in stream])["status"], "compensated")
        self.assertIsNone(await sync_to_async(lambda: connection.connection)())

    async def test_under_asgi_silence_is_filled_with_comments_too(self) -> None:
        from django.test import AsyncRequestFactory

        one = await sync_to_async(begin)(self, "k-1")
        request = AsyncRequestFactory().get("/")
        response = event_stream(request, one, timeout=0.2, keep_alive=0.05, every=0.02)

        first, *others = [chunk async for chunk in response]

        self.assertEqual(parsed(first)["status"], "pending")
        self.assertEqual(set(others), {b": nothing new\n\n"})
