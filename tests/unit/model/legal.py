"""What must hold of every state, whatever happened: the database's constraints, and the table of legal transitions."""

import json
import re
from collections.abc import Callable
from datetime import datetime
from itertools import chain
from pathlib import Path

import sagas.store
from sagas.model import (
    FINAL,
    TRANSITIONS,
    Address,
    Decision,
    ExecutionStatus,
    InstanceState,
    Note,
    Plan,
    SagaStatus,
    StepState,
    child_id,
)
from sagas.model.history import end_of, notes_of

_ENDED = (ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.SKIPPED)
_MIGRATION = Path(sagas.store.__file__).parent / "migrations" / "0001_initial.sql"

#: The CHECK constraints of the migration, by name, as the model must keep them.
INSTANCE_CHECKS: dict[str, Callable[[InstanceState], bool]] = {
    "saga_instance_status": lambda it: it.status in SagaStatus,
    "saga_instance_finished_exactly_when_final": lambda it: (it.finished_at is not None) == (it.status in FINAL),
    "saga_instance_final_is_never_due": lambda it: not (it.status in FINAL and it.due_at is not None),
    "saga_instance_pending_not_negative": lambda it: it.pending >= 0,
}
STEP_CHECKS: dict[str, Callable[[StepState], bool]] = {
    "saga_step_status": lambda it: it.status in ExecutionStatus,
    "saga_step_running_has_token": lambda it: (
        it.status is not ExecutionStatus.RUNNING or (it.token is not None and it.claimed_at is not None)
    ),
    "saga_step_finished_exactly_when_ended": lambda it: (it.finished_at is not None) == (it.status in _ENDED),
    "saga_step_completed_is_not_in_doubt": lambda it: not (it.status is ExecutionStatus.COMPLETED and it.doubt),
    "saga_step_counts": lambda it: min(it.attempts, it.losses, it.dispatches) >= 0,
}


#: Every legal change of an execution's status. It is born pending, and may go on in the same decision, but for a claim.
#: `docs/architecture.md` draws it.
STEP_TRANSITIONS: dict[ExecutionStatus, frozenset[ExecutionStatus]] = {
    ExecutionStatus.PENDING: frozenset(
        {ExecutionStatus.RUNNING, ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.SKIPPED}
    ),
    ExecutionStatus.RUNNING: frozenset(
        {ExecutionStatus.PENDING, ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.SKIPPED}
    ),
    ExecutionStatus.FAILED: frozenset({ExecutionStatus.PENDING, ExecutionStatus.COMPLETED, ExecutionStatus.SKIPPED}),
    ExecutionStatus.SKIPPED: frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.FAILED}),
    ExecutionStatus.COMPLETED: frozenset(),
}


def constraints_of_the_migration() -> set[str]:
    return set(re.findall(r"CONSTRAINT (\w+) CHECK", migration()))


def migration() -> str:
    return _MIGRATION.read_text()


def assert_legal(plan: Plan, before: InstanceState, decision: Decision, now: datetime, *, looked: bool) -> None:
    """What holds after every decision, whatever happened. ``looked``: it was a tick that looked at everything."""
    after = decision.state
    broken = [name for name, holds in INSTANCE_CHECKS.items() if not holds(after)]
    broken += [f"{name} at {it.address}" for it in after.steps for name, holds in STEP_CHECKS.items() if not holds(it)]
    assert not broken, f"the database would refuse {broken}: {after}"
    if before.status is not after.status:
        assert after.status in TRANSITIONS[before.status], f"{before.status} must not become {after.status}"
    were = {it.address: it.status for it in before.steps}
    for it in after.steps:
        assert it.address in were or it.status is not ExecutionStatus.RUNNING, (
            f"{it.address} was born and claimed at once"
        )
        was = were.get(it.address, ExecutionStatus.PENDING)
        assert it.status is was or it.status in STEP_TRANSITIONS[was], (
            f"{it.address}: {was} must not become {it.status}"
        )
    live = [it for it in after.steps if it.is_live]
    given_up_beside = [it for it in after.actions() if is_given_up(plan, it) and plan.is_parallel(it.address.position)]
    awaited = live + given_up_beside if after.status.is_forward else live
    assert after.pending == len(awaited), "pending is the number of live rows, and of what no sibling may pass over"
    if after.status not in FINAL:
        assert after.due_at is not None, f"{after.status}, and no sweep will ever look at it"
        assert not looked or after.due_at > now, "a tick that leaves it due at once starves the others"
    assert [it.address for it in after.steps] == sorted({it.address for it in after.steps})
    assert {it.address for it in before.steps} <= {it.address for it in after.steps}, "a row is gone"
    assert_commands_fit(plan, before, decision)
    if after.status.is_forward or after.status is SagaStatus.COMPLETED:
        assert_born_in_order(plan, after)
    if before.status in (SagaStatus.COMPENSATING, SagaStatus.COMPENSATED):
        assert len(after.actions()) == len(before.actions()), "an action is born in a saga that turns back"
    json.dumps([note.detail for note in decision.notes])
    assert_nothing_is_forgotten(before, decision)
    if after.status is SagaStatus.COMPLETED:
        assert all(is_done(plan, it) and it.address.is_action for it in after.steps)
        assert len(after.steps) == len(plan.steps)
    if looked and after.status.is_forward and not after.evidence.awaits_lock:
        assert any(it.is_live for it in after.actions()), "it goes forward, and there is nothing to wait for"


