"""Parent and child hear of each other by letter: whoever dies in between loses nothing, and nobody holds two locks."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4, uuid5

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import ExceptionContext

from sagas import Child, Saga, SagaHandle, SagaStatus, StepStatus
from sagas.engine import CONTROL_QUEUE
from sagas.model import Address, Stop, StopKind, StopRequested, Tick
from sagas.store.database import DEADLOCK_DETECTED
from tests.conftest import Shop
from tests.support import gates, queues, scripted, shapes
from tests.support.bench import Background, Bench
from tests.support.inline import run_messages
from tests.support.programs import briefly
from tests.support.scripted import step
from tests.support.workers import eventually

CANCEL = StopRequested(stop=Stop(kind=StopKind.CANCELLED, reason="changed mind"))
FIRST, SECOND, THIRD = Address(0), Address(1), Address(2)


@pytest.fixture
def quiet_shop(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """An application whose messages are run by the test itself: nobody sweeps, and nobody is quicker than it is."""
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)
    return shop


@pytest.fixture
def rows(quiet_shop: Shop) -> Bench:
    return Bench(quiet_shop.database_url, quiet_shop.sagas.engine.store)


@pytest.fixture
def deadlocks(quiet_shop: Shop) -> list[str]:
    """Every deadlock that PostgreSQL reports to the library."""
    seen: list[str] = []

    def look(context: ExceptionContext) -> None:
        if getattr(context.original_exception, "pgcode", None) == DEADLOCK_DETECTED:
            seen.append(str(context.statement))

    event.listen(quiet_shop.sagas.engine.store.database.engine, "handle_error", look)
    return seen


def run_all(shop: Shop) -> None:
    """Steps and error callbacks, until nothing is on its way."""
    while run_messages(shop.sagas.app) + run_messages(shop.sagas.app, CONTROL_QUEUE):
        pass


def child_of(shop: Shop, rows: Bench, run: SagaHandle) -> SagaHandle:
    ((found,),) = rows.sql("SELECT id FROM {s}.saga_instance WHERE parent_id = %s", run.id)
    return shop.sagas.get(found)


def with_child(shop: Shop, rows: Bench) -> tuple[SagaHandle, SagaHandle]:
    """A parent whose child has been started; the message of the child's first step is out."""
    run = shop.start(shapes.parent)
    assert rows.step(run.id, shapes.parent.plan(shop.sagas.engine)) is SagaStatus.RUNNING
    shop.sagas.engine.loop.handle(run.id, Tick())
    return run, child_of(shop, rows, run)


def complete(shop: Shop, rows: Bench, child: SagaHandle, *steps: Address) -> None:
    """Executions of a child whose process dies with the completion: nothing follows it."""
    for address in steps:
        rows.step(child.id, shapes.payment.plan(shop.sagas.engine), address)


# -- news that is lost


def test_a_childs_end_of_which_nobody_told_is_found_by_the_sweep(quiet_shop: Shop, rows: Bench) -> None:
    run, child = with_child(quiet_shop, rows)
    complete(quiet_shop, rows, child, FIRST, SECOND)
    assert (child.status, run.steps[1].status) == (SagaStatus.COMPLETED, StepStatus.PENDING)

    assert quiet_shop.sagas.sweep() == 1

    assert run.steps[1].status is StepStatus.COMPLETED
    run_all(quiet_shop)
    assert run.status is SagaStatus.COMPLETED


def test_a_childs_undoing_of_which_nobody_told_is_found_by_the_sweep(quiet_shop: Shop, rows: Bench) -> None:
    run, child = with_child(quiet_shop, rows)
    rows.apply(child.id, CANCEL)
    assert (child.status, run.status) == (SagaStatus.COMPENSATED, SagaStatus.RUNNING)

    quiet_shop.sagas.sweep()
    run_all(quiet_shop)

    assert run.status is SagaStatus.COMPENSATED
    assert quiet_shop.effects(run) == ["undo a"]


