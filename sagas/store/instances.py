"""Instances as the loop sees them: locked, loaded, saved."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Delete, Update, delete, func, insert, select, text, update

from sagas.errors import RowDamaged
from sagas.model import TRANSITIONS, Address, Decision, InstanceState, Note, Plan, StartChild, StepState
from sagas.store import neighbour_statements, statements, sweep_statements
from sagas.store.births import Placement
from sagas.store.database import Database
from sagas.store.inbox import Inbox
from sagas.store.reading import Reading
from sagas.store.rows import (
    STEP_COLUMNS,
    column_of,
    encoded_whole,
    json_text,
    legible,
    merged,
    state_of,
    step_of,
)
from sagas.store.tables import Tables
from sagas.store.timing import Timing


class Joining(Enum):
    """Whether an execution that is to be sent joins its queue's line.

    An execution that ends leaves a place among the sent messages, and its successor takes it.
    """

    NOT = auto()
    BEHIND_OTHERS = auto()  # if there is a line
    ALWAYS = auto()


@dataclass(frozen=True, slots=True)
class Saved:
    """The result of saving a decision."""

    moved: bool  # anything but the next look changed
    in_line: frozenset[Address]  # executions to be sent that wait in their line


@dataclass(frozen=True, slots=True)
class Loaded:
    """A locked instance: its state, its plan, the database's clock."""

    state: InstanceState
    saga: str
    key: str | None
    plan: Plan
    now: datetime
    headers: str | None  # see `Headers`


