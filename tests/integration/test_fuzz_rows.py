"""Rows that somebody has edited by hand: whatever the checks allow, the sweep survives it, and the others go on."""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg2 import DatabaseError
from psycopg2.extensions import AsIs

from config.servers import EmbeddedPostgres
from sagas import RowDamaged, SagaError, SagaHandle, Sagas, SagaStatus
from sagas.cli import sagas as commands
from tests.conftest import GivenPostgres
from tests.support import journal
from tests.support.application import make
from tests.support.commands import runner
from tests.support.inline import empty_memory, run_messages
from tests.support.scripted import three
from tests.support.shapes import beside, first_waits, locking, parent

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
words = text | st.sampled_from(["", "pending", "a", "nobodys.task", "celery", "sagas", "x" * 3000])
whole = st.integers(-(2**31), 2**31 - 1) | st.integers(-2, 5)
reals = st.floats() | st.sampled_from([0.0, -1.0, 1e308, 1e-300])
moments = st.sampled_from(
    [
        *("infinity", "-infinity", "4713-01-01 00:00:00+00 BC", "0001-01-01 00:00:00+00", "294276-12-31 23:59:59+00"),
        *(
            "9999-12-31 23:59:59.999999-12",
            "10000-01-01 00:00:00+00",
            "1970-01-01 00:00:00+00",
            "2040-02-29 00:00:00+00",
        ),
    ]
) | st.just(AsIs("clock_timestamp()"))
TAGS = ["$decimal", "$secret", "$escaped", "$timedelta", "steps"]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            text | st.sampled_from(["$decimal", "$secret", "$escaped", "$timedelta", "steps"]), inner, max_size=3
        )
    ),
    max_leaves=6,
).map(lambda value: json.dumps(value))
ids = st.builds(lambda: str(uuid4()))
TOKEN = str(uuid4())
flags = st.booleans()

INSTANCE: dict[str, st.SearchStrategy[Any]] = {
    "saga": words,
    "version": whole,
    "key": words | st.none(),
    "current": flags,
    "status": st.sampled_from(["pending", "running", "completed", "compensating", "compensated", "failed"]),
    "plan": values,
    "plan_hash": words | ids,
    "data": values,
    "error": values | st.none(),
    "stop": values | st.none(),
    "deadline": moments | st.none(),
    "deadline_seconds": reals | st.none(),
    "due_at": moments | st.none(),
    "pending": whole,
    "parent_id": ids | st.none(),
    "written": values | st.none(),
    "headers": values | st.none(),
    "created_at": moments,
    "updated_at": moments,
    "finished_at": moments | st.none(),
}
STEP: dict[str, st.SearchStrategy[Any]] = {
    "position": whole,
    "branch": whole,
    "round": whole,
    "lane": whole,
    "name": words,
    "task": words | st.none(),
    "queue": words | st.none(),
    "timeout": reals,
    "status": st.sampled_from(["pending", "running", "completed", "failed", "skipped"]),
    "token": ids | st.none(),
    "worker_id": ids | st.none(),
    "delivery": words | st.none(),
    "attempts": whole,
    "losses": whole,
    "doubt": flags,
    "stray": flags,
    "dispatches": whole,
    "epoch": ids | st.none(),
    "created_at": moments,
    "dispatched_at": moments | st.none(),
    "not_before": moments | st.none(),
    "claimed_at": moments | st.none(),
    "first_claimed_at": moments | st.none(),
    "finished_at": moments | st.none(),
    "result": values | st.none(),
    "error": values | st.none(),
}


