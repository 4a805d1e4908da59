"""Forged, mangled and old messages: without a claim nothing runs, nothing is lost, and no worker dies of them."""

import base64
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from sagas import SagaHandle, SagaStatus, StepStatus
from sagas.engine import ADDRESS_HEADER, CALLBACK_TASK, SAGA_ID, SWEEP_TASK
from tests.conftest import Shop
from tests.support import gates, journal, scripted
from tests.support.programs import briefly
from tests.support.shapes import queued_elsewhere
from tests.support.workers import Worker, eventually

ACT, UNDO = scripted.act.name, scripted.undo.name
#: What a message says that was sent for nothing.
OPTIONS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@pytest.fixture(scope="module")
def worker(own_shop: Shop) -> Iterator[Worker]:
    """One worker for all of these; it has to be the same one at the end. One sweep in an hour: nothing helps it."""
    started = own_shop.worker("-c", "2", SAGAS_SWEEP_EVERY="3600")
    with briefly(started):
        yield started


@pytest.fixture
def running(own_shop: Shop, worker: Worker) -> Iterator[SagaHandle]:
    """A saga in the middle: its first step is done, the second one waits at a gate. It must end as if nothing was."""
    run = own_shop.start(scripted.three, {"b": ["wait:forger"]})
    gates.until_reached(own_shop.database_url, run, "forger")
    process = worker.pid
    yield run
    gates.open_gate(own_shop.database_url, run, "forger")
    assert run.wait(30) is SagaStatus.COMPLETED
    assert own_shop.effects(run) == ["a", "b", "c"]
    assert worker.process is not None
    assert (worker.process.poll(), worker.pid) == (None, process)


def envelope(body: bytes, headers: Any, **properties: Any) -> dict[str, Any]:
    """A message as kombu's Redis transport keeps it."""
    return {
        "body": base64.b64encode(body).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": headers,
        "properties": {
            "correlation_id": str(uuid4()),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),
        }
        | properties,
    }


def push(shop: Shop, stored: bytes | str, queue: str = "celery") -> None:
    with shop.sagas.app.connection_for_write() as connection:
        connection.default_channel.client.lpush(queue, stored)


def forge(
    shop: Shop,
    task: Any = ACT,
    address: Any = "0.0.0",
    *,
    args: Any = (),
    kwargs: Any = None,
    body: bytes | None = None,
    content_type: Any = "application/json",
    queue: str = "celery",
    **headers: Any,
) -> str:
    """Put a message into the queue that no library of ours has made; returns its task id."""
    task_id = str(uuid4())
    given = {"task": task, "id": task_id, "lang": "py", "root_id": task_id, "argsrepr": "()", "kwargsrepr": "{}"}
    if address is not None:
        given[ADDRESS_HEADER] = address
    whole = body if body is not None else json.dumps([list(args), kwargs or {}, OPTIONS]).encode()
    message = envelope(whole, given | headers) | {"content-type": content_type}
    push(shop, json.dumps(message), queue)
    return task_id


def until_done(worker: Worker, *task_ids: str) -> None:
    """Until the worker has finished these, one way or the other."""
    for task_id in task_ids:
        eventually(lambda task_id=task_id: ends(worker, task_id), f"the end of the message {task_id}")


def ends(worker: Worker, task_id: str) -> bool:
    return any(
        task_id in line
        and any(end in line for end in (" succeeded in ", " raised unexpected: ", " raised expected: ", " retry: "))
        for line in worker.text().splitlines()
    )


def refused(worker: Worker) -> int:
    text = worker.text()
    told = ("Received invalid task message", "Can't decode message body", "unknown message", "unregistered task")
    return sum(text.count(each) for each in told)


def state(shop: Shop, run: SagaHandle) -> Any:
    """All that a forger could have changed."""
    steps = journal.query(
        shop.database_url,
        "SELECT position, round, status, token::text, attempts, dispatches, not_before, error::text "
        "FROM sagas.saga_step WHERE instance_id = %s ORDER BY position, round",
        str(run.id),
    )
    return run.status, steps, [entry.event for entry in run.history()], shop.effects(run)


# -- well-formed, and not what the rows say

OUT_OF_TURN = {
    "a step that runs": (ACT, "1.0.0"),
    "a completed step": (ACT, "0.0.0"),
    "a future position": (ACT, "2.0.0"),
    "a position past the end": (ACT, "7.0.0"),
    "a branch that is not there": (ACT, "1.3.0"),
    "a compensation before its turn": (UNDO, "0.0.1"),
    "a later round of it": (UNDO, "0.0.2"),
    "another task than the step's": (UNDO, "1.0.0"),
    "a task of another saga": (scripted.give.name, "1.0.0"),
    "the largest of addresses": (ACT, "999999999.999999999.999999999"),
}


@pytest.mark.parametrize(("task", "address"), OUT_OF_TURN.values(), ids=OUT_OF_TURN)
def test_a_message_out_of_turn_runs_nothing_and_changes_nothing(
    own_shop: Shop, worker: Worker, running: SagaHandle, task: str, address: str
) -> None:
    before = state(own_shop, running)

    until_done(worker, forge(own_shop, task, address, kwargs={SAGA_ID: str(running.id)}))

    assert state(own_shop, running) == before


