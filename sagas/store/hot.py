"""The hot path: claim and complete, one statement each (see `statements` for their costs)."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from sagas.model import Address, ExecutionStatus, Plan, PlanStep, SagaStatus
from sagas.model.executions import LONGEST_COUNTDOWN
from sagas.store import run_statements, statements
from sagas.store.book import InSchema, StatementBook
from sagas.store.database import OUTAGE_PATIENCE, Database
from sagas.store.head_columns import Placement, head_columns
from sagas.store.prepared import Prepared
from sagas.store.timing import Timing

#: How often a process reports the progress of a queue, at most, in seconds.
REPORT_EVERY = 1.0


@dataclass(frozen=True, slots=True)
class Claim:
    """The result of a claim. JSON is still text: `plan` is None if its fingerprint was known."""

    attempts: int
    forgiven: int  # attempts before an operator's retry
    claimed_at: datetime
    timeout: float
    soft_timeout: float | None
    epoch_changed: bool
    doubt: bool
    saga: str
    plan_hash: str
    plan: str | None
    data: str
    deadline: datetime | None
    earlier_results: str | None
    own_result: str | None
    headers: str | None


@dataclass(frozen=True, slots=True)
class ClaimedDelivery(Claim):
    """The result of a delivery's claim: the event comes with it."""

    event_id: UUID
    type: str
    version: int
    payload: str
    cause: int | None
    depth: int
    edits: int
    closed_by: int | None  # the number of the event that closed the handler; 0: its run turned back
    reason: str | None  # why its run turned back
    correlation_id: UUID | None  # of its run, if that was not begun by a caller
    dead_in_row: int  # deliveries that its handler has given up since it last did one
    paused_until: datetime | None  # the handler is paused, since it only fails


@dataclass(frozen=True, slots=True)
class NextSteps:
    """The steps that a completion gives birth to, if no other branch is outstanding."""

    position: int
    heads: tuple[PlanStep, ...]  # the steps whose messages are to be sent
    in_lane: bool  # only this lane goes on; otherwise all lanes have to be done first
    ends: bool  # nothing follows: the saga is completed
    needs_a_decision: bool  # no statement can do it alone (see `Plan.is_plain`)

    @classmethod
    def of(cls, plan: Plan, step: PlanStep) -> "NextSteps":
        """Return the steps that follow one step."""
        next_in_lane = plan.next_in_lane(step)
        position = step.position if next_in_lane else step.position + 1
        heads = (next_in_lane,) if next_in_lane else plan.heads(position)
        plain = all(head.is_task for head in heads)
        return cls(position, heads if plain else (), next_in_lane is not None, not heads, not plain)


@dataclass(frozen=True, slots=True)
class Progress:
    """The effect of a completion. ``following`` is None if other branches are not done or the saga has turned back."""

    status: SagaStatus
    following: NextSteps | None
    parent: UUID | None
    is_late: bool = False  # the deadline has passed: nothing follows, and the saga has to turn back
    in_line: frozenset[int] = frozenset()  # the branches whose messages wait in the line of another queue

    @property
    def needs_a_look(self) -> bool:
        """Whether the loop must look: draining has ended, it is late, or what follows needs a decision."""
        hands_over = self.following is not None and self.following.needs_a_decision and self.status.is_forward
        return self.status is SagaStatus.COMPENSATING or self.is_late or hands_over


