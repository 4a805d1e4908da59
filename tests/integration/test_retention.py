"""Old sagas go, as whole families and in short transactions; what anybody may still need stays."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from click.testing import Result

from sagas import ConfigurationError, InstanceNotFound, SagaStatus, TransitionRefused
from sagas.cli import sagas as commands
from sagas.engine import CONTROL_QUEUE, PURGE_TASK
from sagas.model import Mail, MailKind, Tick
from sagas.store import purge_statements
from tests.conftest import Shop
from tests.support import scripted, shapes
from tests.support.bench import Bench, bench_on
from tests.support.commands import runner
from tests.support.inline import run_messages
from tests.support.long_ended import HOUR, compensated, completed, failed, grow_old, left_of, plan_of, with_child


@pytest.fixture
def rows(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Where the messages are run by the test itself."""
    monkeypatch.setenv("SAGAS_DATABASE_URL", shop.database_url)
    bench = Bench(shop.database_url, shop.sagas.engine.store)
    yield bench
    bench.close()


# -- what goes


def test_what_ended_well_long_ago_goes_with_all_that_belongs_to_it(shop: Shop, rows: Bench) -> None:
    done, undone, recent = completed(shop), compensated(shop, rows), completed(shop)
    grow_old(rows, done, undone)
    grow_old(rows, recent, ended=timedelta(minutes=50))

    assert shop.sagas.purge(HOUR) == 2

    assert [left_of(rows, run) for run in (done, undone)] == [{}, {}]
    assert recent.data["c_done"] == 1
    with pytest.raises(InstanceNotFound, match="purged"):
        _ = done.status
    assert shop.sagas.purge(HOUR) == 0


def test_a_failed_one_stays_for_its_person_and_whatever_is_under_way_stays_too(shop: Shop, rows: Bench) -> None:
    stuck, pending, waiting = failed(shop, rows), shop.start(scripted.three), shop.start(shapes.approved)
    rows.step(waiting.id, plan_of(waiting))
    grow_old(rows, stuck)
    rows.age(7200)

    assert shop.sagas.purge(HOUR) == 0

    stuck.skip("it was shipped")
    assert (stuck.status, pending.status, waiting.status) == ("running", "pending", "running")


def test_signals_that_were_taken_or_that_nobody_waited_for_go_with_their_saga(shop: Shop, rows: Bench) -> None:
    run = shop.start(shapes.approved)
    assert run.signal("approval", {"by": "maria"}, key="1")
    assert run.signal("approval", {"by": "otto"}, key="2")
    run_messages(shop.sagas.app)
    assert run.status is SagaStatus.COMPLETED
    assert left_of(rows, run)["saga_inbox"] == 2
    grow_old(rows, run)

    assert shop.sagas.purge(HOUR) == 1
    assert left_of(rows, run) == {}


def test_what_a_deletion_by_hand_has_left_goes_too(shop: Shop, rows: Bench) -> None:
    run, child = with_child(shop)
    gone = completed(shop)
    mail = Mail(kind=MailKind.SIGNAL, name="approval")
    shop.sagas.engine.store.instances.inbox.put_now(gone.id, mail, "1")
    rows.sql("DELETE FROM {s}.saga_instance WHERE id = ANY (%s::uuid[])", [str(run.id), str(gone.id)])
    rows.sql("UPDATE {s}.saga_inbox SET seen_at = sent_at, consumed_at = sent_at, sent_at = sent_at - interval '2 h'")
    grow_old(rows, child)

    assert shop.sagas.purge(HOUR) == 1
    assert [left_of(rows, each) for each in (child, gone)] == [{}, {}]


@pytest.mark.parametrize("needed", ["lock", "live step", "unread mail", "look"])
def test_nothing_goes_that_somebody_still_needs(shop: Shop, rows: Bench, needed: str) -> None:
    run = completed(shop)
    grow_old(rows, run)
    change, back = {
        "lock": (
            "INSERT INTO {s}.saga_lock (resource, instance_id) VALUES ('account:1', %s)",
            "DELETE FROM {s}.saga_lock WHERE instance_id = %s",
        ),
        "live step": (
            "UPDATE {s}.saga_step SET status = 'running', finished_at = NULL WHERE instance_id = %s AND position = 2",
            "UPDATE {s}.saga_step SET status = 'skipped', finished_at = now() WHERE instance_id = %s AND position = 2",
        ),
        "unread mail": (
            "INSERT INTO {s}.saga_inbox (instance_id, kind) VALUES (%s, 'wake')",
            "UPDATE {s}.saga_inbox SET seen_at = now() WHERE instance_id = %s",
        ),
        "look": (
            "UPDATE {s}.saga_instance SET finished_at = NULL, status = 'compensating', due_at = now() WHERE id = %s",
            "UPDATE {s}.saga_instance SET finished_at = now() - interval '2 h', status = 'completed', due_at = NULL "
            "WHERE id = %s",
        ),
    }[needed]
    rows.sql(change, run.id)
    assert shop.sagas.purge(HOUR) == 0
    assert left_of(rows, run)["saga_step"] == 3

    rows.sql(back, run.id)
    assert shop.sagas.purge(HOUR) == 1


