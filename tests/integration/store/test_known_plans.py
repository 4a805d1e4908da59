"""The plans that a process knows by their fingerprints."""

from sagas.store import Store, Timing
from tests.support.bench import Bench, plan_of

PLAN = plan_of("a", "b")
EDITED = """UPDATE {s}.saga_instance SET plan = jsonb_set(plan, '{steps,1,task}', '"nobody.knows"') WHERE id = %s"""


def test_a_plan_that_was_edited_by_hand_is_that_of_its_own_instance_alone(bench: Bench) -> None:
    # Given: a process that has seen no plan yet, and meets the edited one first
    edited, other = bench.start(PLAN), bench.start(PLAN)
    bench.sql(EDITED, edited)
    bench.store.database.dispose()
    bench.store = Store(bench.url, "sagas", Timing())

    # When
    tasks = []
    for run in (edited, other):
        with bench.store.instances.transaction() as connection:
            loaded = bench.store.instances.lock(connection, run)
        assert loaded is not None
        tasks.append(loaded.plan.steps[1].task)

    # Then
    assert tasks == ["nobody.knows", "do.b"]
    assert list(bench.store.instances.known_plans) == [PLAN.fingerprint]