def assert_nothing_is_forgotten(before: InstanceState, decision: Decision) -> None:
    """The ends that rows told, and the beginnings of what had ended, are told by the rows or by entries afterwards."""
    kept = {(note.event, note.address, note.at) for note in (*told(decision.state), *decision.notes)}
    was_told = {(note.event, note.address, note.at) for note in told(before)}
    ended = {step.address for step in before.steps if step.finished_at is not None} | {None}
    gone = {entry for entry in was_told - kept if entry[1] in ended}
    assert not gone, f"the history forgets {gone}"


def told(state: InstanceState) -> list[Note]:
    """What the rows alone tell."""
    return [*chain.from_iterable(map(notes_of, state.steps)), *end_of(state)]


def assert_commands_fit(plan: Plan, before: InstanceState, decision: Decision) -> None:
    """What is to be sent, started, stopped and posted is what the rows say."""
    after = decision.state
    assert len({send.address for send in decision.sends}) == len(decision.sends), f"sent twice: {decision.sends}"
    for send in decision.sends:
        row = after.at(send.address)
        assert row is not None, f"{send} has no row"
        assert row.status is ExecutionStatus.PENDING, f"{send} can not be claimed"
        assert row.dispatched_at is not None, f"{send} is not recorded as dispatched"
        assert plan.step(send.address.position, send.address.branch).is_task, f"{send} is for no worker"
    for child in decision.children:
        row = after.at(child.address)
        assert row is not None, f"{child} has no row"
        assert row.is_live, f"{child} is started for a step that has ended"
        assert child.id == child_id(after.id, row), "and will not be found again"
    for address in decision.stops:
        rows = (before.at(address), after.at(address))
        assert any(row and row.status is ExecutionStatus.RUNNING for row in rows), (
            f"{address} is to stop and did not run"
        )
    assert decision.consumed <= {mail.id for mail in before.evidence.inbox}


def assert_born_in_order(plan: Plan, state: InstanceState) -> None:
    """All heads of a position once everything before it is done; in a lane one after the other."""
    born = {it.address: it for it in state.actions()}
    for address in born:
        step = plan.step(address.position, address.branch)
        heads = plan.heads(address.position)
        if step in heads:
            before = plan.beside(address.position - 1) if address.position else ()
            assert all(Address(head.position, head.branch) in born for head in heads), f"only some beside {address}"
        else:
            before = (plan.step(address.position, address.branch - 1),)
        for other in before:
            earlier = born.get(Address(other.position, other.branch))
            assert earlier is not None, f"{address} was born before {other.name}"
            assert is_done(plan, earlier), f"{address} was born while {other.name} is {earlier.status}"


def is_done(plan: Plan, action: StepState) -> bool:
    return not action.is_live and not is_given_up(plan, action)


def is_given_up(plan: Plan, action: StepState) -> bool:
    """Of a best effort nobody expects anything."""
    step = plan.step(action.address.position, action.address.branch)
    return action.status is ExecutionStatus.FAILED and not step.best_effort