# -- families


def test_a_child_goes_with_its_parent_and_never_before(shop: Shop, rows: Bench) -> None:
    run, child = with_child(shop)
    grow_old(rows, child, ended=9 * HOUR)
    assert shop.sagas.purge(HOUR) == 0, "its parent may yet have to undo it"
    assert child.status is SagaStatus.COMPLETED

    grow_old(rows, run)
    assert shop.sagas.purge(HOUR) == 2
    assert [left_of(rows, each) for each in (run, child)] == [{}, {}]


@pytest.mark.parametrize("child_is", ["recent", "failed", "being looked at"])
def test_a_parent_stays_for_as_long_as_its_child_does(shop: Shop, rows: Bench, child_is: str) -> None:
    run, child = with_child(shop)
    grow_old(rows, run)
    if child_is != "recent":
        grow_old(rows, child)
    looking = rows.driver()
    looking.autocommit = False
    if child_is == "failed":
        rows.sql("UPDATE {s}.saga_instance SET status = 'failed' WHERE id = %s", child.id)
    if child_is == "being looked at":
        looking.cursor().execute("SELECT FROM sagas.saga_instance WHERE id = %s FOR UPDATE", (str(child.id),))

    assert shop.sagas.purge(HOUR) == 0
    assert left_of(rows, run)["saga_step"] == left_of(rows, child)["saga_step"] + 1 == 3

    looking.rollback()
    rows.sql("UPDATE {s}.saga_instance SET status = 'completed' WHERE id = %s", child.id)
    grow_old(rows, child)
    assert shop.sagas.purge(HOUR) == 2


# -- keys


def test_m9_without_its_tombstone_a_purged_key_runs_again(shop: Shop, rows: Bench) -> None:
    first = completed(shop, key="order-1")
    grow_old(rows, first)

    assert shop.sagas.purge(HOUR) == 1
    assert shop.sagas.find(saga="three", key="order-1") is None
    again = completed(shop, key="order-1")

    assert again.id != first.id
    assert shop.effects(again) == ["a", "b", "c"]


def test_m9_with_its_tombstone_a_purged_key_does_not_run_again(shop: Shop, rows: Bench) -> None:
    first, nameless = completed(shop, key="order-1"), completed(shop)
    grow_old(rows, first, nameless)

    assert shop.sagas.purge(HOUR, keep_keys=True) == 2
    assert left_of(rows, nameless) == {}
    assert left_of(rows, first) == {"saga_instance": 1, "saga_event": 1}
    again = shop.start(scripted.three, key="order-1")

    assert again == first == shop.sagas.find(saga="three", key="order-1")
    assert run_messages(shop.sagas.app) == []
    assert shop.effects(first) == ["a", "b", "c"]
    assert shop.sagas.purge(HOUR, keep_keys=True) == 0, "a tombstone has nothing more to give"
    assert shop.sagas.purge(HOUR) == 1, "but its key"
    assert shop.start(scripted.three, key="order-1") != first


def test_m9_a_key_that_was_undone_may_be_started_anew_over_its_tombstone(shop: Shop, rows: Bench) -> None:
    first = compensated(shop, rows, key="order-1")
    grow_old(rows, first)
    shop.sagas.purge(HOUR, keep_keys=True)

    anew = shop.start(scripted.three, key="order-1", if_exists="restart")

    assert anew != first
    assert first.status is SagaStatus.COMPENSATED
    assert shop.sagas.purge(HOUR, keep_keys=True) == 1
    assert left_of(rows, first) == {}, "a key that another one has needs no tombstone"