def test_a_parents_turn_of_which_its_running_child_was_not_told_is_found_by_the_sweep(
    quiet_shop: Shop, rows: Bench
) -> None:
    run, child = with_child(quiet_shop, rows)
    complete(quiet_shop, rows, child, FIRST)
    rows.apply(run.id, CANCEL)
    assert (run.status, child.status) == (SagaStatus.COMPENSATING, SagaStatus.RUNNING)

    quiet_shop.sagas.sweep()
    run_all(quiet_shop)

    assert (run.status, child.status) == (SagaStatus.COMPENSATED, SagaStatus.COMPENSATED)
    assert (quiet_shop.effects(child), quiet_shop.effects(run)) == (["undo pay"], ["undo a"])


def test_a_parents_turn_of_which_its_completed_child_was_not_told_is_found_by_the_sweep(
    quiet_shop: Shop, rows: Bench
) -> None:
    run, child = with_child(quiet_shop, rows)
    complete(quiet_shop, rows, child, FIRST, SECOND)
    rows.apply(run.id, Tick())
    rows.apply(run.id, CANCEL)
    assert (run.status, child.status) == (SagaStatus.COMPENSATING, SagaStatus.COMPLETED)

    quiet_shop.sagas.sweep()
    run_all(quiet_shop)

    assert (run.status, child.status) == (SagaStatus.COMPENSATED, SagaStatus.COMPENSATED)
    assert (quiet_shop.effects(child), quiet_shop.effects(run)) == (["undo book", "undo pay"], ["undo a"])


def test_a_child_that_nobody_looked_at_since_its_birth_is_found_by_the_sweep(quiet_shop: Shop, rows: Bench) -> None:
    run = quiet_shop.start(shapes.parent)
    rows.step(run.id, shapes.parent.plan(quiet_shop.sagas.engine))
    rows.apply(run.id, Tick())
    child = child_of(quiet_shop, rows, run)
    assert (child.status, rows.steps(child.id)) == (SagaStatus.PENDING, [])

    quiet_shop.sagas.sweep()
    run_all(quiet_shop)

    assert (child.status, run.status) == (SagaStatus.COMPLETED, SagaStatus.COMPLETED)


def test_parent_and_child_survive_the_worker_that_runs_them(shop: Shop) -> None:
    first = shop.worker(name="first")
    with briefly(first):
        run = shop.start(shapes.parent, {"book": ["wait:desk"]})
        child = eventually(lambda: child_of_any(shop, run), "the child to be there")
        gates.until_reached(shop.database_url, child, "desk")
        first.kill()
    gates.open_gate(shop.database_url, child, "desk")

    with briefly(shop.worker(name="second")):
        assert run.wait(60) is SagaStatus.COMPLETED
    assert (shop.effects(run), shop.effects(child)) == (["a", "b"], ["pay", "book"])


def child_of_any(shop: Shop, run: SagaHandle) -> SagaHandle | None:
    rows = Bench(shop.database_url, shop.sagas.engine.store)
    found = rows.sql("SELECT id FROM {s}.saga_instance WHERE parent_id = %s", run.id)
    return shop.sagas.get(found[0][0]) if found else None


# -- one child


def test_looks_at_once_start_one_child_whose_id_follows_from_its_parents(quiet_shop: Shop, rows: Bench) -> None:
    run = quiet_shop.start(shapes.parent)
    rows.step(run.id, shapes.parent.plan(quiet_shop.sagas.engine))
    together = threading.Barrier(8)

    def look() -> None:
        together.wait(30)
        quiet_shop.sagas.engine.loop.handle(run.id, Tick())

    for looking in [Background(look) for _ in range(8)]:
        looking.join()

    assert child_of(quiet_shop, rows, run).id == uuid5(run.id, "payment:1")
    run_all(quiet_shop)
    assert run.status is SagaStatus.COMPLETED


def test_a_message_that_comes_twice_starts_one_child(quiet_shop: Shop, rows: Bench) -> None:
    run = quiet_shop.start(shapes.parent)
    (message,) = queues.take_out(quiet_shop.sagas)
    for _ in range(2):
        queues.redeliver(quiet_shop.sagas, message)

    run_all(quiet_shop)

    child = child_of(quiet_shop, rows, run)
    assert (run.status, child.status) == (SagaStatus.COMPLETED, SagaStatus.COMPLETED)
    assert (quiet_shop.effects(run), quiet_shop.effects(child)) == (["a", "b"], ["pay", "book"])


# -- H8: never two locks


