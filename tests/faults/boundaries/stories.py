"""What is done to a saga, from its start to its end, while one of its processes dies somewhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sagas import Choreography, Saga, SagaHandle, SagaStatus, StepStatus, TransitionRefused
from tests.faults.boundaries import planned_faults
from tests.faults.boundaries.lanes import Lane
from tests.faults.boundaries.planned_faults import PlannedFault
from tests.support import gates, journal
from tests.support.workers import eventually

#: How long a saga may take to its end, and a fault to strike, on a machine that has much else to do; seconds. A minute
#: of it goes by where a silent worker holds a step of a saga that turns back: its time is waited for.
PATIENCE = 150.0


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One saga of a lane, with what will happen to it."""

    lane: Lane
    saga: Saga | Choreography
    saga_id: UUID
    input: dict[str, Any]
    key: str | None = None  # of a choreographed run, whose id is made of it
    faults: Sequence[PlannedFault] = ()
    without_saga: Sequence[PlannedFault] = ()

    @property
    def url(self) -> str:
        return self.lane.shop.database_url

    @property
    def run(self) -> SagaHandle:
        return self.lane.shop.sagas.get(self.saga_id)

    def arm(self) -> None:
        planned_faults.arm(self.url, self.saga_id, self.faults)

    def arm_nobodys(self) -> None:
        """From now on somebody's sweep or heartbeat dies."""
        planned_faults.arm(self.url, planned_faults.NO_SAGA, self.without_saga)

    def start(self, **options: Any) -> SagaHandle:
        named = {} if self.key is None else {"key": self.key}
        return self.lane.start(self.saga, self.input, self.saga_id, **named | options)

    def errand(self, what: str, **options: Any) -> bool:
        """In a process that may die of it."""
        return self.lane.errand(what, self.saga, self.saga_id, self.input, **options)

    def exists(self) -> bool:
        found = journal.query(self.url, "SELECT 1 FROM sagas.saga_instance WHERE id = %s", str(self.saga_id))
        return bool(found)

    def until_ended(self) -> SagaHandle:
        run = self.run
        run.wait(PATIENCE)
        return run

    def until_waiting(self, step: str) -> None:
        """Until a step has begun that only somebody else can end."""
        eventually(lambda: is_at(self.run, step, StepStatus.PENDING), f"the saga to wait at {step}", PATIENCE)

    def until_begun(self, step: str) -> None:
        """Until a step has begun; it may be over by the time that a busy machine looks."""
        eventually(lambda: any(it.name == step and it.started_at for it in self.run.steps), f"{step} to run", PATIENCE)

    def until_struck(self) -> None:
        """All that was to happen has happened."""
        eventually(lambda: not self.unstruck(), f"somebody to die at {self.unstruck()}", PATIENCE)

    def unstruck(self) -> list[str]:
        ours = [fault.point for fault in self.without_saga]
        without_saga = [
            point for point in planned_faults.outstanding(self.url, planned_faults.NO_SAGA) if point in ours
        ]
        return planned_faults.outstanding(self.url, self.saga_id) + without_saga


#: Returns the handle of a saga that has ended; None: rightly, there is none.
Story = Callable[[Trial], SagaHandle | None]


def is_at(run: SagaHandle, step: str, status: StepStatus) -> bool:
    return any(it.name == step and it.status is status and it.started_at is not None for it in run.steps)


# -- on the way of a healthy saga


def run_through(trial: Trial) -> SagaHandle:
    trial.arm()
    trial.arm_nobodys()
    trial.start()
    return trial.until_ended()


# -- started by a process that dies


def start_elsewhere(trial: Trial) -> SagaHandle:
    """Whoever finds out that it died starts it once more: the key makes one saga of it."""
    trial.arm()
    key = f"order-{trial.saga_id}"
    trial.errand("start", key=key)
    existed = trial.exists()
    assert existed is must_exist(trial)
    again = trial.start(key=key)
    assert again.id == trial.saga_id
    return trial.until_ended()


def start_in_a_transaction(trial: Trial, **options: Any) -> SagaHandle:
    """The application's own row and the saga are there together, or neither is."""
    trial.arm()
    trial.errand("start_in_transaction", **options)
    entries = journal.ledger(trial.url, trial.saga_id)
    assert trial.exists() is must_exist(trial)
    assert entries == (["order"] if trial.exists() else [])
    if not trial.exists():
        trial.start()
    return trial.until_ended()


def start_in_a_transaction_with_a_key(trial: Trial) -> SagaHandle:
    return start_in_a_transaction(trial, key=f"order-{trial.saga_id}")


def start_anew(trial: Trial) -> SagaHandle:
    """The key of a saga that was undone is handed over whole, or not at all."""
    key = f"order-{trial.saga_id}"
    former = trial.lane.start(trial.saga, {**trial.input, "script": {"a": "no"}}, uuid4(), key=key)
    assert former.wait(PATIENCE) is SagaStatus.COMPENSATED
    trial.arm()
    trial.errand("start", key=key, if_exists="restart")
    assert trial.exists() is must_exist(trial)
    found = trial.lane.shop.sagas.find(saga=trial.saga.name, key=key)
    assert found is not None
    assert found.id == (trial.saga_id if trial.exists() else former.id)
    trial.start(key=key, if_exists="restart")
    return trial.until_ended()


def start_twice(trial: Trial) -> SagaHandle:
    """Whoever asks for a key that is taken only reads, and dies without a trace."""
    key = f"order-{trial.saga_id}"
    first = trial.lane.start(trial.saga, trial.input, uuid4(), key=key)
    trial.arm()
    trial.errand("start", key=key)
    assert not trial.exists()
    first.wait(PATIENCE)
    return first


