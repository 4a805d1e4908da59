"""The database itself refuses rows that no rule can lead to."""

import re

import pytest
from psycopg2.errors import CheckViolation, ForeignKeyViolation, NotNullViolation, UniqueViolation

from sagas.model import FINAL, ExecutionStatus, SagaStatus
from tests.support.bench import THREE, Bench


def allowed(bench: Bench, constraint: str) -> set[str]:
    ((definition,),) = bench.sql("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = %s", constraint)
    return set(re.findall(r"'(\w+)'", definition))


def test_the_statuses_in_the_checks_equal_the_enums(bench: Bench) -> None:
    assert allowed(bench, "saga_instance_status") == {status.value for status in SagaStatus}
    assert allowed(bench, "saga_step_status") == {status.value for status in ExecutionStatus}
    assert allowed(bench, "saga_instance_finished_exactly_when_final") == {status.value for status in FINAL}
    assert allowed(bench, "saga_instance_final_is_never_due") == {status.value for status in FINAL}


WRONG_INSTANCES = {
    "an unknown status": "status = 'lost'",
    "finished and running": "status = 'running', finished_at = now()",
    "final and not finished": "status = 'completed', due_at = NULL",
    "final and due": "status = 'compensated', finished_at = now()",
    "failed and due": "status = 'failed', finished_at = now()",
    "less than nothing pending": "pending = -1",
}
WRONG_STEPS = {
    "an unknown status": "status = 'compensated', finished_at = now()",
    "running for nobody": "status = 'running', claimed_at = now()",
    "running since never": "status = 'running', token = gen_random_uuid()",
    "completed and not finished": "status = 'completed'",
    "pending and finished": "finished_at = now()",
    "completed and in doubt": "status = 'completed', finished_at = now(), doubt = true",
    "less than no attempts": "attempts = -1",
    "less than no losses": "losses = -1",
    "less than no dispatches": "dispatches = -1",
}


@pytest.mark.parametrize("change", WRONG_INSTANCES.values(), ids=WRONG_INSTANCES)
def test_a_wrong_instance_is_refused(bench: Bench, change: str) -> None:
    run = bench.start()

    with pytest.raises(CheckViolation):
        bench.sql(f"UPDATE {{s}}.saga_instance SET {change} WHERE id = %s", run)


@pytest.mark.parametrize("change", WRONG_STEPS.values(), ids=WRONG_STEPS)
def test_a_wrong_step_is_refused(bench: Bench, change: str) -> None:
    run = bench.start()

    with pytest.raises(CheckViolation):
        bench.sql(f"UPDATE {{s}}.saga_step SET {change} WHERE instance_id = %s", run)


def test_a_step_or_an_event_of_no_instance_is_refused(bench: Bench) -> None:
    with pytest.raises(ForeignKeyViolation):
        bench.sql(
            "INSERT INTO {s}.saga_step (instance_id, position, branch, round, name, timeout) "
            "VALUES (gen_random_uuid(), 0, 0, 0, 'a', 1)"
        )
    with pytest.raises(ForeignKeyViolation):
        bench.sql("INSERT INTO {s}.saga_event (instance_id, event) VALUES (gen_random_uuid(), 'x')")


def test_there_is_one_current_instance_a_key_and_any_number_of_former_ones(bench: Bench) -> None:
    first = bench.start(key="k")
    assert bench.start(key="k") == first
    second = bench.start(key="other")

    with pytest.raises(UniqueViolation):
        bench.sql("UPDATE {s}.saga_instance SET key = 'k' WHERE id = %s", second)

    bench.sql("UPDATE {s}.saga_instance SET current = false WHERE id = %s", first)
    bench.sql("UPDATE {s}.saga_instance SET key = 'k' WHERE id = %s", second)
    assert bench.store.instances.find("bench", "k") == second


def test_there_is_one_epoch_and_one_sweep(bench: Bench) -> None:
    for table in ("saga_epoch", "saga_sweep"):
        with pytest.raises(UniqueViolation):
            bench.sql(f"INSERT INTO {{s}}.{table} DEFAULT VALUES")
        with pytest.raises(CheckViolation):
            bench.sql(f"INSERT INTO {{s}}.{table} (singleton) VALUES (false)")
        with pytest.raises(NotNullViolation):
            bench.sql(f"INSERT INTO {{s}}.{table} (singleton) VALUES (NULL)")


def test_an_instance_takes_its_steps_and_events_with_it(bench: Bench) -> None:
    run = bench.start()
    bench.step(run, THREE)

    bench.sql("DELETE FROM {s}.saga_instance WHERE id = %s", run)

    assert bench.steps(run) == []


def test_all_that_the_sweep_scans_is_a_partial_index_and_a_claim_changes_no_indexed_column(bench: Bench) -> None:
    definitions = dict(bench.sql("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'sagas'"))

    assert definitions["saga_instance_due"].endswith("WHERE (due_at IS NOT NULL)")
    of_steps = [definition for definition in definitions.values() if " sagas.saga_step " in definition]
    assert len(of_steps) == 7, "an index on a column that a claim changes makes every claim rewrite all indexes"
    assert definitions["saga_step_live"].endswith(
        "(queue, line, created_at) WHERE ((finished_at IS NULL) AND (task IS NOT NULL))"
    )
    assert definitions["saga_step_waiting"].endswith(
        "(name, instance_id) WHERE ((finished_at IS NULL) AND (task IS NULL))"
    )