class HotPath(InSchema):
    """Claims and completes executions."""

    def __init__(self, database: Database, book: StatementBook, timing: Timing) -> None:
        super().__init__(database, book)
        self._timing = timing
        self._claim = book.prepared(statements.CLAIM)
        self._claim_delivery = book.prepared(run_statements.CLAIM_DELIVERY)
        self._complete = book.prepared(statements.COMPLETE)
        self._own_token = book.prepared(statements.OWN_TOKEN)
        self._reported_at = 0.0

    def claim(
        self,
        instance_id: UUID,
        address: Address,
        *,
        task: str,
        token: UUID,
        worker_id: UUID | None,
        delivery: str | None,
        digest: str | None = None,
        sent: datetime | None = None,
        known_plans: Sequence[str],
        is_delivery: bool = False,
    ) -> Claim | None:
        """Take an unclaimed execution of ``task``. None: there is nothing to take.

        Args:
            is_delivery: whether it is that of an event, which comes back as a `ClaimedDelivery`.
            digest: says which headers of its saga the message carries.
            sent: when the message was sent, by the database's clock; evidence about messages that were sent before.
        """
        report = time.monotonic() - self._reported_at >= REPORT_EVERY
        parameters = self._place(instance_id, address, token) | {
            "task": task,
            "worker_id": str(worker_id) if worker_id else None,
            "delivery": delivery,
            "digest": digest,
            "known_plans": list(known_plans) or [""],
            "sent": sent if report else None,
            "countdown": LONGEST_COUNTDOWN,
            "outage": self._timing.outage,
        }
        row = self._one(self._claim_delivery if is_delivery else self._claim, parameters)
        if sent is not None and report and row is not None:
            self._reported_at = time.monotonic()
        if row is None:
            return None
        return ClaimedDelivery(*row) if is_delivery else Claim(*row)

    def complete(
        self,
        instance_id: UUID,
        plan: Plan,
        address: Address,
        *,
        token: UUID,
        result: str | None,
        keys: Sequence[str] = (),
        skipped: bool = False,
        placement: Placement,
        connection: Connection | None = None,
    ) -> Progress | None:
        """Record an action's result. None: the token no longer holds the claim, or another branch has one of its keys.

        Args:
            keys: the names in the result, if its position is parallel.
            skipped: whether its condition was false, so it has not run.
            placement: the queues and limits of the steps that follow.
            connection: the step's own transaction, which the caller commits; by default a transaction of its own.
        """
        step = plan.step(address.position, address.branch)
        following = NextSteps.of(plan, step)
        parameters = self._place(instance_id, address, token) | {
            "status": (ExecutionStatus.SKIPPED if skipped else ExecutionStatus.COMPLETED).value,
            "not_run": int(skipped),
            "result": result,
            "keys": list(keys),
            "own_lane": [other.branch for other in plan.lane(step)],
            "written": json.dumps(dict.fromkeys(keys, step.branch)) if keys else None,
            "in_lane": following.in_lane,
            "ends": following.ends,
            "hands_over": following.needs_a_decision,
            # A step that is handed over stays pending, or a sibling would take itself for the last.
            "follow": 1 if following.needs_a_decision else len(following.heads),
            "is_limited": plan.is_limited,
            "may_stop": plan.pivot is None or step.position < plan.pivot.position,
            "outage": self._timing.outage,
            "next_position": following.position,
            **head_columns(following.heads, placement),
        }
        if connection is not None:
            row: Any = self._complete.run_in_full(connection, parameters).one_or_none()
        else:
            row = self._one(self._complete, parameters)
        if row is None:
            return None
        status, advances, parent_id, is_late, in_line = row
        return Progress(
            SagaStatus(status), following if advances else None, parent_id, is_late, frozenset(in_line or ())
        )

    def completed_by(
        self, instance_id: UUID, plan: Plan, address: Address, token: UUID, connection: Connection | None = None
    ) -> Progress | None:
        """Return the progress if this very token completed the execution, otherwise None.

        Whether the next step was reached is no longer known: sending it once too often does no harm.
        """
        parameters = self._place(instance_id, address, token)
        if connection is not None:
            row: Any = self._own_token.run_in_full(connection, parameters).one_or_none()
        else:
            row = self._one(self._own_token, parameters)
        if row is None:
            return None
        status, parent_id = row
        following = NextSteps.of(plan, plan.step(address.position, address.branch))
        return Progress(SagaStatus(status), following, parent_id)

    def _one(self, statement: Prepared, parameters: dict[str, Any]) -> Any:
        return self._database.retrying(partial(statement.row, self._database, parameters), OUTAGE_PATIENCE)

    @staticmethod
    def _place(instance_id: UUID, address: Address, token: UUID) -> dict[str, Any]:
        return {
            "instance_id": str(instance_id),
            "position": address.position,
            "branch": address.branch,
            "round": address.round,
            "token": str(token),
        }
