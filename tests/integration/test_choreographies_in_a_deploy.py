"""E5: events that the code at hand cannot read, while a deploy rolls: they wait for the code that can."""

import os
import subprocess
import sys

from sagas import LetterKind, SagaHandle, SagaStatus, StepStatus
from tests.conftest import Shop
from tests.support.programs import briefly
from tests.support.workers import ROOT, Worker, eventually

START = """
from tests.support import parcels
from tests.support.application import sagas

sagas.register()
run = parcels.parcel.start_on(sagas.engine, parcels.first)
if parcels.RELEASE == 2:
    parcels.parcel.publish_on(sagas.engine, parcels.Returned(to="there"), run=run)
print(run.id)
"""


def worker_of(shop: Shop, release: int) -> Worker:
    return shop.worker("-c", "2", "-I", "tests.support.parcels", name=f"release-{release}", TEST_RELEASE=str(release))


def started_by(shop: Shop, release: int) -> SagaHandle:
    """A run of a process that has the code of a release; its worker may be another one's."""
    servers = {"SAGAS_DATABASE_URL": shop.database_url, "SAGAS_BROKER_URL": shop.broker_url}
    environment = os.environ | servers | {"TEST_RELEASE": str(release)}
    told = subprocess.run(
        [sys.executable, "-c", START], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    return shop.sagas.get(told.stdout.strip())


def parked(run: SagaHandle) -> set[str]:
    """What has been parked so far, with the attempts that it has used up."""
    return {f"{entry.step}" for entry in run.history() if entry.event == "parked"}


def test_v10_e5_what_older_code_cannot_read_waits_uncounted_and_goes_on_when_newer_code_begins(shop: Shop) -> None:
    with briefly(worker_of(shop, 1)):
        # A newer version, a type and a task that the worker does not know.
        run = started_by(shop, 2)
        eventually(lambda: parked(run) == {"carry", "label"}, "its deliveries to be parked", 60)
        eventually(lambda: len([step for step in run.steps if step.status is StepStatus.PENDING]) == 3, "all three", 30)

        # Others go on, and nothing was an attempt or a letter.
        assert started_by(shop, 1).wait(30) is SagaStatus.COMPLETED
        assert {step.attempts for step in run.steps} == {0}
        assert run.status.is_forward
        assert shop.sagas.dead_letters.list() == []

    with briefly(worker_of(shop, 2)):
        assert run.wait(30) is SagaStatus.COMPLETED  # sooner than the minute that parked deliveries wait otherwise

    assert sorted(shop.effects(run)) == ["carry Returned", "carry Sent 9", "label"]
    assert {step.attempts for step in run.steps} == {1}


def test_v10_e5_what_no_code_will_read_is_dead_at_once_and_replayed_after_the_fix(shop: Shop) -> None:
    old = started_by(shop, 1)

    with briefly(worker_of(shop, 3)):
        new = started_by(shop, 3)
        assert new.wait(60) is SagaStatus.COMPLETED
        assert old.wait(60) is SagaStatus.FAILED

    (letter,) = shop.sagas.dead_letters.list()
    assert (letter.run, letter.handler, letter.attempts, letter.in_doubt) == (old.id, "carry", 0, False)
    assert letter.kind is LetterKind.PARKED
    assert letter.error is not None
    assert "@upcast(…, from_version=1)" in letter.error.message

    with briefly(worker_of(shop, 2)):  # which has the upcaster
        shop.sagas.dead_letters.replay(letter, reason="the upcaster is back")
        assert old.wait(30) is SagaStatus.COMPLETED
    assert shop.effects(old) == ["carry Sent 7"]
