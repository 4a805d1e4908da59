"""The hot path: claim and complete, one statement each (see `statements` for what each costs)."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from sagas.model import Address, PlanStep, SagaStatus
from sagas.store import statements
from sagas.store.database import OUTAGE_PATIENCE, Database
from sagas.store.timing import Timing

#: How often a process reports how far a queue has come, at most, in seconds.
REPORT_EVERY = 1.0


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim brought back. JSON is still text: `plan` is None when its fingerprint was known."""

    attempts: int
    claimed_at: datetime
    epoch_changed: bool
    doubt: bool
    saga: str
    plan_hash: str
    plan: str | None
    data: str
    deadline: datetime | None
    earlier_results: str | None
    own_result: str | None


class HotPath:
    """Claims and completes executions."""

    def __init__(self, database: Database, quoted_schema: str, timing: Timing) -> None:
        self._database = database
        self._timing = timing
        self._claim = statements.CLAIM.replace("{s}", quoted_schema)
        self._complete = statements.COMPLETE.replace("{s}", quoted_schema)
        self._own_token = statements.OWN_TOKEN.replace("{s}", quoted_schema)
        self._reported_at = 0.0

    def claim(
        self,
        instance_id: UUID,
        address: Address,
        *,
        token: UUID,
        worker_id: UUID | None,
        delivery: str | None,
        known_plans: Sequence[str],
    ) -> Claim | None:
        """Take an execution that is unclaimed. None: there is nothing to take."""
        report = time.monotonic() - self._reported_at >= REPORT_EVERY
        parameters = self._place(instance_id, address, token) | {
            "worker_id": str(worker_id) if worker_id else None,
            "delivery": delivery,
            "known_plans": list(known_plans) or [""],
            "report": report,
        }
        row = self._database.retrying(lambda: self._one(self._claim, parameters), OUTAGE_PATIENCE)
        if report and row is not None:
            self._reported_at = time.monotonic()
        return Claim(*row) if row is not None else None

    def complete(
        self,
        instance_id: UUID,
        address: Address,
        *,
        token: UUID,
        result: str | None,
        following: PlanStep | None,
        queue: str | None,
        connection: Connection | None = None,
    ) -> SagaStatus | None:
        """Record an action's result. None: the token does not hold the claim (any more).

        Args:
            following: the step that this completion gives birth to; None after the last one.
            queue: where the following step's message goes.
            connection: the step's own transaction, which the caller commits; else this is its own.
        """
        parameters = self._place(instance_id, address, token) | {
            "result": result,
            "next_position": following.position if following else None,
            "next_branch": following.branch if following else None,
            "next_name": following.name if following else None,
            "next_queue": queue,
            "next_timeout": following.timeout if following else None,
            "lease": self._timing.lease,
            "half_lease": self._timing.lease / 2,
        }
        if connection is not None:
            row = connection.exec_driver_sql(self._complete, parameters).one_or_none()
        else:
            row = self._database.retrying(lambda: self._one(self._complete, parameters), OUTAGE_PATIENCE)
        return SagaStatus(row[0]) if row is not None else None

    def completed_by(
        self, instance_id: UUID, address: Address, token: UUID, connection: Connection | None = None
    ) -> SagaStatus | None:
        """The instance's status if this very token completed the execution, else None."""
        parameters = self._place(instance_id, address, token)
        if connection is not None:
            row = connection.exec_driver_sql(self._own_token, parameters).one_or_none()
        else:
            row = self._database.retrying(lambda: self._one(self._own_token, parameters), OUTAGE_PATIENCE)
        return SagaStatus(row[0]) if row is not None else None

    def _one(self, statement: str, parameters: dict[str, Any]) -> Any:
        with self._database.autocommit() as connection:
            return connection.exec_driver_sql(statement, parameters).one_or_none()

    @staticmethod
    def _place(instance_id: UUID, address: Address, token: UUID) -> dict[str, Any]:
        return {
            "instance_id": str(instance_id),
            "position": address.position,
            "branch": address.branch,
            "round": address.round,
            "token": str(token),
        }
