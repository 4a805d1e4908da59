"""D11: an upgrade of the library must start what the last release has started, under the same version."""

import pytest
from celery import Celery

from sagas import Saga, Sagas
from sagas.model import Plan
from tasks.fulfilment import fulfilment
from tasks.orders import order
from tasks.travel import travel
from tests.support.sampled import SAMPLED

#: As the last release (see `tests.support.last_release`) made them, by name and version.
FINGERPRINTS = {
    ("order", 1): "3338a0f97f00b122df167920682a5578",
    ("fulfilment", 1): "339037e35fd6f687cccab7ea3b46d6f2",
    ("travel", 1): "251a52e702335891b03b90a152564cf6",
    ("plain", 1): "e497869378ade34a38b7f7c4de5c4b93",
    ("forward", 3): "c30e1808e64f8ed33f15c29bd25609ce",
    ("careful", 1): "8b3426800bbbaf8cd0c1f7752f669e9b",
    ("beside", 1): "73f93d8f40027ee2ec5e7ce46f85fc2d",
    ("waiting", 1): "a3dc480380cc3bab9702f5b2da7030c9",
    ("parent", 1): "ae92f798b51b087c80e4e2ec958e5829",
    ("limited", 1): "3a99c4e637a33056ded8fad1f1e78896",
}
SHIPPED = (order, fulfilment, travel)


def compiled(saga: Saga) -> Plan:
    app = Celery("fingerprints", set_as_current=False, broker="memory://")
    return saga.plan(Sagas(app, database="postgresql://nobody@/nowhere?host=/nonexistent").engine)


@pytest.mark.parametrize("saga", SAMPLED, ids=lambda saga: saga.name)
def test_d11_a_plan_of_the_last_release_keeps_its_fingerprint(saga: Saga) -> None:
    assert compiled(saga).fingerprint == FINGERPRINTS[saga.name, saga.version]


@pytest.mark.parametrize("saga", SHIPPED, ids=lambda saga: saga.name)
def test_d11_a_shipped_saga_keeps_its_fingerprint_or_has_another_version(saga: Saga) -> None:
    former = FINGERPRINTS.get((saga.name, saga.version))

    assert former is None or compiled(saga).fingerprint == former
