"""Starting: once for a key, whatever the data, and refused in clear words."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

from sagas import (
    InstanceNotFound,
    MissingInput,
    PayloadError,
    PlanChanged,
    Saga,
    SagaStatus,
    StartRefused,
)
from tests.conftest import Shop
from tests.support import scripted
from tests.support.bench import Background
from tests.support.caller import Caller, caller_in
from tests.support.inline import run_messages
from tests.support.workers import ROOT


@pytest.fixture
def caller(shop: Shop) -> Iterator[Caller]:
    with caller_in(shop) as made:
        yield made


def test_start_returns_the_handle_of_a_pending_instance_and_sends_its_chain(caller: Caller) -> None:
    run = caller.start(key="order-1")

    assert (run.saga, run.version, run.key, run.status) == ("three", 1, "order-1", SagaStatus.PENDING)
    assert run.error is None
    assert caller.messages() == 1
    assert caller.shop.sagas.get(run.id) == run
    assert caller.shop.sagas.get(str(run.id)) == run
    assert caller.shop.sagas.find(saga="three", key="order-1") == run
    assert caller.shop.sagas.find(saga="three", key="order-2") is None


def test_a_started_saga_runs(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAS_DATABASE_URL", caller.shop.database_url)
    run = caller.start()

    run_messages(caller.shop.sagas.app)

    assert run.wait(0) is SagaStatus.COMPLETED


SCRIPT = """
import threading
from celery import Celery
from celery import _state as state
from sagas import Sagas
from tests.support import scripted

sagas = Sagas(Celery("mine", broker={broker!r}, set_as_current=False), database={database!r})
assert state.default_app is None
started = []

def start():
    assert getattr(state._tls, "current_app", None) is None
    started.append(scripted.three.start({{"script": {{}}}}, key="from a thread"))
    assert getattr(state._tls, "current_app", None) is None, "the thread's own app was changed"