def test_a_message_for_another_task_does_not_run_what_has_not_been_claimed_either(
    own_shop: Shop, worker: Worker
) -> None:
    # Given: a step that nobody has claimed, in a queue of its own that this worker does not hear
    run = own_shop.start(queued_elsewhere)
    eventually(lambda: run.steps[0].status is StepStatus.COMPLETED, "the first step")
    before = state(own_shop, run)

    forged = [forge(own_shop, task, "1.0.0", kwargs={SAGA_ID: str(run.id)}) for task in (UNDO, scripted.give.name)]
    until_done(worker, *forged)
    assert state(own_shop, run) == before

    # When: the message is what the row says, it is as good as the library's own: a second delivery of it.
    until_done(worker, forge(own_shop, ACT, "1.0.0", kwargs={SAGA_ID: str(run.id)}))
    assert run.wait(30) is SagaStatus.COMPLETED
    assert own_shop.effects(run) == ["a", "b", "c"]


def test_another_sagas_id_claims_nothing_of_this_one(own_shop: Shop, worker: Worker, running: SagaHandle) -> None:
    done = own_shop.start(scripted.three)
    assert done.wait(30) is SagaStatus.COMPLETED
    before = state(own_shop, running), state(own_shop, done)

    until_done(
        worker,
        forge(own_shop, address="1.0.0", kwargs={SAGA_ID: str(done.id)}, root_id=str(running.id)),
        forge(own_shop, address="0.0.0", kwargs={SAGA_ID: str(uuid4())}),
    )

    assert (state(own_shop, running), state(own_shop, done)) == before
    assert "message without a saga dropped" in worker.text()


ADDRESSES = [
    "",
    "0",
    "0.0",
    "0.0.0.0",
    "-1.0.0",
    "a.b.c",
    "9" * 40 + ".0.0",
    "٠.٠.٠",
    "0.0.0\n",
    [0, 0, 0],
    {"a": 0},
    7,
]


def test_malformed_addresses_are_dropped(own_shop: Shop, worker: Worker, running: SagaHandle) -> None:
    before = state(own_shop, running)

    kwargs = {SAGA_ID: str(running.id)}
    until_done(worker, *[forge(own_shop, address=address, kwargs=kwargs) for address in ADDRESSES])

    assert state(own_shop, running) == before
    assert worker.text().count("malformed saga message dropped") >= len(ADDRESSES)


IDS = [None, "", "42", 42, [], {"id": 1}, "ffffffff-ffff-ffff-ffff", "\x00"]


def test_malformed_ids_are_dropped(own_shop: Shop, worker: Worker, running: SagaHandle) -> None:
    already = worker.text().count("malformed saga message dropped")

    forged = [forge(own_shop, address="1.0.0", kwargs={SAGA_ID: saga_id}) for saga_id in IDS]
    forged += [forge(own_shop, CALLBACK_TASK, None, kwargs={SAGA_ID: saga_id}, queue="sagas") for saga_id in IDS]
    until_done(worker, *forged)

    assert worker.text().count("malformed saga message dropped") == already + 2 * len(IDS)


def test_a_message_without_an_id_is_dropped(own_shop: Shop, worker: Worker, running: SagaHandle) -> None:
    until_done(worker, forge(own_shop, address="1.0.0"), forge(own_shop, address="1.0.0", args=[str(running.id)]))


def test_more_arguments_than_ours_are_not_listened_to(own_shop: Shop, worker: Worker, running: SagaHandle) -> None:
    before = state(own_shop, running)
    more = {SAGA_ID: str(running.id), "script": {"b": ["no"]}, "self": 1, "token": str(uuid4()), "round": 7}

    until_done(worker, forge(own_shop, address="1.0.0", args=[1, 2, {"script": {}}], kwargs=more))

    assert state(own_shop, running) == before


def test_ten_megabytes_are_taken_in_and_dropped(own_shop: Shop, worker: Worker, running: SagaHandle) -> None:
    before = state(own_shop, running)
    large = {SAGA_ID: str(running.id), "script": "x" * 10_000_000}

    until_done(
        worker,
        forge(own_shop, address="1.0.0", kwargs=large),
        forge(own_shop, address="9" * 1_000_000, kwargs=large),
        forge(own_shop, address="1.0.0", kwargs={SAGA_ID: "7" * 10_000_000}),
    )

    assert state(own_shop, running) == before
    assert len(worker.text()) < 5_000_000