@contextmanager
def locked(shop: Shop, run: SagaHandle) -> Iterator[None]:
    """Somebody has this instance's row for a while."""
    with shop.sagas.engine.store.database.transaction() as connection:
        connection.execute(text("SELECT 1 FROM sagas.saga_instance WHERE id = :id FOR UPDATE"), {"id": run.id})
        yield


def test_h8_a_child_ends_while_its_parents_row_is_locked(quiet_shop: Shop, rows: Bench) -> None:
    run, child = with_child(quiet_shop, rows)
    complete(quiet_shop, rows, child, FIRST)
    with locked(quiet_shop, run):
        Background(lambda: complete(quiet_shop, rows, child, SECOND)).join(10)
        assert child.status is SagaStatus.COMPLETED
    quiet_shop.sagas.engine.loop.poke(run.id)
    run_all(quiet_shop)
    assert run.status is SagaStatus.COMPLETED


def test_h8_a_parent_turns_back_while_its_childs_row_is_locked(quiet_shop: Shop, rows: Bench) -> None:
    run, child = with_child(quiet_shop, rows)
    with locked(quiet_shop, child):
        cancel = Background(lambda: run.cancel("changed mind"))
        eventually(lambda: run.status is SagaStatus.COMPENSATING, "the parent to turn back")
    cancel.join(10)
    run_all(quiet_shop)
    assert (run.status, child.status) == (SagaStatus.COMPENSATED, SagaStatus.COMPENSATED)


@pytest.mark.parametrize("how", ["completes", "turns back"])
def test_h8_a_parents_cancel_and_its_childs_end_at_once_never_deadlock(
    quiet_shop: Shop, rows: Bench, deadlocks: list[str], how: str
) -> None:
    for _ in range(25):
        run, child = with_child(quiet_shop, rows)
        complete(quiet_shop, rows, child, FIRST)
        queues.forget_everything(quiet_shop.sagas)
        together = threading.Barrier(3)

        def end(run: SagaHandle = run, child: SagaHandle = child, together: threading.Barrier = together) -> None:
            together.wait(10)
            if how == "completes":
                complete_or_find_it_voided(quiet_shop, rows, child)
                # As a worker does: what was drained is undone, or the parent is told.
                quiet_shop.sagas.engine.loop.poke(child.id, run.id)
            else:
                child.cancel("not this one")

        def cancel(run: SagaHandle = run, together: threading.Barrier = together) -> None:
            together.wait(10)
            run.cancel("changed mind")

        def sweep(together: threading.Barrier = together) -> None:
            together.wait(10)
            quiet_shop.sagas.sweep()

        for going_on in [Background(end), Background(cancel), Background(sweep)]:
            going_on.join(30)
        run_all(quiet_shop)

        assert (run.status, child.status) == (SagaStatus.COMPENSATED, SagaStatus.COMPENSATED)
        assert quiet_shop.effects(run) == ["undo a"]
        assert quiet_shop.effects(child) in (["undo pay"], ["undo book", "undo pay"])
    assert deadlocks == []


def complete_or_find_it_voided(shop: Shop, rows: Bench, child: SagaHandle) -> None:
    token = uuid4()
    if rows.claim(child.id, SECOND, token=token) is not None:
        rows.complete(child.id, shapes.payment.plan(shop.sagas.engine), SECOND, token)


# -- too large


#: 600 kB each: neither the input nor a result is over the limit of 1 MiB.
LARGE = "x" * 600_000
carries = Saga("carries", steps=[step("x", task=scripted.pass_on, compensation=None), Child(shapes.payment)])
carrier = Saga(
    "carrier",
    steps=[
        step("y", task=scripted.pass_on, compensation=None),
        step("z", task=scripted.pass_on_again, compensation=None),
    ],
)
has_carrier = Saga("has-carrier", steps=[step("a"), Child(carrier), step("b")])


@pytest.mark.parametrize("saga", [carries, has_carrier], ids=["input", "results"])
def test_a_child_takes_and_gives_what_was_small_enough_in_its_parts(quiet_shop: Shop, saga: Saga) -> None:
    run = quiet_shop.sagas.start(saga, {"script": {}, "gift": LARGE})

    run_all(quiet_shop)

    assert run.status is SagaStatus.COMPLETED
    assert run.data["passed"] == LARGE