def must_exist(trial: Trial) -> bool:
    """Whether what a starter had done when it died was committed."""
    passed = [passage.point for passage in planned_faults.passages(trial.url, trial.saga_id)]
    begins = [point for point in passed if point.startswith("start | ") and point.endswith(":before")]
    transactional = any("RETIRE_ENDED" in point or "INSERT ledger" in point for point in begins)
    if transactional:
        return any(point.startswith("start | commit of") and point.endswith(":after") for point in passed)
    return bool({"start | START:after", "start | START_RUN:after"} & set(passed))


# -- moved on by somebody outside, whose process dies


def signalled(trial: Trial) -> SagaHandle:
    trial.start()
    trial.until_waiting("approval")
    trial.arm()
    trial.errand("signal", name="approval", key="once")
    # The one who waits for an answer sends it again: the key makes one signal of it.
    try:
        trial.run.signal("approval", key="once")
    except TransitionRefused:
        assert trial.until_ended().status is SagaStatus.COMPLETED, "it has been heard"
    return trial.until_ended()


def cancelled(trial: Trial) -> SagaHandle:
    trial.start()
    trial.until_waiting("approval")
    trial.arm()
    if not trial.errand("cancel", reason="changed mind") and trial.run.status.is_forward:
        trial.run.cancel("changed mind")
    return trial.until_ended()


def retried_by_operator(trial: Trial) -> SagaHandle:
    trial.start()
    assert trial.until_ended().status is SagaStatus.FAILED
    gates.open_gate(trial.url, trial.run, "mended")
    trial.arm()
    if not trial.errand("retry", reason="mended") and trial.run.status is SagaStatus.FAILED:
        trial.run.retry("mended")
    eventually(lambda: trial.run.status is not SagaStatus.FAILED, "the retry to have an effect", PATIENCE)
    return trial.until_ended()


# -- in line for a resource


def first_in_line(trial: Trial) -> SagaHandle:
    """It dies when it should let the next one have what it held."""
    return in_line(trial, dies_first=True)


def next_in_line(trial: Trial) -> SagaHandle:
    return in_line(trial, dies_first=False)


def in_line(trial: Trial, *, dies_first: bool) -> SagaHandle:
    trial.arm()
    trial.arm_nobodys()
    data = {"account": str(trial.saga_id), "script": {"a": "wait:go"}}
    ids = [trial.saga_id, uuid4()] if dies_first else [uuid4(), trial.saga_id]
    first = trial.lane.start(trial.saga, data, ids[0])
    then = trial.lane.start(trial.saga, {**data, "script": {}}, ids[1])
    gates.until_reached(trial.url, first, "go")
    assert not any(step.started_at for step in then.steps)
    gates.open_gate(trial.url, first, "go")
    for run in (first, then):
        assert run.wait(PATIENCE) is SagaStatus.COMPLETED
    eventually(lambda: not held(trial, ids), "both to let go of what they held", PATIENCE)
    return trial.run


def held(trial: Trial, ids: Sequence[UUID]) -> bool:
    wanted = [str(it) for it in ids]
    return bool(
        journal.query(trial.url, "SELECT 1 FROM sagas.saga_lock WHERE instance_id = ANY (%s::uuid[]) LIMIT 1", wanted)
    )


# -- found by the sweep


def unsent(trial: Trial) -> SagaHandle:
    """The broker took no message of its start, and then sweeps die over it."""
    trial.arm()
    trial.arm_nobodys()
    assert trial.errand("start")
    if trial.without_saga:
        trial.until_struck()
    return trial.until_ended()


def forgotten(trial: Trial) -> None:
    """Mail for a saga that is gone, which nobody will ever read."""
    trial.arm()
    trial.arm_nobodys()
    journal.query(trial.url, "INSERT INTO sagas.saga_inbox (instance_id, kind) VALUES (%s, 'wake')", str(trial.saga_id))
    # Where it was put away there is nothing to come to a second time.
    eventually(
        lambda: len(trial.unstruck()) < max(1, len(trial.faults)), f"somebody to die at {trial.unstruck()}", PATIENCE
    )
    unread = "SELECT 1 FROM sagas.saga_inbox WHERE instance_id = %s AND consumed_at IS NULL"
    eventually(lambda: not journal.query(trial.url, unread, str(trial.saga_id)), "the mail to be put away", PATIENCE)


def fallen_silent(trial: Trial) -> None:
    """A worker of which nobody hears any more: suspected at first, and then declared dead."""
    trial.arm_nobodys()
    journal.query(
        trial.url,
        "INSERT INTO sagas.saga_worker (id, hostname, pid, queues, deliveries, listed_at, heartbeat_at) "
        "VALUES (%s, 'elsewhere', 1, '{}', '{}', clock_timestamp(), clock_timestamp() - interval '1 hour')",
        str(trial.saga_id),
    )
    trial.until_struck()
    is_dead = "SELECT dead_at IS NOT NULL FROM sagas.saga_worker WHERE id = %s"
    eventually(lambda: journal.query(trial.url, is_dead, str(trial.saga_id))[0][0], "it to be declared dead", PATIENCE)


# -- the worker itself


def meanwhile(trial: Trial) -> SagaHandle:
    """The worker dies of something that is none of the saga's business, while a step of it runs."""
    trial.arm()
    trial.start()
    trial.until_begun("b")
    trial.arm_nobodys()
    trial.until_struck()
    return trial.until_ended()


def says_goodbye(trial: Trial) -> SagaHandle:
    """It dies in a warm shutdown, when all that it held is done."""
    trial.start()
    trial.until_begun("b")
    trial.arm_nobodys()
    trial.lane.worker.process.terminate()  # type: ignore[union-attr]
    trial.until_struck()
    return trial.until_ended()
