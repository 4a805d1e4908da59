"""Whatever lies in a queue, a worker's consumer takes it in or refuses it; nothing ends the worker."""

import json
import logging
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest
from celery import Celery
from celery.worker.consumer import Consumer
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from kombu import Message

from sagas import Sagas

NOWHERE = "postgresql://nobody@/nowhere?host=/nonexistent"
TASK = "intake.work"
ID = "01890a5d-ac96-774b-bcce-b302099a8057"
GOOD: dict[str, Any] = {"task": TASK, "id": ID, "root_id": ID, "saga_step": "0.0.0", "timelimit": [60, 55]}
BODY: list[Any] = [[], {"saga_id": ID}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]


def work() -> None:
    """Never reached: the pool is none."""


class Queue:
    """A consumer of an application with sagas, as a worker has one, and what became of the messages it got."""

    def __init__(self) -> None:
        app = Celery("intake", set_as_current=False, broker="memory://")
        app.conf.worker_hijack_root_logger = False
        self.sagas = Sagas(app, database=NOWHERE)
        app.task(name=TASK)(work)
        app.finalize()
        self.pool = Mock(name="pool")
        self.consumer = Consumer(
            self.execute, app=app, pool=self.pool, timer=Mock(), hub=None, controller=MagicMock(), hostname="here"
        )
        self.consumer.controller.state.revoked = set()
        self.consumer.qos = Mock()
        self.consumer.event_dispatcher = Mock(enabled=True)
        self.consumer.connection_errors = ()
        self.consumer.update_strategies()
        self.consumer.reset_rate_limits()
        self.handle = self.consumer.create_task_handler()
        self.started = 0

    def execute(self, request: Any) -> None:
        request.execute_using_pool(self.pool)
        self.started += 1

    def receive(self, headers: Any, body: Any, content_type: Any = "application/json", **more: Any) -> str:
        """What becomes of a message: it starts, or it is refused. Whatever is raised here ends a worker."""
        message = Message(
            body=body if isinstance(body, bytes) else json.dumps(body).encode(),
            channel=Mock(),
            content_type=content_type,
            content_encoding="utf-8",
            delivery_tag="1",
            delivery_info={"exchange": "", "routing_key": "celery"},
            properties={},
            headers=headers,
            accept={"application/json"},
            **more,
        )
        started = self.started
        self.handle(message)
        if message.acknowledged and self.started == started:
            return "refused"
        return "started" if self.started > started else "waits"


@pytest.fixture(scope="module")
def queue() -> Queue:
    logging.getLogger("celery").setLevel(logging.CRITICAL)
    return Queue()


def test_a_good_message_starts(queue: Queue) -> None:
    assert queue.receive(GOOD, BODY) == "started"


@pytest.mark.parametrize(
    "body", [[1], {}, None, 7, "text", [], [[], {}], [[], {}, {}, {}], {"args": 7}, "abc"], ids=repr
)
@pytest.mark.parametrize("headers", [GOOD, {**GOOD, "task": "nobodys"}], ids=["known", "unknown"])
def test_valid_json_of_another_shape_is_refused(queue: Queue, headers: dict[str, Any], body: Any) -> None:
    assert queue.receive(headers, body) == "refused"


@pytest.mark.parametrize(
    "body", [b"", b"[[], {}, {", b"\xff\xfe", b"\x80\x04K\x01.", b"[" * 100_000], ids=lambda b: repr(b[:9])
)
def test_what_is_no_json_is_refused(queue: Queue, body: bytes) -> None:
    assert queue.receive(GOOD, body) == "refused"


@pytest.mark.parametrize(
    "content_type",
    ["application/x-python-serialize", "application/x-yaml", "text/plain", "nonsense", None, 7],
    ids=repr,
)
def test_another_content_type_than_json_is_refused(queue: Queue, content_type: Any) -> None:
    assert queue.receive(GOOD, BODY, content_type) == "refused"


@pytest.mark.parametrize(
    "change",
    [
        {"id": None},
        {"id": [1]},
        {"task": [TASK]},
        {"task": {}},
        {"task": None},
        {"timelimit": [1]},
        {"timelimit": "60"},
        {"timelimit": ["a", "b"]},
        {"timelimit": [-1, 1e300]},
        {"eta": 7},
        {"eta": "tomorrow"},
        {"expires": {}},
        {"shadow": [1]},
        {"retries": "many"},
        {"root_id": []},
    ],
    ids=str,
)
def test_headers_that_celery_would_die_of_are_refused(queue: Queue, change: dict[str, Any]) -> None:
    assert queue.receive({**GOOD, **change}, BODY) == "refused"


@pytest.mark.parametrize("headers", [None, {}, {"saga_step": "0.0.0"}], ids=repr)
def test_a_message_without_a_task_is_refused(queue: Queue, headers: Any) -> None:
    assert queue.receive(headers, BODY) == "refused"


@pytest.mark.parametrize("options", [7, [], {"chain": [1]}, {"chain": 7}, {"errbacks": "x"}, {"chord": []}], ids=repr)
def test_options_that_are_none_are_refused(queue: Queue, options: Any) -> None:
    assert queue.receive(GOOD, [[], {}, options]) == "refused"


def test_messages_of_the_first_protocol_are_looked_at_too(queue: Queue) -> None:
    assert queue.receive({}, {"task": TASK, "id": ID, "args": [], "kwargs": {}}) == "started"
    assert queue.receive({}, {"task": TASK, "id": ID}) == "started"
    assert queue.receive({}, {"task": TASK}) == "refused"
    assert queue.receive({}, {"task": TASK, "id": ID, "args": 7}) == "refused"
    assert queue.receive({}, {"task": [TASK], "id": ID, "args": []}) == "refused"


def test_a_reconnected_consumer_keeps_looking(queue: Queue) -> None:
    queue.handle = queue.consumer.create_task_handler()

    assert queue.receive(GOOD, [1]) == "refused"


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from([TASK, ID, "0.0.0", "2026-01-01T00:00:00", "9999-12-31T23:59:59.999999-23:59", "0001-01-01"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(
    [
        *GOOD,
        *("eta", "expires", "shadow", "retries", "parent_id", "group", "group_index", "lang", "argsrepr", "kwargsrepr"),
        *("origin", "ignore_result", "stamps", "stamped_headers", "replaced_task_nesting", "compression", "args"),
    ]
)
bodies = st.one_of(
    st.just(BODY),
    values,
    st.tuples(values, values, values).map(list),
    st.dictionaries(st.sampled_from(["callbacks", "errbacks", "chain", "chord", "args", "task"]), values).map(
        lambda options: [[], {}, options]
    ),
    st.dictionaries(st.sampled_from([*GOOD, "args", "kwargs", "eta", "expires", "taskset", "utc"]), values),
    st.binary(max_size=20),
)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, values, max_size=4), bodies, st.booleans())
@example({"id": {}}, [], True)
def test_no_message_at_all_ends_the_consumer(
    queue: Queue, change: dict[str, Any], body: Any, keeps_the_rest: bool
) -> None:
    headers = {**GOOD, **change} if keeps_the_rest else change

    assert queue.receive(headers, body) in ("started", "waits", "refused")