thread = threading.Thread(target=start)
thread.start()
thread.join()
print(started[0].id)
"""


def test_a_thread_without_a_current_or_default_app_can_start(caller: Caller) -> None:
    script = SCRIPT.format(broker=caller.shop.broker_url, database=caller.shop.database_url)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    run = caller.shop.sagas.get(done.stdout.strip())
    assert run.key == "from a thread"
    assert caller.messages() == 1


def test_the_same_key_again_returns_its_instance_and_starts_nothing(caller: Caller) -> None:
    first = caller.start(key="order-1")

    assert caller.shop.start(scripted.three, {"a": ["other"]}, key="order-1") == first
    assert caller.messages() == 1
    assert first.data == {"script": {}}
    # Another saga's keys are its own
    assert caller.shop.start(scripted.pivoted, key="order-1") != first
    # And without a key each start is one of its own
    assert caller.start() != caller.start()


def test_fifty_starts_of_one_key_at_once_give_one_instance(caller: Caller) -> None:
    together = threading.Barrier(50)

    def start() -> UUID:
        together.wait(30)
        return caller.start(key="order-1").id

    crowd = [Background(start) for _ in range(50)]

    assert len({member.join(60) for member in crowd}) == 1
    assert caller.instances() == 1
    assert caller.messages() == 1


def test_the_data_comes_back_as_it_was(caller: Caller) -> None:
    data = {
        "script": {},
        "total": Decimal("9.90"),
        "id": uuid4(),
        "at": datetime.now(UTC),
        "day": date(2024, 2, 29),
        "text": "ünïcödé ✓ \\u0000 %s {x} :y",
        "nested": [{"none": None, "yes": True, "float": 0.1, "big": 2**70}],
    }

    assert caller.shop.sagas.start(scripted.three, data).data == data


def test_what_is_not_there_is_not_found(caller: Caller) -> None:
    for id_ in (uuid4(), str(uuid4()), "order-1", "", 7):
        with pytest.raises(InstanceNotFound):
            caller.shop.sagas.get(id_)  # type: ignore[arg-type]


# -- refused in clear words


REFUSED_DATA: dict[str, tuple[dict[str, Any], str]] = {
    "an object": ({"script": {}, "who": object()}, r"data\['who'\] is a builtins.object, which cannot be stored"),
    "a set, deep": ({"script": {"a": [1, {2}]}}, r"data\['script'\]\['a'\]\[1\] is a builtins.set"),
    "bytes": ({"script": {}, "raw": b"x"}, r"data\['raw'\] is a builtins.bytes"),
    "a NUL": ({"script": {}, "name": "a\x00b"}, r"data\['name'\] contains a NUL"),
    "a NUL in a key": ({"script": {}, "a\x00": 1}, "key of data contains a NUL"),
    "a surrogate": ({"script": {}, "name": "\ud800"}, r"data\['name'\] contains a lone surrogate"),
    "not a number": ({"script": {}, "n": float("nan")}, r"data\['n'\] is nan"),
    "a number as key": ({"script": {}, "map": {1: 2}}, r"data\['map'\] has the key 1"),
    "too large": ({"script": {}, "big": "x" * (1024 * 1024)}, "the limit is 1048576: store it elsewhere"),
}


@pytest.mark.parametrize(("data", "message"), REFUSED_DATA.values(), ids=REFUSED_DATA)
def test_data_that_cannot_be_stored_is_refused_naming_the_key(
    caller: Caller, data: dict[str, Any], message: str
) -> None:
    with pytest.raises(PayloadError, match=message):
        caller.shop.sagas.start(scripted.three, data)
    assert (caller.instances(), caller.messages()) == (0, 0)


def test_data_that_contains_itself_is_refused(caller: Caller) -> None:
    loop: dict[str, Any] = {"script": {}}
    loop["self"] = loop
    with pytest.raises(PayloadError, match="contains itself"):
        caller.shop.sagas.start(scripted.three, loop)


def test_200_kilobytes_are_no_trouble(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAS_DATABASE_URL", caller.shop.database_url)
    run = caller.shop.sagas.start(scripted.three, {"script": {}, "blob": "ä" * 100_000})

    run_messages(caller.shop.sagas.app)

    assert run.status is SagaStatus.COMPLETED
    assert len(run.data["blob"]) == 100_000


@pytest.mark.parametrize("key", ["", "x" * 513, "a\x00b", 7, b"k"])
def test_a_key_that_cannot_be_one_is_refused(caller: Caller, key: Any) -> None:
    with pytest.raises(StartRefused, match="must be text of 1 to 512 characters"):
        caller.start(key=key)


def test_an_awkward_key_is_kept_as_it_is(caller: Caller) -> None:
    for key in ("x" * 512, "a'b\"c", "%s {x} :y", "ключ ✓", " "):
        assert caller.start(key=key).key == key


def test_what_a_step_needs_and_nothing_gives_is_refused_naming_step_and_parameter(caller: Caller) -> None:
    with pytest.raises(MissingInput, match=r"saga 'three': the step 'a' requires 'script'.*add it to the input"):
        caller.shop.sagas.start(scripted.three, {"other": 1})
    with pytest.raises(StartRefused, match="must be a mapping"):
        caller.shop.sagas.start(scripted.three, [("script", {})])  # type: ignore[arg-type]


def test_a_session_and_a_connection_are_one_too_many(caller: Caller) -> None:
    with Session(caller.engine) as session, pytest.raises(StartRefused, match="not both"):
        caller.start(session=session, connection=session.connection())


# -- deadlines


@pytest.mark.parametrize("deadline", [30, 30.0, timedelta(seconds=30)])
def test_a_deadline_in_seconds_is_kept_as_such(caller: Caller, deadline: Any) -> None:
    run = caller.start(deadline=deadline)

    row = caller.shop.sagas.engine.store.instances.read(run.id)
    assert row is not None
    assert (row.deadline, row.deadline_seconds) == (None, 30.0)


def test_a_deadline_may_be_a_moment_in_any_time_zone(caller: Caller) -> None:
    moment = datetime(2040, 1, 1, 12, tzinfo=datetime.now().astimezone().tzinfo)

    row = caller.shop.sagas.engine.store.instances.read(caller.start(deadline=moment).id)
    assert row is not None
    assert row.deadline == moment


@pytest.mark.parametrize(
    "deadline", [0, -1, float("inf"), float("nan"), True, "soon", timedelta(0), datetime(2040, 1, 1), date(2040, 1, 1)]
)
def test_a_deadline_that_cannot_be_one_is_refused(caller: Caller, deadline: Any) -> None:
    with pytest.raises(StartRefused, match="deadline="):
        caller.start(deadline=deadline)


# -- versions


def changed(version: int) -> Saga:
    return Saga("three", version=version, steps=[scripted.step("a"), scripted.step("new")])


def test_m8_other_steps_under_the_same_version_are_refused_with_the_count_in_flight(caller: Caller) -> None:
    runs = [caller.start() for _ in range(3)]

    with pytest.raises(PlanChanged, match=r"than the 3 instances in flight were started with: raise version=2"):
        caller.shop.start(changed(1))

    assert caller.instances() == len(runs)


def test_m8_workers_go_on_with_the_plan_that_an_instance_started_with(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGAS_DATABASE_URL", caller.shop.database_url)
    old = caller.start()
    new = caller.shop.start(changed(2))
    with pytest.raises(PlanChanged):
        caller.shop.start(changed(1))

    run_messages(caller.shop.sagas.app)

    assert (old.status, new.status) == (SagaStatus.COMPLETED, SagaStatus.COMPLETED)
    assert caller.shop.effects(old) == ["a", "b", "c"]
    assert caller.shop.effects(new) == ["a", "new"]
    assert (old.version, new.version) == (1, 2)


def test_m8_when_nothing_is_in_flight_any_more_a_changed_plan_may_keep_its_version(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGAS_DATABASE_URL", caller.shop.database_url)
    caller.start()
    run_messages(caller.shop.sagas.app)

    assert caller.shop.start(changed(1)).status is SagaStatus.PENDING