def test_m9_a_tombstone_can_be_looked_at_and_refuses_to_act(shop: Shop, rows: Bench) -> None:
    run = compensated(shop, rows, key="order-1")
    grow_old(rows, run)
    shop.sagas.purge(HOUR, keep_keys=True)

    assert (run.saga, run.version, run.key, run.status) == ("three", 1, "order-1", "compensated")
    assert (run.steps, run.data, run.error) == ([], {}, None)
    assert (run.wait(0), run.progress()["steps"]) == ("compensated", [])
    assert [progress["status"] for progress in run.watch(0)] == ["compensated"]
    assert [entry.event for entry in run.history()] == ["started", "compensated", "purged"]
    assert re.search(r"order-1  COMPENSATED\n.* purged$", run.timeline(), re.DOTALL)
    assert "compensated" in shop.sagas.graph(run)
    assert "</svg>" in shop.sagas.graph(run, format="svg")
    for act in (run.retry, run.skip, run.resolve):
        with pytest.raises(TransitionRefused):
            act("why not")
    with pytest.raises(TransitionRefused):
        run.signal("approval")
    run.cancel("is as good as done")
    shop.sagas.engine.loop.handle(run.id, Tick())
    assert shop.sagas.sweep() == 0
    assert run.status is SagaStatus.COMPENSATED


# -- how it is asked for


@pytest.mark.parametrize("older_than", [timedelta(0), -HOUR, timedelta.max, 30, None])
def test_a_time_that_makes_no_sense_is_refused(shop: Shop, older_than: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"older_than=.*timedelta\(days=30\)"):
        shop.sagas.purge(older_than)


def test_the_command_line_purges_and_shows_what_is_left(shop: Shop, rows: Bench) -> None:
    def cli(*arguments: str) -> Result:
        return runner().invoke(commands, arguments, obj=shop.sagas)

    kept, gone = completed(shop, key="order-1"), completed(shop)
    grow_old(rows, kept, gone, ended=timedelta(hours=40))
    assert cli("purge", "--older-than", "2d").output == "purged 0\n"
    assert cli("purge", "--older-than", "36h", "--keep-keys").output == "purged 2\n"

    (line,) = cli("list").output.splitlines()
    assert line.split()[:3] == [str(kept.id)[:18], "completed", "three/order-1"]
    assert "purged" in cli("show", str(kept.id)).output
    shown = json.loads(cli("show", str(kept.id), "--json").output)
    assert (shown["status"], shown["steps"], shown["data"]) == ("completed", [], {})
    assert cli("purge", "--older-than", "1d").output == "purged 1\n"
    for nonsense in ("30", "d", "-1d", "1.5d", "1y", "9999999d"):
        refused = cli("purge", "--older-than", nonsense)
        assert (refused.exit_code, "write 30d" in refused.output) == (2, True), nonsense
    assert "Missing option '--older-than'" in cli("purge").output
    assert "more than nothing" in cli("purge", "--older-than", "0d").output


def test_beat_purges_by_a_task_on_the_librarys_own_queue(shop: Shop, rows: Bench) -> None:
    run = completed(shop, key="order-1")
    grow_old(rows, run, ended=timedelta(days=40))

    shop.sagas.app.tasks[PURGE_TASK].apply_async(kwargs={"days": 30, "keep_keys": True}, queue=CONTROL_QUEUE)

    assert run_messages(shop.sagas.app, "sagas") == [PURGE_TASK]
    assert run.steps == []


def test_it_does_not_read_what_is_younger(database_url: str) -> None:
    with bench_on(database_url) as bench:
        bench.sql(
            "INSERT INTO {s}.saga_instance (id, saga, version, status, plan, plan_hash, data, pending, finished_at) "
            "SELECT gen_random_uuid(), 'many', 1, 'completed', '{\"steps\": [1]}', 'x', '{}', 0, "
            "now() - make_interval(hours => each) FROM generate_series(1, 20000) AS each"
        )
        bench.sql("ANALYZE {s}.saga_instance")
        pick = re.sub(r"(?<!:):([a-z]\w*)", r"%(\1)s", purge_statements.PICK_PURGEABLE).replace("{s}", "sagas")
        given = {"before": datetime.now(UTC) - timedelta(hours=19_000), "limit": 10_000, "keep_keys": True}
        given["remembered"] = timedelta(days=365)
        cursor = bench.driver().cursor()
        cursor.execute(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {pick}", given | {"ended": "-infinity", "after": str(UUID(int=0))}
        )
        plan = cursor.fetchone()[0][0]["Plan"]
        while plan.get("Alias") != "old":
            plan = plan["Plans"][0]

    assert (plan["Node Type"], plan["Index Name"]) == ("Index Scan", "saga_instance_ended")
    assert plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) < 1100
