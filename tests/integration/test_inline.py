"""`sagas.testing.inline`: real sagas in the test's own thread, whether or not there is a broker."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import current_task, shared_task
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from sagas import InstanceNotFound, Pivot, Retriable, Retry, Saga, SagaHandle, Sagas, SagaStatus, Step, current_step
from sagas.testing import inline
from tests.conftest import EmbeddedPostgres, GivenPostgres
from tests.support import gates, journal, scripted
from tests.support.application import make
from tests.support.inline import empty_memory

#: Nobody listens there.
NOWHERE = "redis://127.0.0.1:1/0"


@dataclass
class Test:
    """What an application's own test has: its Sagas, and no worker."""

    __test__ = False

    sagas: Sagas
    database_url: str
    seen: list[Any] = field(default_factory=list)

    def start(self, saga: Saga, script: dict[str, Any] | None = None, **options: Any) -> SagaHandle:
        return self.sagas.start(saga, {"script": script or {}}, **options)

    def effects(self, run: SagaHandle) -> list[str]:
        return journal.effects(self.database_url, run.id)


@pytest.fixture(scope="module")
def url(postgres: EmbeddedPostgres | GivenPostgres) -> Iterator[str]:
    made = postgres.create_database(f"test_{uuid4().hex}")
    sagas = make("memory://", made)
    sagas.migrate()
    sagas.engine.store.database.dispose()
    journal.create(made)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SAGAS_DATABASE_URL", made)  # where the steps' journal is
        yield made


@pytest.fixture(params=["memory://", NOWHERE], ids=["memory", "no broker"], scope="module")
def anywhere(request: pytest.FixtureRequest, url: str) -> Iterator[Test]:
    sagas = make(request.param, url)
    yield Test(sagas, url)
    sagas.engine.store.database.dispose()


@pytest.fixture
def test(url: str) -> Iterator[Test]:
    sagas = make(NOWHERE, url)
    yield Test(sagas, url)
    sagas.engine.store.database.dispose()


PATIENT = Retry(max_attempts=3, on=(Exception,), backoff=600, jitter=0)
patient = Saga(
    "patient",
    steps=[
        Step(scripted.act, name="a", compensation=scripted.undo, retry=PATIENT, compensation_retry=PATIENT),
        Pivot(scripted.act, name="p"),
        Retriable(scripted.act, name="r", retry=PATIENT),
    ],
)
#: Nothing provides what its second step requires.
hopeless = Saga(
    "hopeless",
    steps=[Step(scripted.act, name="a", compensation=None), Step(scripted.demand, compensation=None)],
)


# -- what happens in the block and at its end


def test_a_saga_runs_to_its_end_at_the_end_of_the_block(anywhere: Test) -> None:
    with inline(anywhere.sagas) as caught:
        run = anywhere.start(scripted.three)
        assert (run.status, anywhere.effects(run)) == (SagaStatus.PENDING, [])

    assert run.status is SagaStatus.COMPLETED
    assert anywhere.effects(run) == ["a", "b", "c"]
    assert caught.instances == [run.id]


def test_a_saga_is_undone_at_the_end_of_the_block(anywhere: Test) -> None:
    with inline(anywhere.sagas):
        run = anywhere.start(scripted.five, {"d": ["flaky", "no"], "undo b": ["flaky"]})

    assert run.status is SagaStatus.COMPENSATED
    assert anywhere.effects(run) == ["a", "b", "c", "undo d", "undo c", "undo b", "undo a"]


def test_a_chain_longer_than_its_window_runs_to_its_end(anywhere: Test) -> None:
    with inline(anywhere.sagas):
        run = anywhere.start(scripted.ten, {"s9": ["no"]})

    assert run.status is SagaStatus.COMPENSATED
    assert len(anywhere.effects(run)) == 18


def test_it_can_be_run_earlier_and_says_what_ran(test: Test) -> None:
    with inline(test.sagas) as caught:
        run = test.start(scripted.three, {"b": ["no"]})
        ran = caught.run()
        assert run.status is SagaStatus.COMPENSATED
        assert caught.run() == []

    act, undo = "tests.support.scripted.act", "tests.support.scripted.undo"
    assert [name for name in ran if name != "sagas.on_error"] == [act, act, undo]


