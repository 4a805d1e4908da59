"""Play a case: its saga, with its planned faults, to its end, and judge that."""

import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sagas import Choreography, SagaHandle
from sagas.store import run_id_of, uuid7
from tests.faults.boundaries import planned_faults
from tests.faults.boundaries.end_conditions import judge, judge_run
from tests.faults.boundaries.lanes import Lane
from tests.faults.boundaries.planned_faults import How, PlannedFault
from tests.faults.boundaries.points import Case
from tests.faults.boundaries.stories import PATIENCE, Trial
from tests.faults.boundaries.workloads import Workload
from tests.support import journal
from tests.support.workers import eventually

#: How often a saga is played if other processes move it on before it comes to its point: a sweep that was faster than
#: an error callback, say.
TAKES = 5


@dataclass(frozen=True)
class Ended:
    """A saga that was right at its end: it must stay like that."""

    url: str
    saga_id: UUID
    effects: tuple[str, ...]
    passages: Counter[str]

    def still(self) -> bool:
        return tuple(journal.effects(self.url, self.saga_id)) == self.effects


def rehearse(lane: Lane, workload: Workload) -> Ended:
    """Play a workload in which no process dies, except on the way to detours. Return what was passed.

    A sweep that is faster than a slow process does its work for it, so it may take several takes to see it all.
    """
    for _ in range(TAKES):
        ended = rehearse_once(lane, workload)
        if workload.points <= ended.passages.keys():
            break
    return ended


def rehearse_once(lane: Lane, workload: Workload) -> Ended:
    trial = trial_of(lane, workload, workload.first)
    run = workload.story(trial)
    if workload.without_saga:
        eventually(
            lambda: workload.without_saga <= points_of(lane, planned_faults.NO_SAGA).keys(),
            "sweeps, heartbeats",
            PATIENCE,
        )
    return verdict(lane, trial, workload, run, exactly=True)


def play(lane: Lane, case: Case) -> Ended:
    """Let one process die, or a whole worker."""
    for _ in range(TAKES):
        ended = take(lane, case)
        if ended is not None:
            return ended
    raise AssertionError(f"in {TAKES} takes no process came to {case.point}, and so none died")


def play_later(lane: Lane, case: Case, rehearsal: "Future[Ended]") -> None:
    """Play every passage of its point that is not a case of its own. Their number may be a matter of luck."""
    of_their_own = case.workload.nths_of(case.point)
    for nth in range(1, rehearsal.result().passages[case.point] + 1):
        if nth not in of_their_own:
            take(lane, replace(case, nth=nth))


def take(lane: Lane, case: Case) -> Ended | None:
    """Play a case once. None: its saga ended well, but no process came to the point: another one had been faster."""
    workload = case.workload
    turn = 1 + max((fault.turn for fault in workload.first), default=-1)
    own = [PlannedFault(point=case.point, nth=case.nth, how=case.how, turn=turn)]
    if case.then:
        own.append(PlannedFault(point=case.then, how=case.how, turn=turn + 1))
    if case.is_without_saga:
        # Points without a saga are passed by all processes: the faults are told apart by number.
        own = [replace(fault, nth=number, turn=0) for number, fault in enumerate(own, start=1)]
        trial = trial_of(lane, workload, workload.first, own)
    else:
        trial = trial_of(lane, workload, [*workload.first, *own])
    run = workload.story(trial)
    missed = trial.unstruck()
    exactly = case.how is How.PROCESS and not case.ends_worker
    ended = verdict(lane, trial, workload, run, exactly=exactly)
    # No process need come to the second point.
    return ended if missed in ([], [case.then]) else None


def trial_of(
    lane: Lane, workload: Workload, own: Sequence[PlannedFault], without_saga: Sequence[PlannedFault] = ()
) -> Trial:
    saga_id, key = uuid7(), None
    if isinstance(workload.saga, Choreography):
        key = str(saga_id)
        saga_id = run_id_of(workload.saga.name, key)
    given: dict[str, Any] = json.loads(json.dumps(workload.input).replace("{id}", str(saga_id)))
    return Trial(
        lane=lane, saga=workload.saga, saga_id=saga_id, input=given, key=key, faults=own, without_saga=without_saga
    )


def verdict(lane: Lane, trial: Trial, workload: Workload, run: SagaHandle | None, *, exactly: bool) -> Ended:
    url = lane.shop.database_url
    if run is not None:
        verdict_of = judge_run if isinstance(workload.saga, Choreography) else judge
        verdict_of(run, workload, url, exactly=exactly)
    return Ended(url, trial.saga_id, tuple(journal.effects(url, trial.saga_id)), points_of(lane, trial.saga_id))


def points_of(lane: Lane, saga_id: UUID) -> Counter[str]:
    return Counter(passage.point for passage in planned_faults.passages(lane.shop.database_url, saga_id))
