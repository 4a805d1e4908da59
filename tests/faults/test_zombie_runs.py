"""A worker that is taken for dead while its run turns back, and goes on with what it was doing."""

from sagas import SagaStatus
from tests.conftest import Shop
from tests.faults.killed_at_end import killed_at_end
from tests.faults.test_zombies import frozen
from tests.support import gates, journal
from tests.support.choreographed import Ordered, ring
from tests.support.workers import eventually

LATER = (
    "UPDATE sagas.saga_step SET claimed_at = claimed_at - interval '1 hour' "
    "WHERE instance_id = %s AND status = 'running'"
)
LOOK = "UPDATE sagas.saga_instance SET due_at = clock_timestamp() WHERE id = %s AND due_at IS NOT NULL"
CHARGED = "SELECT letter, number FROM sagas.saga_inbox WHERE instance_id = %s AND name = 'Charged'"


def test_what_a_worker_does_that_was_taken_for_dead_is_undone_again_and_heard_by_nobody(shop: Shop) -> None:
    # Given: a worker whose parent is frozen, while its child is in the middle of a charge
    shop.sagas.register()
    zombie, survivor = (
        shop.worker("-c", "2", "-I", "tests.support.choreographed", name=name) for name in ("zombie", "survivor")
    )
    with killed_at_end(zombie):
        run = ring.start_on(shop.sagas.engine, Ordered(script={"charge": "wait:vault"}))
        gates.until_reached(shop.database_url, run, "vault")
        with killed_at_end(survivor), frozen(zombie, parent_alone=True):
            # When: the run turns back, and all the time that the charge may take goes by
            run.cancel("changed mind")
            dead = "SELECT count(*) FROM sagas.saga_worker WHERE dead_at IS NOT NULL"
            eventually(lambda: journal.query(shop.database_url, dead) == [(1,)], "the zombie to be declared dead", 60)
            assert "refund" not in shop.effects(run), "it may still be charging"
            journal.query(shop.database_url, LATER, str(run.id))
            journal.query(shop.database_url, LOOK, str(run.id))
            assert run.wait(60) is SagaStatus.COMPENSATED
            undone = [what for what in shop.effects(run) if what in ("refund", "release")]
            assert undone == ["refund", "release"]

            # And: the charge happens after all
            gates.open_gate(shop.database_url, run, "vault")
            eventually(lambda: shop.effects(run)[-2:] == ["charge", "refund"], "the charge and its refund", 60)
            eventually(lambda: run.status is SagaStatus.COMPENSATED, "the end", 60)

    # Then: each undo had a key of its own, and the event of the charge has no number
    keys = [key for what, key in journal.entries(shop.database_url, run.id) if what == "refund"]
    assert len(keys) == len(set(keys)) == 2
    assert journal.query(shop.database_url, CHARGED, str(run.id)) == [("muted", None)]