@pytest.mark.parametrize("line", ["a", "r", "undo a"])
def test_nobody_waits_for_a_backoff_of_minutes(test: Test, line: str) -> None:
    script: dict[str, Any] = {line: ["flaky", "flaky"]} | ({"p": ["no"]} if line == "undo a" else {})

    with inline(test.sagas):
        run = test.start(patient, script)

    assert run.status is (SagaStatus.COMPENSATED if line == "undo a" else SagaStatus.COMPLETED)
    step = {step.name: step for step in run.steps}[line.removeprefix("undo ")]
    undone = step.compensation
    assert (undone.attempts if undone else step.attempts) == 3


def test_what_needs_a_person_ends_failed_and_goes_on_when_it_is_told_to_in_another_block(test: Test) -> None:
    with inline(test.sagas):
        run = test.start(scripted.pivoted, {"r": "broken:carrier"})
    assert run.status is SagaStatus.FAILED

    gates.open_gate(test.database_url, run, "carrier")
    with inline(test.sagas) as caught:
        run.retry("repaired")

    assert run.status is SagaStatus.COMPLETED
    assert caught.instances == [run.id]


def test_what_is_cancelled_in_the_block_is_undone(test: Test) -> None:
    with inline(test.sagas) as caught:
        done, cancelled = test.start(scripted.three), test.start(scripted.three)
        cancelled.cancel("changed mind")

    assert (done.status, cancelled.status) == (SagaStatus.COMPLETED, SagaStatus.COMPENSATED)
    assert caught.instances == [done.id, cancelled.id]


def test_what_would_never_end_fails_the_test_with_its_timeline(test: Test) -> None:
    with pytest.raises(AssertionError, match=r"did not end after \d+ waits:\n") as failed, inline(test.sagas):
        run = test.start(hopeless)

    told = str(failed.value)
    assert str(run.id) in told
    assert "parked" in told
    assert "requires 'signature'" in told
    assert is_restored(test.sagas)


# -- several


def test_several_sagas_in_one_block_all_run(test: Test) -> None:
    with inline(test.sagas):
        runs = [test.start(scripted.three), test.start(scripted.three, {"c": ["no"]}), test.start(scripted.pivoted)]

    assert [run.status.value for run in runs] == ["completed", "compensated", "completed"]


inner: list[SagaHandle] = []


@shared_task
def start_another(script: dict[str, Any]) -> None:
    """A step that starts a saga."""
    inner.append(current_task.app.sagas.start(scripted.three, {"script": script}))


def test_a_saga_that_a_step_starts_runs_too(test: Test) -> None:
    parent = Saga("parent", steps=[Step(start_another, compensation=None), scripted.step("after")])

    with inline(test.sagas) as caught:
        run = test.start(parent, {"b": ["no"]})

    child = inner.pop()
    assert (run.status, child.status) == (SagaStatus.COMPLETED, SagaStatus.COMPENSATED)
    assert caught.instances == [run.id, child.id]


def test_a_block_within_a_block_runs_its_own(test: Test) -> None:
    with inline(test.sagas) as outer:
        one = test.start(scripted.three)
        with inline(test.sagas) as within:
            two = test.start(scripted.three)
        assert (one.status, two.status) == (SagaStatus.PENDING, SagaStatus.COMPLETED)
        three = test.start(scripted.three)

    assert (outer.instances, within.instances) == ([one.id, three.id], [two.id])
    assert [one.status, three.status] == [SagaStatus.COMPLETED] * 2
    assert is_restored(test.sagas)


# -- when the block raises


def is_restored(sagas: Sagas) -> bool:
    """Nothing of a block is left in the application."""
    return "inline" not in f"{sagas.app.amqp.send_task_message} {sagas.engine.impatient_sender.send}"


def test_a_block_that_raises_runs_nothing_and_leaves_nothing(test: Test) -> None:
    runs = []

    def block() -> None:
        with inline(test.sagas):
            runs.append(test.start(scripted.three))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        block()

    assert is_restored(test.sagas)
    with inline(test.sagas) as later:
        other = test.start(scripted.three)
    assert (runs[0].status, other.status) == (SagaStatus.PENDING, SagaStatus.COMPLETED)
    assert later.instances == [other.id]


def test_a_step_that_exits_its_process_is_run_again(test: Test) -> None:
    """As another worker would."""
    with inline(test.sagas):
        run = test.start(scripted.three, {"b": ["exit"], "c": ["exit", "no"], "undo b": ["exit"]})

    assert run.status is SagaStatus.COMPENSATED
    assert [step.losses for step in run.steps] == [0, 1, 1]
    assert test.effects(run) == ["a", "b", "undo c", "undo b", "undo a"]


