"""Instances go on by the plan that they started with, whatever is deployed meanwhile."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from sagas import Child, PlanChanged, Saga, SagaHandle, SagaStatus, Sleep, StepStatus, WaitFor, parallel
from tests.conftest import Shop
from tests.support import gates, journal, releases, scripted
from tests.support.branches import done_and_undone, statuses
from tests.support.deploys import let_time_pass, worker_of
from tests.support.programs import briefly
from tests.support.workers import Worker, eventually

FIRST = Saga(
    "shipment",
    version=1,
    steps=[
        scripted.step("reserve"),
        scripted.step("pack"),
        parallel(scripted.step("label"), scripted.step("invoice")),
        Sleep(hours=1),
        WaitFor("pickup", timeout=3600),
        scripted.step("ship"),
        scripted.step("bill"),
    ],
)
#: One step is new, one has another name, one and all that waits is gone, and two have changed their places.
CHANGED = [
    scripted.step("check"),
    parallel(scripted.step("wrap"), scripted.step("label")),
    scripted.step("bill"),
    scripted.step("reserve"),
    scripted.step("ship"),
]
SECOND = Saga("shipment", version=2, steps=CHANGED)
BEFORE_SLEEP = {"reserve", "pack", "label", "invoice"}

SCRIPTS = {
    "in a step": {"pack": ["wait:deploy"]},
    "in a branch": {"label": ["wait:deploy"]},
    "asleep": {},
    "waiting": {},
    "cancelled": {},
    "undoing": {"bill": ["no"], "undo pack": ["wait:deploy"]},
    "failed": {"bill": ["no"], "undo pack": "broken:bank"},
}
#: Which of them have come how far before the deploy.
PAST_SLEEP = ("waiting", "cancelled", "undoing", "failed")
PAST_SIGNAL = ("undoing", "failed")


@dataclass
class Deployed:
    """A shop in which the second release has taken over from the first, with instances of the first in flight."""

    shop: Shop
    runs: dict[str, SagaHandle] = field(default_factory=dict)

    def to_the_end(self, name: str) -> SagaHandle:
        """Wake it, and tell it what it waits for."""
        run = self.runs[name]
        if name not in PAST_SLEEP:
            eventually(lambda: run.steps[4].started_at, "it to sleep")
            let_time_pass(self.shop, run)
        if name not in PAST_SIGNAL:
            run.signal("pickup", {"by": "the truck"})
        return run


@pytest.fixture(scope="module")
def deployed(own_shop: Shop) -> Iterator[Deployed]:
    deployed = Deployed(own_shop)
    old, new = worker_of(own_shop, "1", "-c", "4"), worker_of(own_shop, "2", "-c", "4")
    with briefly(old):
        for name, script in SCRIPTS.items():
            deployed.runs[name] = own_shop.start(FIRST, script, key=name)
        bring_to_their_places(deployed)
        with briefly(new):
            retire(own_shop, old, *deployed.runs.values())
            yield deployed


def retire(shop: Shop, worker: Worker, *runs: SagaHandle) -> None:
    """A warm shutdown: nothing more is taken in, and what waits for the deploy ends in this worker."""
    assert worker.process is not None
    worker.process.terminate()
    eventually(lambda: "Warm shutdown" in worker.text(), "it to take nothing more in")
    for run in runs:
        gates.open_gate(shop.database_url, run, "deploy")
    worker.process.wait(30)


def bring_to_their_places(deployed: Deployed) -> None:
    shop, runs = deployed.shop, deployed.runs
    for name in ("asleep", *PAST_SLEEP):
        eventually(lambda name=name: runs[name].steps[4].started_at, "it to sleep")
    for name in PAST_SLEEP:
        let_time_pass(shop, runs[name])
        eventually(lambda name=name: statuses(runs[name])["sleep"] is StepStatus.COMPLETED, "it to wake")
    for name in PAST_SIGNAL:
        runs[name].signal("pickup")
    for name in ("in a step", "in a branch", "undoing"):
        gates.until_reached(shop.database_url, runs[name], "deploy")
    assert runs["failed"].wait(30) is SagaStatus.FAILED


@pytest.mark.parametrize("name", ["in a step", "in a branch", "asleep", "waiting"])
def test_an_instance_in_flight_goes_on_by_its_own_plan(deployed: Deployed, name: str) -> None:
    run = deployed.to_the_end(name)

    assert run.wait(30) is SagaStatus.COMPLETED
    effects = deployed.shop.effects(run)
    assert (effects[:2], sorted(effects[2:4]), effects[4:]) == (
        ["reserve", "pack"],
        ["invoice", "label"],
        ["ship", "bill"],
    )
    assert (run.version, [step.name for step in run.steps]) == (1, [part.name for part in FIRST.parts])
    assert run.steps[-1].worker is not None
    assert run.steps[-1].worker.startswith("release-2@")


def test_an_instance_that_was_turning_back_goes_on_turning_back_by_its_own_plan(deployed: Deployed) -> None:
    run = deployed.runs["undoing"]

    assert run.wait(30) is SagaStatus.COMPENSATED
    done, undos = done_and_undone(deployed.shop.effects(run))
    assert set(done) == BEFORE_SLEEP | {"ship"}
    assert (undos[0], sorted(undos[1:3]), undos[3:]) == (
        "undo ship",
        ["undo invoice", "undo label"],
        ["undo pack", "undo reserve"],
    )


def test_an_instance_that_waits_for_a_person_can_be_retried_by_its_own_plan(deployed: Deployed) -> None:
    run = deployed.runs["failed"]
    gates.open_gate(deployed.shop.database_url, run, "bank")

    run.retry("the bank answers again")

    assert run.wait(30) is SagaStatus.COMPENSATED
    assert deployed.shop.effects(run)[-2:] == ["undo reserve", "undo pack"]


def test_an_instance_in_flight_can_be_cancelled_and_is_undone_by_its_own_plan(deployed: Deployed) -> None:
    run = deployed.runs["cancelled"]

    run.cancel("changed mind")

    assert run.wait(30) is SagaStatus.COMPENSATED
    undos = done_and_undone(deployed.shop.effects(run))[1]
    assert (sorted(undos[:2]), undos[2:]) == (["undo invoice", "undo label"], ["undo pack", "undo reserve"])


def test_new_instances_go_by_the_new_plan_beside_them(deployed: Deployed) -> None:
    run = deployed.shop.start(SECOND)
    back = deployed.shop.start(SECOND, {"ship": ["no"]})

    assert run.wait(30) is SagaStatus.COMPLETED
    effects = deployed.shop.effects(run)
    assert (effects[0], sorted(effects[1:3]), effects[3:]) == ("check", ["label", "wrap"], ["bill", "reserve", "ship"])
    assert run.version == 2
    assert back.wait(30) is SagaStatus.COMPENSATED
    undos = done_and_undone(deployed.shop.effects(back))[1]
    assert (undos[:2], sorted(undos[2:4]), undos[4]) == (
        ["undo reserve", "undo bill"],
        ["undo label", "undo wrap"],
        "undo check",
    )


def test_a_key_of_an_instance_in_flight_is_taken_in_the_next_version_too(deployed: Deployed) -> None:
    run = deployed.shop.start(SECOND, key="asleep")

    assert (run, run.version) == (deployed.runs["asleep"], 1)


def test_the_old_version_can_still_be_started_beside_the_new_one(deployed: Deployed) -> None:
    deployed.runs["late"] = deployed.shop.start(FIRST)

    run = deployed.to_the_end("late")

    assert run.wait(30) is SagaStatus.COMPLETED
    assert run.version == 1


def test_a_changed_plan_under_the_old_version_is_refused_while_instances_are_in_flight(shop: Shop) -> None:
    runs = [shop.start(FIRST) for _ in range(3)]
    changed = Saga("shipment", version=1, steps=CHANGED)

    refusal = r"'shipment' version 1 has other steps or policies than the 3 instances in flight .* raise version=2"
    with pytest.raises(PlanChanged, match=refusal):
        shop.start(changed)
    assert shop.start(FIRST).version == 1
    assert shop.start(SECOND).version == 2

    for run in [*runs, *map(shop.sagas.get, in_flight(shop))]:
        run.cancel("make room")
    with briefly(worker_of(shop, "2")):
        eventually(lambda: not in_flight(shop), "them to end")
        again = shop.start(changed)
        assert again.wait(30) is SagaStatus.COMPLETED
    assert shop.effects(again)[-1] == "ship"


def in_flight(shop: Shop) -> list[str]:
    found = "SELECT id::text FROM sagas.saga_instance WHERE due_at IS NOT NULL"
    return [row[0] for row in journal.query(shop.database_url, found)]


def test_a_child_saga_goes_by_the_plan_that_its_parent_was_started_with(busy_shop: Shop) -> None:
    child = Saga("packing", version=1, steps=[scripted.step("box"), scripted.step("tape")])
    parent = Saga("sending", steps=[scripted.step("a"), Child(child), scripted.step("b")])
    run = busy_shop.start(parent, {"a": ["wait:deploy"]})
    gates.until_reached(busy_shop.database_url, run, "deploy")
    newer = busy_shop.start(Saga("packing", version=2, steps=[scripted.step("bag")]))
    assert newer.wait(30) is SagaStatus.COMPLETED
    gates.open_gate(busy_shop.database_url, run, "deploy")

    assert run.wait(30) is SagaStatus.COMPLETED
    found = "SELECT id FROM sagas.saga_instance WHERE parent_id = %s"
    ((started,),) = journal.query(busy_shop.database_url, found, str(run.id))
    assert busy_shop.effects(busy_shop.sagas.get(started)) == ["box", "tape"]
    assert run.data["tape_done"] == 1


def test_a_step_whose_worker_is_killed_by_the_deploy_runs_again_by_its_own_plan(shop: Shop) -> None:
    run = shop.start(FIRST, {"pack": ["wait:never"]})
    old = worker_of(shop, "1")
    with briefly(old):
        gates.until_reached(shop.database_url, run, "never")
        old.kill()
    with briefly(worker_of(shop, "2")):
        eventually(lambda: run.steps[4].started_at, "it to sleep")
        let_time_pass(shop, run)
        run.signal("pickup")

        assert run.wait(60) is SagaStatus.COMPLETED
    assert (shop.effects(run)[:2], shop.effects(run)[4:]) == (["reserve", "pack"], ["ship", "bill"])
    assert (run.steps[1].attempts, run.steps[1].losses) == (2, 1)


# -- tasks that only one of the releases has

FAXING = Saga(
    "telling",
    version=1,
    steps=[
        scripted.step("a"),
        scripted.step("tell", task=releases.send_fax, compensation=releases.recall_fax),
        scripted.step("c"),
    ],
)
MAILING = Saga(
    "telling",
    version=2,
    steps=[scripted.step("a"), scripted.step("tell", task=releases.send_mail), scripted.step("c")],
)
FAXING_BESIDE = Saga(
    "telling-beside",
    steps=[parallel(scripted.step("a"), scripted.step("tell", task=releases.send_fax)), scripted.step("c")],
)


def until_parked(run: SagaHandle, task: str, name: str = "tell") -> None:
    """It waits, and whoever looks can read for what."""

    def said() -> str:
        step = next(step for step in run.steps if step.name == name)
        error = step.compensation.error if step.compensation else step.error
        return str(error or "")

    missing = f"celery.exceptions.NotRegistered: a worker of its queue has no task 'tests.support.releases.{task}'"
    eventually(lambda: said().startswith(missing), f"{name} to be parked")
    assert "parked" in [entry.event for entry in run.history()]
    told = " ".join(run.timeline().split())
    assert "celery.exceptions.NotRegistered message=a worker of its queue has no task" in told
    assert not run.status.is_final


def until_ended(shop: Shop, run: SagaHandle) -> SagaStatus:
    """It looks again after a while, and may be taken by the wrong worker again."""
    eventually(lambda: let_time_pass(shop, run) or run.status.is_final, "it to go on", every=0.3)
    return run.status


@pytest.fixture(scope="module")
def newer(own_shop: Shop) -> Iterator[Shop]:
    """A shop of the second release only."""
    with briefly(worker_of(own_shop, "2", "-c", "2")):
        yield own_shop


def older(shop: Shop) -> Worker:
    return worker_of(shop, "1", "-c", "2")


def test_a_step_whose_task_was_removed_too_early_waits_in_the_open_and_goes_on_when_it_is_back(newer: Shop) -> None:
    run, beside = newer.start(FAXING), newer.start(FAXING_BESIDE)
    for parked in (run, beside):
        until_parked(parked, "send_fax")
    assert (statuses(run)["tell"], run.steps[1].attempts, run.steps[1].in_doubt) == (StepStatus.PENDING, 0, False)
    eventually(lambda: newer.effects(beside) == ["a"], "its sibling to be done")
    assert (newer.effects(run), statuses(beside)["c"]) == (["a"], StepStatus.PENDING)

    with briefly(older(newer)):
        assert until_ended(newer, run) is SagaStatus.COMPLETED
        assert until_ended(newer, beside) is SagaStatus.COMPLETED
    assert newer.effects(run) == ["a", "fax", "c"]
    assert newer.effects(beside) == ["a", "fax", "c"]
    assert (run.steps[1].attempts, run.steps[1].error) == (1, None)


def test_a_compensation_whose_task_was_removed_too_early_waits_in_the_open_and_is_not_given_up(newer: Shop) -> None:
    old = older(newer)
    with briefly(old):
        run = newer.start(FAXING, {"c": ["wait:deploy,no"]})
        eventually(lambda: let_time_pass(newer, run) or run.steps[2].started_at, "the fax to be sent", every=0.3)
        retire(newer, old, run)
    until_parked(run, "recall_fax")
    assert (run.status, statuses(run)["a"]) == (SagaStatus.COMPENSATING, StepStatus.COMPLETED)

    with briefly(older(newer)):
        assert until_ended(newer, run) is SagaStatus.COMPENSATED
    assert newer.effects(run) == ["a", "fax", "undo fax", "undo a"]


def test_a_step_that_waits_for_its_task_can_be_cancelled(newer: Shop) -> None:
    run, beside = newer.start(FAXING), newer.start(FAXING_BESIDE)
    for parked in (run, beside):
        until_parked(parked, "send_fax")
        parked.cancel("nobody sends faxes any more")
        assert parked.wait(30) is SagaStatus.COMPENSATED
        assert newer.effects(parked) == ["a", "undo a"]


def test_a_new_task_waits_for_the_workers_that_are_deployed_after_the_web(shop: Shop) -> None:
    run = shop.start(MAILING)
    with briefly(older(shop)):
        until_parked(run, "send_mail")
        with briefly(worker_of(shop, "2", "-c", "2")):
            assert until_ended(shop, run) is SagaStatus.COMPLETED
    assert shop.effects(run) == ["a", "mail", "c"]


def test_both_versions_end_while_both_releases_work_side_by_side(shop: Shop) -> None:
    with briefly(older(shop), worker_of(shop, "2", "-c", "2")):
        runs = [shop.start(saga) for _ in range(10) for saga in (FAXING, MAILING)]
        ends = [until_ended(shop, run) for run in runs]
    assert set(ends) == {SagaStatus.COMPLETED}
    assert [shop.effects(run) for run in runs] == [["a", "fax", "c"], ["a", "mail", "c"]] * 10
