"""What the hot path leaves behind in the tables: new row versions where they are needed, and no more (M1 to M3)."""

import random
from uuid import UUID, uuid4

from sqlalchemy import text

from sagas.model import Address, SagaStatus
from tests.support.bench import THREE, Background, Bench, plan_beside

#: Not compressible, so that PostgreSQL keeps it outside of the row.
LARGE = f'{{"blob": "{random.Random(7).randbytes(60_000).hex()}"}}'


def updates(bench: Bench, table: str) -> tuple[int, int]:
    """Updates of a table, and how many of them touched no index (HOT)."""
    with bench.store.database.autocommit() as connection:
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
        connection.execute(text("SELECT pg_stat_clear_snapshot()"))
        row = connection.execute(
            text(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_all_tables WHERE schemaname = 'sagas' AND relname = :name"
            ),
            {"name": table},
        ).one()
    return int(row[0]), int(row[1])


def test_m1_a_claim_touches_no_index_and_leaves_the_instances_row_alone(bench: Bench) -> None:
    runs = [bench.start() for _ in range(20)]
    steps, instances = updates(bench, "saga_step"), updates(bench, "saga_instance")

    for run in runs:
        assert bench.claim(run) is not None

    after = updates(bench, "saga_step")
    assert (after[0] - steps[0], after[1] - steps[1]) == (20, 20)
    assert updates(bench, "saga_instance") == instances


def test_m1_a_completion_within_half_a_lease_touches_no_index_of_the_instance(bench: Bench) -> None:
    runs = {bench.start(): uuid4() for _ in range(20)}
    for run, token in runs.items():
        bench.claim(run, token=token)
    before = updates(bench, "saga_instance")

    for run, token in runs.items():
        assert bench.complete(run, THREE, Address(0), token) is SagaStatus.RUNNING

    after = updates(bench, "saga_instance")
    assert after[0] - before[0] == 20
    # A page may have no room left for the odd one.
    assert after[1] - before[1] >= 15


def test_the_first_completion_does_not_log_the_data_again(bench: Bench) -> None:
    size = 1_200  # not so much that it would be compressed, or kept outside of the row
    logged = []
    for _ in range(5):  # others write to the log of this server, too
        run, token = bench.start(data=f'{{"blob": "{random.Random(7).randbytes(size // 2).hex()}"}}'), uuid4()
        bench.claim(run, token=token)
        ((before,),) = bench.sql("SELECT pg_current_wal_insert_lsn() - '0/0'")
        assert bench.complete(run, THREE, Address(0), token) is SagaStatus.RUNNING
        ((after,),) = bench.sql("SELECT pg_current_wal_insert_lsn() - '0/0'")
        logged.append(after - before)
        bench.store.instances.delete([run])
        bench.sql("VACUUM {s}.saga_instance")

    assert min(logged) < size, logged


def test_m3_no_claim_writes_the_row_of_its_instance(bench: Bench) -> None:
    """The status moves with the first completion: neither the first claim nor a later one has to do with it."""
    run = bench.start()

    for position in range(3):
        token, before = uuid4(), version_of(bench, run)
        assert bench.claim(run, Address(position), token=token) is not None
        assert version_of(bench, run) == before
        bench.complete(run, THREE, Address(position), token)
        assert version_of(bench, run) != before
    assert bench.row("saga_instance", run)["status"] == "completed"


def test_m3_a_claim_does_not_wait_for_who_has_the_instance(bench: Bench) -> None:
    run = bench.start()
    with bench.store.database.transaction() as connection:
        connection.execute(text("SELECT 1 FROM sagas.saga_instance WHERE id = :id FOR UPDATE"), {"id": run})

        assert Background(lambda: bench.claim(run)).join(15) is not None


def version_of(bench: Bench, run: UUID) -> tuple[str, str, str]:
    """Which version of the instance's row is the current one, and who has changed or locked it last."""
    ((place, made_by, locked_by),) = bench.sql(
        "SELECT ctid::text, xmin::text, xmax::text FROM {s}.saga_instance WHERE id = %s", run
    )
    return place, made_by, locked_by


def test_m2_the_completions_of_fifty_branches_do_not_copy_the_data(bench: Bench) -> None:
    branches = 50
    plan = plan_beside(branches)
    run = bench.start(plan, data=LARGE)
    chunks = (
        "SELECT n_tup_ins FROM pg_stat_all_tables WHERE relid = "
        "(SELECT reltoastrelid FROM pg_class WHERE oid = '{s}.saga_instance'::regclass)"
    )
    updates(bench, "saga_instance")
    ((before,),) = bench.sql(chunks)
    assert before > 0

    for branch in range(branches):
        token = uuid4()
        bench.claim(run, Address(0, branch), token=token)
        bench.complete(run, plan, Address(0, branch), token, f'{{"key{branch}": {branch}}}', (f"key{branch}",))

    updates(bench, "saga_instance")
    ((after,),) = bench.sql(chunks)
    assert after - before < before, "the data was written again"  # what the branches returned is written, of course
    assert [step["position"] for step in bench.steps(run)] == [0] * branches + [1]