def test_a_step_that_always_exits_is_given_up(test: Test) -> None:
    with inline(test.sagas):
        run = test.start(scripted.three, {"b": "exit"})

    assert run.status is SagaStatus.COMPENSATED


def test_whoever_interrupts_the_test_gets_out_at_once(test: Test) -> None:
    with pytest.raises(KeyboardInterrupt), inline(test.sagas):
        run = test.start(scripted.three, {"b": ["raise:interrupt"]})

    assert is_restored(test.sagas)
    assert test.effects(run) == ["a"]
    assert not current_task


# -- transactions


@pytest.fixture
def session(url: str) -> Iterator[Session]:
    engine = create_engine(url)
    with Session(engine) as made:
        yield made
    engine.dispose()


def test_what_a_session_commits_in_the_block_runs(test: Test, session: Session) -> None:
    with inline(test.sagas):
        run = test.start(scripted.three, session=session)
        session.commit()

    assert run.status is SagaStatus.COMPLETED


def test_what_a_session_does_not_commit_does_not_run(test: Test, session: Session) -> None:
    with inline(test.sagas) as caught:
        rolled_back = test.start(scripted.three, session=session)
        session.rollback()
        still_open = test.start(scripted.three, session=session)

    assert caught.instances == []
    for run in (rolled_back, still_open):
        with pytest.raises(InstanceNotFound):
            _ = run.status


def test_what_a_connection_commits_in_the_block_runs(test: Test, session: Session) -> None:
    for _ in range(5):
        with inline(test.sagas), session.connection().engine.begin() as connection:
            runs = [test.start(scripted.three, connection=connection) for _ in range(2)]

        assert [run.status for run in runs] == [SagaStatus.COMPLETED] * 2


def test_what_is_committed_on_an_event_loop_runs(test: Test, session: Session) -> None:
    async def in_a_test() -> None:
        for _ in range(5):
            with inline(test.sagas):
                run = test.start(scripted.three, session=session)
                session.commit()

            assert run.status is SagaStatus.COMPLETED

    asyncio.run(in_a_test())


# -- like a worker, and not


@shared_task
def look_around(script: dict[str, Any]) -> dict[str, Any]:
    current_step.connection.execute(text("SELECT 1"))
    return {
        "thread": threading.current_thread().name,
        "task": current_task.request.id,
        "root": current_task.request.root_id,
        "attempt": current_step.attempt,
    }


def test_steps_run_in_the_tests_own_thread_and_see_their_own_request(test: Test) -> None:
    looking = Saga("looking", steps=[Step(look_around, compensation=None)])

    with inline(test.sagas):
        run = test.start(looking)

    seen = run.data
    assert (seen["thread"], seen["attempt"]) == (threading.current_thread().name, 1)
    assert (seen["root"], seen["task"] is not None) == (str(run.id), True)


def test_queues_of_their_own_make_no_difference(url: str) -> None:
    sagas = make(NOWHERE, url)
    sagas.app.conf.task_routes = {"tests.support.scripted.act": {"queue": "slow"}}
    here = Test(sagas, url)

    with inline(sagas):
        run = here.start(scripted.three, {"c": ["no"]})

    assert run.status is SagaStatus.COMPENSATED
    sagas.engine.store.database.dispose()


def test_a_broker_that_was_away_a_moment_ago_makes_no_difference(test: Test) -> None:
    before = test.start(scripted.three)  # nobody listens: for a while the library does not even try

    with inline(test.sagas):
        run = test.start(scripted.three)

    assert (before.status, run.status) == (SagaStatus.PENDING, SagaStatus.COMPLETED)


@shared_task
def plain(saga_id: str = "") -> str:
    """No step: whoever calls it wants it to be run by a worker."""
    return saga_id


def test_other_tasks_go_to_the_broker_untouched(url: str, tmp_path: Path) -> None:
    sagas = make("memory://", url)
    here = Test(sagas, url)

    with inline(sagas) as caught:
        run = here.start(scripted.three)
        with sagas.app.connection_for_write() as connection:
            empty_memory()
            for saga_id in ("", "no uuid", str(run.id), str(uuid4())):
                sagas.app.tasks[plain.name].apply_async(kwargs={"saga_id": saga_id}, connection=connection)
            queue = connection.SimpleQueue("celery")
            sent = [queue.get(block=False).payload[1]["saga_id"] for _ in range(queue.qsize())]
            queue.close()

    assert sent == ["", "no uuid", str(run.id), sent[3]]
    assert (caught.instances, run.status) == ([run.id], SagaStatus.COMPLETED)
    sagas.engine.store.database.dispose()
