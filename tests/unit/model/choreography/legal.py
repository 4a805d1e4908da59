"""What must hold of every state of a run, whatever happened."""

import json
from datetime import datetime

from sagas.model import TRANSITIONS, Address, ExecutionStatus, SagaStatus, StepState
from sagas.model.choreography import ChoreographyPlan, IfDead
from sagas.model.choreography.state import Delivery, RunDecision, RunState
from tests.unit.model.legal import STEP_CHECKS, STEP_TRANSITIONS, assert_nothing_is_forgotten

ENDED = (SagaStatus.COMPLETED, SagaStatus.COMPENSATED)
DELIVERY_TRANSITIONS = {
    **STEP_TRANSITIONS,
    ExecutionStatus.HELD: frozenset(
        {ExecutionStatus.PENDING, ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.SKIPPED}
    ),
    ExecutionStatus.FAILED: STEP_TRANSITIONS[ExecutionStatus.FAILED] | {ExecutionStatus.HELD},
}


def assert_legal(plan: ChoreographyPlan, before: RunState, said: RunDecision, now: datetime, unnumbered: int) -> None:
    after = said.state
    rows = [row for row in after.steps if isinstance(row, Delivery)]
    assert len(rows) == len(after.steps)
    broken = [f"{name} at {it.address}" for it in rows for name, holds in STEP_CHECKS.items() if not holds(it)]
    assert not broken, f"the database would refuse {broken}: {after}"
    assert (after.finished_at is not None) == after.status.is_final
    if before.status is not after.status:
        assert after.status in TRANSITIONS[before.status], f"{before.status} must not become {after.status}"
        is_stray = any(it.is_live or it.dead_at for it in rows if not it.evidence.is_late)
        assert before.status not in ENDED or is_stray, "V18: what came late has opened a run that had ended"
    were = {it.address: it.status for it in before.steps}
    for row in rows:
        was = were.get(row.address, ExecutionStatus.HELD if row.address.is_action else ExecutionStatus.PENDING)
        assert row.status is was or row.status in DELIVERY_TRANSITIONS[was], f"{row.address}: {was} -> {row.status}"
        if row.dead_at is not None:
            assert row.status is ExecutionStatus.FAILED, f"{row.address} is {row.status}, and a dead letter"
    assert after.pending == sum(row.is_live for row in rows)
    assert {it.address for it in before.steps} <= {it.address for it in after.steps}, "a row is gone"
    numbers = [given.number for given in said.numbered]
    numbers += [it.number for it in said.published if it.number is not None]
    assert sorted(numbers) == list(range(before.numbered + 1, after.numbered + 1)), "numbers are dense"
    assert_released(plan, after)
    assert_letters(plan, after)
    assert_sent(plan, said)
    assert_status(plan, after, now, unnumbered)
    assert before.closed.items() <= after.closed.items(), "a handler was opened again"
    json.dumps([note.detail for note in said.notes])
    assert_nothing_is_forgotten(before, said)


def assert_released(plan: ChoreographyPlan, state: RunState) -> None:
    """V3: a held delivery has an unfinished or dead one before it; and of an ordered handler one runs at a time."""
    for handler in plan.handlers:
        rows = sorted((it for it in state.actions() if it.address.branch == handler.place), key=place)
        in_the_way = [
            it
            for it in rows
            if it.finished_at is None
            or (isinstance(it, Delivery) and it.dead_at is not None and handler.if_dead is not IfDead.SKIP)
        ]
        held = [it for it in rows if it.status is ExecutionStatus.HELD]
        if not handler.is_ordered:
            assert not held, f"{held[0].address} is held by nothing"
            continue
        live = [it for it in rows if it.is_live]
        for row in held:
            assert live or place(in_the_way[0]) < place(row), f"{row.address} is held by nothing"
        assert len(live) <= 1, f"{live[1].address} was let go beside {live[0].address}"


def place(row: StepState) -> tuple[bool, Address]:
    """The order of a handler's deliveries: what came late is behind all others."""
    return isinstance(row, Delivery) and row.evidence.is_late, row.address


def assert_letters(plan: ChoreographyPlan, state: RunState) -> None:
    for row in state.steps:
        assert isinstance(row, Delivery)
        handler = plan.handlers[row.address.branch]
        is_closed = handler.name in state.closed
        if row.status is not ExecutionStatus.FAILED:
            continue
        if not row.address.is_action:
            assert row.dead_at is not None, f"the undo {row.address} has failed, and nobody hears of it"
        elif is_closed:
            assert row.dead_at is None, f"{row.address} is a letter, though its handler is closed"
        elif row.dead_at is None:
            assert handler.if_dead is IfDead.COMPENSATE, f"{row.address} was given up, and nobody hears of it"
            assert state.turned_at is not None
            assert not row.evidence.is_late
            assert not row.doubt


def assert_sent(plan: ChoreographyPlan, said: RunDecision) -> None:
    assert len({send.address for send in said.sends}) == len(said.sends), f"sent twice: {said.sends}"
    for send in said.sends:
        row = said.state.at(send.address)
        assert row is not None
        assert row.status is ExecutionStatus.PENDING, f"{send} can not be claimed"
        assert row.dispatched_at is not None


def assert_status(plan: ChoreographyPlan, state: RunState, now: datetime, unnumbered: int) -> None:
    live = [row for row in state.steps if row.is_live]
    own = [row for row in state.steps if isinstance(row, Delivery) and not row.evidence.is_late]
    assert state.quiet_from is None or not (live or state.status.is_final), "it is open, or over, and quiet"
    if state.status in ENDED:
        assert (state.due_at is not None) == bool(live), "what came late is open, and no sweep will ever look at it"
        assert not any(row.is_live or row.status is ExecutionStatus.HELD for row in own)
        assert not outstanding(plan, state), f"{state.status}, and {outstanding(plan, state)} were never undone"
        assert state.status is (SagaStatus.COMPENSATED if state.closed or state.turned_at else SagaStatus.COMPLETED)
    elif state.status is SagaStatus.FAILED:
        assert not any(row.is_live for row in own), "V11: it is failed, and something moves"
        assert state.due_at is not None or not live
        assert not unnumbered
        assert any(row.dead_at is not None for row in own)
    else:
        assert state.due_at is not None, f"{state.status}, and no sweep will ever look at it"
        if unnumbered:
            assert state.due_at <= now, "events wait for their numbers, and nobody looks"


def outstanding(plan: ChoreographyPlan, state: RunState) -> list[Address]:
    """Actions of closed handlers that happened, or may have, and have no undo that is done."""
    found = []
    for row in state.actions():
        happened = row.status is ExecutionStatus.COMPLETED or (row.finished_at is not None and row.doubt)
        if happened and plan.handlers[row.address.branch].name in state.closed:
            rounds = [it for it in state.compensations() if it.address.action == row.address]
            last = max(rounds, key=lambda it: it.address, default=None)
            if last is None or last.status not in (ExecutionStatus.COMPLETED, ExecutionStatus.SKIPPED):
                found.append(row.address)
    return found
