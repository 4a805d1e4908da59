"""One look at an instance fits together, whatever goes on meanwhile; and whoever watches sees every change once."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from sagas import InstanceNotFound, SagaHandle, SagaStatus, StepStatus
from sagas.model import Address, ErrorInfo, Failed, Plan, Tick, Verdict
from sagas.store import Store, Timing
from tests.conftest import Shop
from tests.support import scripted
from tests.support.bench import Bench

SECRET = "4929 1234 5678 9012"
NOBODY = UUID(int=0)


@dataclass
class Desk:
    """One instance of `scripted.three`, moved on by hand over other connections than those that look at it."""

    shop: Shop
    run: SagaHandle
    rows: Bench
    plan: Plan
    token: UUID = field(default_factory=uuid4)
    listening: list[Callable[..., None]] = field(default_factory=list)

    def claim(self, position: int) -> None:
        assert self.rows.claim(self.run.id, Address(position), token=self.token) is not None

    def complete(self, position: int, result: str | None = None) -> None:
        assert self.rows.complete(self.run.id, self.plan, Address(position), self.token, result) is not None

    def fail(self, position: int, message: str) -> None:
        error = ErrorInfo(type="shop.Declined", message=message, traceback=message, step="x")
        said_no = Failed(address=Address(position), token=self.token, error=error, verdict=Verdict.CLEAN_NO)
        self.rows.apply(self.run.id, said_no)
        self.rows.apply(self.run.id, Tick())

    def statements(self) -> list[str]:
        """What the handle asks from now on."""
        asked: list[str] = []
        self.before_each(lambda statement: asked.append(statement))
        return asked

    def before_each(self, do: Callable[[str], None]) -> None:
        def about_to_ask(_: object, __: object, statement: str, *___: object) -> None:
            do(statement)

        event.listen(self.shop.sagas.engine.store.database.engine, "before_cursor_execute", about_to_ask)
        self.listening.append(about_to_ask)

    def just_before(self, table: str, *acts: Callable[[], None]) -> None:
        """While a look is on its way to a table, something happens; the next look meets the next one."""
        waiting = list(acts)

        def meet(statement: str) -> None:
            if waiting and f"FROM sagas.{table}" in statement.replace('"', "").replace("\n", " "):
                waiting.pop(0)()

        self.before_each(meet)


@pytest.fixture(scope="module")
def rows(own_shop: Shop) -> Iterator[Bench]:
    made = Bench(own_shop.database_url, Store(own_shop.database_url, "sagas", Timing()))
    yield made
    made.close()


@pytest.fixture
def desk(own_shop: Shop, rows: Bench) -> Iterator[Desk]:
    run = own_shop.sagas.start(scripted.three, {"script": {}, "card": SECRET}, key=f"order-{uuid4()}")
    made = Desk(own_shop, run, rows, scripted.three.plan(own_shop.sagas.engine))
    yield made
    for listener in made.listening:
        event.remove(own_shop.sagas.engine.store.database.engine, "before_cursor_execute", listener)


# -- one look


def test_a_look_shows_no_step_further_than_its_instance(desk: Desk) -> None:
    for position in (0, 1):
        desk.claim(position)
        desk.complete(position)
    desk.claim(2)
    # When: the last step completes between the look at the instance and that at its steps
    desk.just_before("saga_step", lambda: desk.complete(2))

    during, after = desk.run.snapshot(), desk.run.snapshot()

    assert (during.status, during.steps[2].status) == (SagaStatus.RUNNING, StepStatus.RUNNING)
    assert (after.status, after.steps[2].status) == (SagaStatus.COMPLETED, StepStatus.COMPLETED)
    assert (during.finished_at, after.finished_at is None) == (None, False)


def test_a_look_shows_no_event_later_than_its_steps(desk: Desk) -> None:
    desk.claim(0)
    desk.just_before("saga_event", lambda: desk.fail(0, "no"))

    during, after = desk.run.snapshot(history=True), desk.run.snapshot(history=True)

    assert (during.status, during.steps[0].status) == (SagaStatus.RUNNING, StepStatus.RUNNING)
    assert [entry.event for entry in during.history] == ["started", "step_started"]
    assert "attempt_failed" in [entry.event for entry in after.history]


@pytest.mark.parametrize("face", ["status", "progress", "timeline"])
def test_every_face_of_a_handle_is_one_such_look(desk: Desk, face: str) -> None:
    desk.just_before("saga_step", lambda: desk.claim(0))
    looks: dict[str, Callable[[], str]] = {
        "status": lambda: desk.run.status.value,
        "progress": lambda: str(desk.run.progress()["status"]),
        "timeline": lambda: desk.run.timeline().splitlines()[0].split()[-1].lower(),
    }

    assert [looks[face](), looks[face]()] == ["pending", "running"]


def test_a_look_is_one_transaction_of_three_statements_and_of_four_with_its_history(desk: Desk) -> None:
    asked = desk.statements()

    desk.run.progress()
    assert len(asked) == 3 + 2, asked  # it begins and ends by a statement
    asked.clear()
    desk.run.timeline()
    assert len(asked) == 4 + 2, asked


def test_what_is_read_off_a_snapshot_asks_no_more(desk: Desk) -> None:
    seen = desk.run.snapshot(history=True)
    asked = desk.statements()

    _ = seen.id, seen.saga, seen.version, seen.key, seen.status, seen.data, seen.error, seen.steps, seen.history
    _ = seen.progress(), seen.timeline()

    assert asked == []


def test_a_snapshot_stays_as_it_was(desk: Desk) -> None:
    before = desk.run.snapshot()

    desk.claim(0)
    desk.complete(0)

    assert (before.status, before.steps[0].status) == (SagaStatus.PENDING, StepStatus.PENDING)
    assert desk.run.steps[0].status is StepStatus.COMPLETED


# -- progress


def test_progress_is_ready_for_json_and_says_how_far_it_is(desk: Desk) -> None:
    desk.claim(0)
    desk.complete(0)
    desk.claim(1)

    progress = json.loads(json.dumps(desk.run.progress()))

    assert progress.pop("started_at").endswith("+00:00")
    assert progress.pop("key").startswith("order-")
    assert progress == {
        "id": str(desk.run.id),
        "saga": "three",
        "status": "running",
        "ended": False,
        "finished_at": None,
        "steps": [
            {"name": "a", "status": "completed"},
            {"name": "b", "status": "running"},
            {"name": "c", "status": "pending"},
        ],
    }


def test_progress_shows_no_data_no_result_and_no_error(desk: Desk) -> None:
    desk.claim(0)
    desk.complete(0, json.dumps({"paid_with": SECRET}))
    desk.claim(1)
    desk.fail(1, f"declined: {SECRET}")
    assert SECRET in str(desk.run.data)
    assert SECRET in str(desk.run.error)

    assert SECRET not in json.dumps(desk.run.progress())
    assert [step["status"] for step in desk.run.progress()["steps"]] == ["compensating", "failed", "skipped"]


def test_progress_of_what_has_ended_says_when(desk: Desk) -> None:
    for position in range(3):
        desk.claim(position)
        desk.complete(position)

    progress = desk.run.progress()

    assert (progress["status"], progress["ended"]) == ("completed", True)
    assert progress["finished_at"] >= progress["started_at"]


# -- watching


def test_watch_tells_every_change_once_and_ends_with_the_saga(desk: Desk) -> None:
    # Given: something happens only when it has been looked at in vain several times
    acts = [
        act
        for position in range(3)
        for act in (lambda at=position: desk.claim(at), lambda at=position: desk.complete(at))
    ]
    looks = 0

    def looked(statement: str) -> None:
        nonlocal looks
        looks += statement.startswith("SET TRANSACTION")
        if looks == 4 and acts:
            looks = 0
            acts.pop(0)()

    desk.before_each(looked)

    seen = [[step["status"] for step in progress["steps"]] for progress in desk.run.watch(every=0.001)]

    assert seen == [
        ["pending", "pending", "pending"],
        ["running", "pending", "pending"],
        ["completed", "pending", "pending"],
        ["completed", "running", "pending"],
        ["completed", "completed", "pending"],
        ["completed", "completed", "running"],
        ["completed", "completed", "completed"],
    ]


def test_watch_of_what_has_ended_tells_that_and_ends(desk: Desk) -> None:
    desk.run.cancel("changed mind")

    (only,) = desk.run.watch(every=60)

    assert (only["status"], only["ended"]) == ("compensated", True)


def test_watch_ends_when_its_time_is_over(desk: Desk) -> None:
    assert [progress["status"] for progress in desk.run.watch(timeout=0.1, every=0.01)] == ["pending"]
    assert [progress["status"] for progress in desk.run.watch(timeout=0)] == ["pending"]


def test_watch_tells_what_changes_until_its_time_is_over_however_rarely_it_looks(desk: Desk) -> None:
    began = time.monotonic()
    watching = desk.run.watch(timeout=1, every=60)
    first = next(watching)

    desk.claim(0)

    assert [first["status"], *(progress["status"] for progress in watching)] == ["pending", "running"]
    assert time.monotonic() - began < 30


def test_watch_is_not_confused_by_what_is_done_to_its_answers(desk: Desk) -> None:
    """A page adds links of its own to them."""
    seen = []
    for progress in desk.run.watch(timeout=0.1, every=0.01):
        progress["url"] = "/orders/7"
        progress["steps"].clear()
        seen.append(progress)

    assert len(seen) == 1


# -- not there


@pytest.mark.parametrize("look", ["snapshot", "progress", "timeline", "history"])
def test_what_is_not_there_is_said_to_be_not_there(own_shop: Shop, look: str) -> None:
    with pytest.raises(InstanceNotFound, match=f"no saga instance {NOBODY} .* rolled back, purged or is not"):
        getattr(SagaHandle(own_shop.sagas.engine, NOBODY), look)()


def test_watching_what_is_not_there_says_so_too(desk: Desk) -> None:
    with pytest.raises(InstanceNotFound):
        next(SagaHandle(desk.shop.sagas.engine, NOBODY).watch())


def test_what_is_not_committed_yet_is_not_there_yet(desk: Desk) -> None:
    engine = desk.shop.sagas.engine.store.database.engine
    with Session(engine.execution_options(isolation_level="READ COMMITTED")) as session:
        run = desk.shop.start(scripted.three, session=session)
        with pytest.raises(InstanceNotFound):
            run.progress()
        session.commit()

    assert run.progress()["status"] == "pending"


def test_what_is_deleted_while_it_is_watched_ends_the_watch_with_an_error(desk: Desk) -> None:
    watching = desk.run.watch(every=0.001)
    next(watching)

    desk.rows.sql("DELETE FROM {s}.saga_instance WHERE id = %s", desk.run.id)

    with pytest.raises(InstanceNotFound):
        next(watching)