def test_callbacks_and_sweeps_that_nobody_sent_only_look(own_shop: Shop, worker: Worker, running: SagaHandle) -> None:
    before = state(own_shop, running)

    until_done(
        worker,
        *(forge(own_shop, CALLBACK_TASK, None, kwargs={SAGA_ID: str(running.id)}, queue="sagas") for _ in range(5)),
        forge(own_shop, CALLBACK_TASK, None, args=[str(running.id)], queue="sagas"),
        forge(own_shop, CALLBACK_TASK, "1.0.0", kwargs={SAGA_ID: str(running.id)}, queue="sagas"),
        forge(own_shop, CALLBACK_TASK, None, kwargs={"wrong": 1}, queue="sagas"),
        forge(own_shop, SWEEP_TASK, None, queue="sagas"),
        forge(own_shop, SWEEP_TASK, None, args=[1, 2], queue="sagas"),
    )

    assert state(own_shop, running) == before


def test_an_unknown_tasks_message_parks_no_step_that_is_not_its_own(own_shop: Shop, worker: Worker) -> None:
    run = own_shop.start(queued_elsewhere)
    eventually(lambda: run.steps[0].status is StepStatus.COMPLETED, "the first step")
    before = state(own_shop, run)

    already = refused(worker)
    for root_id in (str(run.id), "nonsense", None):
        forge(own_shop, "nobodys.task", "1.0.0", kwargs={SAGA_ID: str(run.id)}, root_id=root_id)
    eventually(lambda: refused(worker) >= already + 3, "three refusals")

    # It is asked about in a thread of its own: whatever comes later has waited for that.
    until_done(worker, forge(own_shop, "celery.accumulate", None, args=[1]))
    assert state(own_shop, run) == before
    run.cancel("over")


def test_a_forged_tail_ends_where_it_begins(own_shop: Shop, worker: Worker, running: SagaHandle) -> None:
    before = state(own_shop, running)
    tails: list[Any] = [
        [{}],
        [{"options": None}],
        [{"options": {"headers": {ADDRESS_HEADER: 7}}}],
        [{"task": ACT, "kwargs": {SAGA_ID: str(running.id)}, "options": {"headers": {ADDRESS_HEADER: "2.0.0"}}}],
    ]

    until_done(
        worker,
        *(
            forge(
                own_shop,
                address="0.0.0",
                body=json.dumps([[], {SAGA_ID: str(running.id)}, OPTIONS | {"chain": tail}]).encode(),
            )
            for tail in tails
        ),
    )

    assert state(own_shop, running) == before


# -- no messages at all

SHAPES = [
    b"[1]",
    b"{}",
    b"null",
    b"7",
    b'"abc"',
    b"[]",
    b"[[], {}]",
    b"[[], [], {}]",
    b"[{}, {}, {}]",
    b"[[], {}, [1]]",
]
NOT_JSON = [b"", b"not json", b'[[], {"saga_id": ', b"\xff\xfe\x00", b"\x80\x04K\x01.", b"[" * 100_000]


@pytest.mark.parametrize("task", [ACT, "nobodys.task", None], ids=["a step", "an unknown task", "no task"])
def test_bodies_that_are_none_are_refused_and_the_worker_goes_on(
    own_shop: Shop, worker: Worker, running: SagaHandle, task: str | None
) -> None:
    """Valid JSON of another shape ends a worker that has no sagas, and the next one too (celery#7975)."""
    already = refused(worker)

    for body in (*SHAPES, *NOT_JSON):
        if task is None:
            push(own_shop, json.dumps(envelope(body, {})))
        else:
            forge(own_shop, task, "1.0.0", body=body)

    eventually(lambda: refused(worker) == already + len(SHAPES + NOT_JSON), "all of them to be refused")


HEADERS: list[dict[str, Any]] = [
    {"id": None},
    {"id": ["x"]},
    {"task": [ACT]},
    {"task": None},
    {"timelimit": ["soon", "later"]},
    {"timelimit": [1]},
    {"eta": "tomorrow"},
    {"expires": 7},
    {"stamped_headers": 7},
]
CONTENT_TYPES = ["application/x-python-serialize", "application/x-yaml", "text/plain", "nonsense", None, 7]


def test_headers_and_content_types_that_mean_nothing_are_refused(
    own_shop: Shop, worker: Worker, running: SagaHandle
) -> None:
    already = refused(worker)
    kwargs = {SAGA_ID: str(running.id)}

    for headers in HEADERS:
        forge(own_shop, address="1.0.0", kwargs=kwargs, **headers)
    for content_type in CONTENT_TYPES:
        forge(own_shop, address="1.0.0", kwargs=kwargs, content_type=content_type)

    eventually(lambda: refused(worker) == already + len(HEADERS + CONTENT_TYPES), "all of them to be refused")


def test_what_is_no_message_of_the_transport_costs_a_worker_at_most_and_nothing_is_lost(shop: Shop) -> None:
    """Below Celery: only who writes into Redis by hand can make one. A supervisor starts the worker again."""
    run = shop.start(scripted.three)
    push(shop, "no envelope")
    # The first one ends, or lingers, or goes on; another one is started in any case.
    with briefly(shop.worker(name="doomed")), briefly(shop.worker(name="restarted")):
        assert run.wait(90) is SagaStatus.COMPLETED
    assert shop.effects(run) == ["a", "b", "c"]