def change_of(columns: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Some columns, each with a value that its type allows."""
    chosen = st.lists(st.sampled_from(sorted(columns)), min_size=1, max_size=3, unique=True)
    return chosen.flatmap(lambda names: st.fixed_dictionaries({name: columns[name] for name in names}))


@pytest.fixture(scope="module")
def sagas(postgres: EmbeddedPostgres | GivenPostgres) -> Iterator[Sagas]:
    """An application whose messages stay in this process."""
    url = postgres.create_database(f"test_{uuid4().hex}")
    empty_memory()
    made = make("memory://", url)
    made.migrate()
    journal.create(url)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SAGAS_DATABASE_URL", url)
        yield made
    made.engine.store.database.dispose()


def sql(sagas: Sagas, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    return journal.query(sagas.engine.store.database.url.render_as_string(False), statement, *parameters)


def edit(sagas: Sagas, run: SagaHandle, table: str, change: dict[str, Any]) -> bool:
    """False: the database refuses it."""
    where = "id" if table == "saga_instance" else "instance_id"
    assigned = ", ".join(f"{name} = %s" for name in change)
    try:
        sql(sagas, f"UPDATE sagas.{table} SET {assigned} WHERE {where} = %s", *change.values(), str(run.id))
    except DatabaseError:
        return False
    return True


STAGES: dict[str, tuple[Any, dict[str, Any], int]] = {
    "started": (three, {}, 0),
    "in the middle": (three, {"b": ["flaky", "flaky"]}, 2),
    "turned back": (three, {"c": ["no"], "undo b": "flaky"}, 4),
    "ended": (three, {}, 5),
    "side by side": (beside, {}, 2),
    "with a child": (parent, {}, 2),
    "locked": (locking, {}, 1),
}


def brought_to(sagas: Sagas, stage: str) -> SagaHandle:
    saga, script, messages = STAGES[stage]
    run = sagas.start(saga, {"script": script, "account": str(uuid4())})
    for _ in range(messages):
        run_messages(sagas.app)
        sagas.engine.store.sweeping.hasten(run.id)
    return run


def looks(sagas: Sagas, run: SagaHandle) -> None:
    """Every way to look at it shows it, or says what is wrong; none fails in another way."""
    for look in (
        lambda: run.timeline(),
        lambda: run.status,
        lambda: run.data,
        lambda: run.steps,
        lambda: run.error,
        lambda: run.progress(),
        lambda: run.history(),
        lambda: run.snapshot().needs_a_person,
        lambda: sagas.graph(run),
        lambda: sagas.graph(run, format="svg"),
        lambda: run.cancel("over"),
        lambda: run.retry("again"),
        lambda: run.resolve("by hand"),
        lambda: run.skip("over"),
        lambda: run.signal("go", {"x": 1}),
    ):
        with suppress(SagaError):
            look()
    for command in ("show ID", "show ID --json", "graph ID", "manual", "list", "list --json"):
        done = runner().invoke(commands, command.replace("ID", str(run.id)).split(), obj=sagas)
        assert done.exit_code in (0, 1), (command, done.output, done.exception)
        assert done.exit_code == 0 or done.output.startswith("Error: "), (command, repr(done.exception))


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(
    stage=st.sampled_from(sorted(STAGES)),
    of_instance=change_of(INSTANCE) | st.just({}),
    of_steps=change_of(STEP) | st.just({}),
)
@example("started", {}, {"timeout": float("inf"), "dispatched_at": "-infinity"})
@example(
    "started", {}, {"status": "running", "token": str(uuid4()), "claimed_at": "2020-01-01", "timeout": float("inf")}
)
@example("started", {}, {"dispatched_at": "294276-12-31 23:59:59+00"})
@example("started", {"plan": "[]", "plan_hash": "x"}, {})
@example("in the middle", {"data": "7"}, {})
@example("in the middle", {"data": '{"script": {"$decimal": "x"}}'}, {})
@example("turned back", {}, {"error": '{"type": 7}'})
@example("ended", {"status": "running", "finished_at": None, "due_at": AsIs("clock_timestamp()")}, {})
def test_the_sweep_survives_what_was_edited_by_hand_and_the_others_go_on(
    sagas: Sagas, stage: str, of_instance: dict[str, Any], of_steps: dict[str, Any]
) -> None:
    run = brought_to(sagas, stage)
    edited = [
        bool(change) and edit(sagas, run, table, change)
        for table, change in (("saga_instance", of_instance), ("saga_step", of_steps))
    ]
    if not any(edited):
        sagas.engine.store.instances.delete([run.id])
        return
    healthy = sagas.start(three, {"script": {}})
    sql(sagas, "UPDATE sagas.saga_step SET dispatched_at = NULL WHERE instance_id = %s", str(healthy.id))

    for _ in range(4):
        sql(sagas, "UPDATE sagas.saga_instance SET due_at = clock_timestamp() WHERE due_at IS NOT NULL")
        sagas.sweep()
        run_messages(sagas.app)
    looks(sagas, run)

    assert healthy.status is SagaStatus.COMPLETED
    sql(sagas, "DELETE FROM sagas.saga_lock")
    sql(sagas, "DELETE FROM sagas.saga_inbox")
    sagas.engine.store.instances.delete_all()


DAMAGE: dict[str, tuple[str, dict[str, Any]]] = {
    "a time out of range": ("saga_step", {"dispatched_at": "294276-12-31 23:59:59+00"}),
    "a plan that is none": ("saga_instance", {"plan": "[]", "plan_hash": "edited"}),
    "an error that is none": ("saga_instance", {"error": "7"}),
    "a position past the end": ("saga_step", {"position": 99}),
}


@pytest.mark.parametrize(("table", "change"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_instance_backs_off_alone_says_why_and_goes_on_once_it_is_mended(
    sagas: Sagas, table: str, change: dict[str, Any]
) -> None:
    # Given: three whose messages are lost; one of them was edited by hand
    runs = [sagas.start(three, {"script": {}}) for _ in range(3)]
    damaged = runs[1]
    with sagas.app.connection_for_write() as connection:
        connection.SimpleQueue("celery").clear()
    where = "id" if table == "saga_instance" else "instance_id"
    ((*before,),) = sql(sagas, f"SELECT {', '.join(change)} FROM sagas.{table} WHERE {where} = %s", str(damaged.id))
    sql(sagas, "UPDATE sagas.saga_step SET dispatched_at = NULL")
    assert edit(sagas, damaged, table, change)

    # When: the sweep comes to them
    sql(sagas, "UPDATE sagas.saga_instance SET due_at = clock_timestamp() WHERE due_at IS NOT NULL")
    sagas.sweep()
    run_messages(sagas.app)

    # Then: the others have ended; it says what is wrong, in its history and to whoever looks, and is left alone
    assert [run.status for run in (runs[0], runs[2])] == [SagaStatus.COMPLETED, SagaStatus.COMPLETED]
    events = sql(sagas, "SELECT event, detail FROM sagas.saga_event WHERE instance_id = %s", str(damaged.id))
    assert [event for event, _ in events] == ["sweep_failed"]
    assert events[0][1]["type"] == "sagas.errors.RowDamaged"
    assert "edited by hand" in events[0][1]["message"]
    with pytest.raises(RowDamaged, match="cannot be read, or do not fit together"):
        damaged.cancel("nothing else helps")
    assert sagas.sweep() == 0

    mended = {name: AsIs("NULL") if value is None else value for name, value in zip(change, before, strict=True)}
    mended = {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in mended.items()}
    assert edit(sagas, damaged, table, mended)
    sql(sagas, "UPDATE sagas.saga_step SET dispatched_at = NULL WHERE instance_id = %s", str(damaged.id))
    sql(sagas, "UPDATE sagas.saga_instance SET due_at = clock_timestamp() WHERE id = %s", str(damaged.id))
    sagas.sweep()
    run_messages(sagas.app)
    assert damaged.status is SagaStatus.COMPLETED
    sagas.engine.store.instances.delete_all()


def test_a_signal_to_a_damaged_instance_is_kept_and_does_not_flood_its_history(sagas: Sagas) -> None:
    run = sagas.start(first_waits, {"script": {}})
    sagas.sweep()
    assert edit(sagas, run, "saga_step", {"position": 99})
    run.signal("approval", {"by": "maria"})

    for _ in range(5):
        sagas.sweep()
    assert [entry.event for entry in run.history()].count("sweep_failed") == 1

    assert edit(sagas, run, "saga_step", {"position": 0})
    sql(sagas, "UPDATE sagas.saga_event SET at = at - interval '11 minutes'")
    sagas.sweep()
    assert run.data["by"] == "maria"
    sagas.engine.store.instances.delete_all()
