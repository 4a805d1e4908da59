"""Plain wakes: a batch of due instances for which only time has passed is moved on by one statement.

A look costs as much as running a step, and a hundred thousand may wake up at once. `decide` stays the authority: a test
holds the statement to it, and everything else is left to a look.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sagas.model import Plan, StepRole
from sagas.model.executions import LONGEST_SILENCE
from sagas.store import wake_statements
from sagas.store.book import InSchema, StatementBook
from sagas.store.database import Database
from sagas.store.head_columns import HEAD_COLUMNS, Placement, head_columns
from sagas.store.hot import NextSteps
from sagas.store.instances import Instances

COLUMNS = ("plans", "after", *HEAD_COLUMNS)


@dataclass(frozen=True, slots=True)
class Woken:
    """An instance whose sleep or wait for a retry is over; its next message waits in a line."""

    id: UUID
    saga: str
    has_begun: bool  # its status has just become `running`


class Waking(InSchema):
    """Wakes many instances at a time."""

    def __init__(self, database: Database, instances: Instances, book: StatementBook) -> None:
        super().__init__(database, book)
        self._instances = instances

    def wake(self, limit: int, placement: Placement) -> Sequence[Woken]:
        """Move on those due instances for which only time has passed, longest overdue first.

        Instances with a plan that this process does not know yet are left to a look, which loads the plan.
        """
        with self._database.transaction() as connection:
            due = connection.execute(self._sql(wake_statements.LOCK_DUE), {"limit": limit}).all()
            known = set(self._instances.known_plans).intersection(row.plan_hash for row in due)
            plans = {plan_hash: self._instances.plan(plan_hash, None) for plan_hash in known}
            ids = [row.id for row in due if row.plan_hash in plans]
            if not ids:
                return []
            asked = {"ids": ids, "silence": LONGEST_SILENCE, **_after_sleeps(plans.items(), placement)}
            woken = connection.execute(self._sql(wake_statements.WAKE_PLAIN), asked).all()
        return [Woken(row.id, plans[row.plan_hash].saga, row.has_begun) for row in woken]


def _after_sleeps(plans: Iterable[tuple[str, Plan]], placement: Placement) -> dict[str, list[Any]]:
    """Return the rows that follow each sleep whose end needs no decision: it is alone, and its successors are sent."""
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for plan_hash, plan in plans:
        for step in plan.steps:
            following = NextSteps.of(plan, step)
            if step.role is not StepRole.SLEEP or following.in_lane or plan.is_parallel(step.position):
                continue
            for name, born in head_columns(following.heads, placement).items():
                columns[name] += born
            columns["plans"] += [plan_hash] * len(following.heads)
            columns["after"] += [step.position] * len(following.heads)
    return columns