class Instances(Reading):
    """Loads and saves instances, always under the instance's row lock."""

    def __init__(self, database: Database, tables: Tables, quoted_schema: str, timing: Timing) -> None:
        super().__init__(database, tables, quoted_schema)
        self._timing = timing
        self._plans: dict[str, Plan] = {}
        self._load = text(statements.LOAD_INSTANCE.replace("{s}", quoted_schema))
        self._load_if_free = text(statements.LOAD_INSTANCE_IF_FREE.replace("{s}", quoted_schema))
        self._load_steps = text(statements.LOAD_STEPS.replace("{s}", quoted_schema))
        self._load_neighbours = text(statements.LOAD_NEIGHBOURS.replace("{s}", quoted_schema))
        self._stop = text(sweep_statements.STOP_RUNNING.replace("{s}", quoted_schema))
        self._has_line = text(statements.IS_THERE_A_LINE.replace("{s}", quoted_schema))
        self._mark_ended = text(neighbour_statements.MARK_ENDED.replace("{s}", quoted_schema))
        self.inbox = Inbox(database, quoted_schema)

    # -- plans: an instance's own plan rules, and there are few of them

    @property
    def known_plans(self) -> Sequence[str]:
        return tuple(self._plans)

    def plan(self, plan_hash: str, stored: str | dict[str, Any] | None) -> Plan:
        """Return a known plan by its fingerprint, or parse and remember the stored one."""
        if plan_hash not in self._plans:
            if stored is None:
                raise LookupError(f"plan {plan_hash} is neither known nor given")
            self._plans[plan_hash] = Plan.from_json(json.loads(stored) if isinstance(stored, str) else stored)
        return self._plans[plan_hash]

    def remember(self, plan: Plan) -> None:
        self._plans[plan.fingerprint] = plan

    # -- the loop's transaction

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with self._database.transaction() as connection:
            yield connection

    def lock(self, connection: Connection, instance_id: UUID, *, skip_locked: bool = False) -> Loaded | None:
        """Lock an instance and load it with its steps and their evidence.

        None: there is no such instance, or (with ``skip_locked``) another transaction has locked it.

        Raises:
            RowDamaged: its rows cannot be read.
        """
        with legible(instance_id):
            return self._lock(connection, instance_id, skip_locked=skip_locked)

    def _lock(self, connection: Connection, instance_id: UUID, *, skip_locked: bool) -> Loaded | None:
        statement = self._load_if_free if skip_locked else self._load
        row = connection.execute(statement, {"id": instance_id}).one_or_none()
        if row is None:
            return None
        steps = connection.execute(self._load_steps, {"id": instance_id, "lease": self._timing.lease}).all()
        if row.plan_hash not in self._plans:
            instance = self._tables.instance
            self.plan(row.plan_hash, connection.scalar(select(instance.c.plan).where(instance.c.id == instance_id)))
        plan = self._plans[row.plan_hash]
        asked = {"id": instance_id, "has_children": plan.has_children, "is_limited": plan.is_limited}
        beside = connection.execute(self._load_neighbours, asked | {"outage": self._timing.outage}).one()
        return Loaded(
            state=state_of(row, tuple(step_of(step) for step in steps), beside),
            saga=row.saga,
            key=row.key,
            plan=plan,
            # A statement that waits for its lock has already read the clock: the second one is up to date.
            now=max([row.now, *(step.now for step in steps)]),
            headers=row.headers,
        )

    def save(
        self,
        connection: Connection,
        loaded: Loaded,
        decision: Decision,
        placement: Placement,
        joining: Joining = Joining.NOT,
    ) -> Saved:
        """Write what a decision changed.

        Args:
            placement: the queue and limits of a step (and a round of it) when it is born.
            joining: which of the executions to send join their queues' lines instead.
        """
        before, after = loaded.state, decision.state
        known = {step.address: step for step in before.steps}
        changed_steps = [step for step in after.steps if step != known.get(step.address)]
        to_send = {send.address for send in decision.sends}
        in_line = set()
        for step in changed_steps:
            joins = joining if step.address in to_send else Joining.NOT
            if self._save_step(connection, before.id, loaded.plan, known.get(step.address), step, placement, joins):
                in_line.add(step.address)
        for note in decision.notes:
            self._add_note(connection, before.id, note, loaded.now)
        for child in decision.children:
            self._start_child(connection, loaded, child)
        for post in decision.posts:
            self.inbox.put(connection.scalar, post.to, post.mail)
        for address in decision.stops:
            place = {"position": address.position, "branch": address.branch}
            connection.execute(self._stop, place | {"id": before.id})
        if before.inbox:
            self.inbox.mark_read(connection, [mail.id for mail in before.inbox], decision.consumed)
        moved = bool(changed_steps or decision.notes) or before.status is not after.status
        if loaded.plan.is_limited and after.status is not before.status:
            connection.execute(self._mark_ended, {"id": before.id, "status": after.status.value})
        if moved or before.due_at != after.due_at:
            self._save_instance(connection, before, after)
        return Saved(moved, frozenset(in_line))

    def _save_instance(self, connection: Connection, before: InstanceState, after: InstanceState) -> None:
        if after.status not in TRANSITIONS[before.status] | {before.status}:
            raise RowDamaged(
                f"saga {before.id} may not go from {before.status.value} to {after.status.value}: was a row edited by "
                "hand?"
            )
        instance = self._tables.instance
        result = connection.execute(
            update(instance)
            .where(instance.c.id == before.id, instance.c.status == before.status.value)
            .values(
                status=after.status.value,
                error=json_text(after.error.to_json() if after.error else None),
                stop=json_text(after.stop.to_json() if after.stop else None),
                deadline=after.deadline,
                deadline_seconds=None if after.deadline else instance.c.deadline_seconds,
                due_at=after.due_at,
                pending=after.pending,
                written=json_text(after.written),
                finished_at=after.finished_at,
                updated_at=func.clock_timestamp(),
                unreadable_at=None,
            )
        )
        if result.rowcount != 1:
            raise RowDamaged(f"saga {before.id} changed its status under our lock; was a row edited by hand?")

    def _save_step(
        self,
        connection: Connection,
        instance_id: UUID,
        plan: Plan,
        before: StepState | None,
        after: StepState,
        placement: Placement,
        joining: Joining,
    ) -> bool:
        """Save an execution. Return whether it now waits in its queue's line."""
        step, address = self._tables.step, after.address
        plan_step = plan.step(address.position, address.branch)
        values = {
            column: value
            for column in STEP_COLUMNS
            if before is None or getattr(before, column) != getattr(after, column)
            for value in [column_of(after, column)]
        }
        if "finished_at" in values:
            values["result"] = after.result  # never loaded; clears the result of an earlier end
        if "dispatched_at" in values and after.dispatched_at is not None:
            # Dispatch stamps the epoch: unclaimed under another one, a claim may have been lost.
            values["epoch"] = select(self._tables.epoch.c.epoch).scalar_subquery()
        in_line = joining is Joining.ALWAYS or (
            joining is Joining.BEHIND_OTHERS
            and bool(connection.scalar(self._has_line, {"queue": placement.queue_of(plan_step, address.round)}))
        )
        if in_line:
            values |= {"line": "", "dispatches": max(after.dispatches - 1, 0)}
        elif before is not None and "dispatched_at" in values:
            values["line"] = None
        if before is None:
            limits = placement.limits_of(plan_step, address.round)
            values |= {
                "instance_id": instance_id,
                "position": address.position,
                "branch": address.branch,
                "round": address.round,
                "lane": plan_step.lane,
                "name": after.name,
                "task": plan_step.task_for(address.round),
                "queue": placement.queue_of(plan_step, address.round),
                "timeout": limits.timeout,
                "soft_timeout": limits.soft,
            }
            connection.execute(insert(step).values(values))
        elif values:
            connection.execute(
                update(step)
                .where(
                    step.c.instance_id == instance_id,
                    step.c.position == address.position,
                    step.c.branch == address.branch,
                    step.c.round == address.round,
                )
                .values(values)
            )
        return in_line

    def _add_note(self, connection: Connection, instance_id: UUID, note: Note, at: datetime) -> None:
        address = note.address
        connection.execute(
            insert(self._tables.event).values(
                instance_id=instance_id,
                at=note.at or at,
                event=note.event.value,
                position=address.position if address else None,
                branch=address.branch if address else None,
                round=address.round if address else None,
                step=note.step,
                detail=json.dumps(note.detail),
            )
        )

    def _start_child(self, connection: Connection, loaded: Loaded, child: StartChild) -> None:
        """Insert a child saga, which no other transaction can have locked; the first look begins its first step."""
        step = loaded.plan.step(child.address.position, child.address.branch)
        assert step.child is not None
        with legible(loaded.state.id):
            place = {"position": step.position, "lane": step.lane, "branch": step.branch}
            data = merged(*connection.execute(self._data, place | {"id": loaded.state.id}).one())
        wanted = data if step.child_input is None else {name: data[name] for name in step.child_input if name in data}
        connection.execute(
            insert(self._tables.instance).values(
                id=child.id,
                saga=step.child.saga,
                version=step.child.version,
                plan=step.child.text,
                plan_hash=step.child.fingerprint,
                data=encoded_whole(wanted),
                pending=0,
                due_at=func.clock_timestamp(),
                parent_id=loaded.state.id,
                headers=loaded.headers,
            )
        )

    def delete(self, instance_ids: Sequence[UUID]) -> None:
        """Delete instances with everything that belongs to them."""
        tables = self._tables
        self._delete(
            delete(tables.inbox).where(tables.inbox.c.instance_id.in_(instance_ids)),
            # The sweep releases their resources and wakes the next in line.
            update(tables.lock)
            .where(tables.lock.c.instance_id.in_(instance_ids))
            .values(ended_at=func.clock_timestamp()),
            delete(tables.instance).where(tables.instance.c.id.in_(instance_ids)),
        )

    def delete_all(self) -> None:
        """Delete every instance, after a test."""
        self._delete(*(delete(table) for table in (self._tables.inbox, self._tables.lock, self._tables.instance)))

    def _delete(self, *statements: Delete | Update) -> None:
        with self._database.transaction() as connection:
            for statement in statements:
                connection.execute(statement)
