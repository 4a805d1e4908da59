"""Instances as the loop sees them: locked, loaded, saved."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Delete, Update, delete, func, insert, select, update

from sagas.errors import RowDamaged
from sagas.model import Address, Decision, InstanceState, Plan, StartChild
from sagas.model.choreography import ChoreographyPlan, is_choreography
from sagas.model.choreography.as_plan import RunPlan
from sagas.model.choreography.state import RunDecision, RunState
from sagas.store import loop_statements, neighbour_statements, statements, sweep_statements
from sagas.store.book import StatementBook
from sagas.store.database import Database
from sagas.store.head_columns import Placement
from sagas.store.inbox import Inbox
from sagas.store.prepared import run_together
from sagas.store.reading import Reading
from sagas.store.rows import encoded_whole, legible, merged, state_of
from sagas.store.runs import Runs
from sagas.store.saving import Joining, as_json, changes, instance_values, note_values, step_values
from sagas.store.tables import Tables
from sagas.store.timing import Timing


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
    load: Callable[..., RunState] | None = None  # of a run: loads it again

    def with_evidence(self, **changes: Any) -> "Loaded":
        """Return the same instance with other evidence."""
        return replace(self, state=replace(self.state, evidence=replace(self.state.evidence, **changes)))

    def whole(self) -> "Loaded":
        """Return the same run with all of its deliveries."""
        assert self.load is not None
        return replace(self, state=self.load(whole=True))


def plan_from(stored: dict[str, Any]) -> Plan:
    """Return the plan of an instance, whether it is a saga's or a choreographed run's."""
    return RunPlan.of(ChoreographyPlan.from_json(stored)) if is_choreography(stored) else Plan.from_json(stored)


def has_numbered(decision: Decision) -> bool:
    """Return whether it gives numbers to events of a run, or publishes some."""
    return isinstance(decision, RunDecision) and bool(decision.numbered or decision.published)


class Instances(Reading):
    """Loads and saves instances, always under the instance's row lock."""

    def __init__(self, database: Database, tables: Tables, book: StatementBook, timing: Timing) -> None:
        super().__init__(database, tables, book)
        self._timing = timing
        self._plans: dict[str, Plan] = {}
        self._lock_it = book.prepared(loop_statements.LOCK_INSTANCE)
        self._lock_if_free = book.prepared(loop_statements.LOCK_INSTANCE_IF_FREE)
        self._load = book.prepared(loop_statements.LOAD)
        self._save = book.prepared(loop_statements.SAVE)
        self.inbox = Inbox(database, book)
        self.runs = Runs(database, book, timing)

    # -- plans: an instance's own plan rules, and there are few of them

    @property
    def known_plans(self) -> Sequence[str]:
        return tuple(self._plans)

    def plan(self, plan_hash: str, stored: str | dict[str, Any] | None) -> Plan:
        """Return a known plan by its fingerprint, or parse and remember the stored one.

        A plan without that fingerprint was edited by hand: it is that of its own instance, and of no other.
        """
        known = self._plans.get(plan_hash)
        if known is not None:
            return known
        if stored is None:
            raise LookupError(f"plan {plan_hash} is neither known nor given")
        plan = plan_from(json.loads(stored) if isinstance(stored, str) else stored)
        if plan.fingerprint == plan_hash:
            self.remember(plan)
        return plan

    def remember(self, plan: Plan) -> None:
        self._plans[plan.fingerprint] = plan

    # -- the loop's transaction

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Return a transaction that the lock of an instance begins."""
        with self._database.transaction(begun=False) as connection:
            yield connection

    def lock(
        self,
        connection: Connection,
        instance_id: UUID,
        *,
        skip_locked: bool = False,
        about: Address | None = None,
        late: int | None = None,
        hurried: bool = False,
    ) -> Loaded | None:
        """Lock an instance and load it with its steps and their evidence.

        None: there is no such instance, or (with ``skip_locked``) another transaction has locked it.

        Args:
            about: the delivery of a run that is loaded although it may be over.
            late: the number of a late event of a run that is loaded with it.
            hurried: wait for each lock for a second at most.

        Raises:
            RowDamaged: its rows cannot be read.
        """
        with legible(instance_id):
            return self._lock(connection, instance_id, about, late, hurried, skip_locked=skip_locked)

    def _lock(
        self,
        connection: Connection,
        instance_id: UUID,
        about: Address | None,
        late: int | None,
        hurried: bool,
        *,
        skip_locked: bool,
    ) -> Loaded | None:
        asked = {"id": str(instance_id), "lease": self._timing.lease, "outage": self._timing.outage}
        if skip_locked and run_together(connection, [self._lock_if_free], asked).one_or_none() is None:
            return None
        lock = [] if skip_locked else [self._lock_it]
        rows = run_together(connection, [*lock, self._load], asked, hurried).all()
        if not rows:
            return None
        row = rows[0]
        plan, load = self._plans.get(row.plan_hash), None
        if plan is None:
            query = select(self._tables.instance.c.plan).where(self._tables.instance.c.id == instance_id)
            plan = self.plan(row.plan_hash, connection.scalar(query))
        if isinstance(plan, RunPlan):
            load = partial(self.runs.load, connection, instance_id, rows, plan.graph, about, late)
        return Loaded(
            state=state_of(instance_id, rows) if load is None else load(whole=False),
            saga=row.saga,
            key=row.key,
            plan=plan,
            now=row.now,
            headers=row.headers,
            load=load,
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
        for child in decision.children:
            self._start_child(connection, loaded, child)
        for post in decision.posts:
            self.inbox.put(connection.scalar, post.to, post.mail)
        for address in decision.stops:
            place = {"position": address.position, "branch": address.branch}
            connection.execute(self._sql(sweep_statements.STOP_RUNNING), place | {"id": before.id})
        if isinstance(decision, RunDecision) and isinstance(loaded.plan, RunPlan):
            self.runs.save(connection, loaded.plan.graph, decision)
        if before.evidence.inbox:
            self.inbox.mark_read(connection, [mail.id for mail in before.evidence.inbox], decision.consumed)
        if loaded.plan.is_limited and after.status is not before.status:
            ended = {"id": before.id, "status": after.status.value}
            connection.execute(self._sql(neighbour_statements.MARK_ENDED), ended)
        changed = changes(before, after)
        moved = bool(changed or decision.notes) or before.status is not after.status or has_numbered(decision)
        in_line: Sequence[Sequence[int]] = ()
        if moved or before.due_at != after.due_at:
            to_send = {send.address for send in decision.sends}
            steps = [
                step_values(old, new, loaded.plan, placement, joining if new.address in to_send else Joining.NOT)
                for old, new in changed
            ]
            notes = [note_values(note, loaded.now) for note in decision.notes]
            values = instance_values(before, after) | {"steps": as_json(steps), "notes": as_json(notes)}
            found = run_together(connection, [self._save], values).one()
            if not found.is_saved:
                raise RowDamaged(f"saga {before.id} changed its status under our lock; was a row edited by hand?")
            in_line = found.in_line or ()
        return Saved(moved, frozenset(Address(*place) for place in in_line))

    def _start_child(self, connection: Connection, loaded: Loaded, child: StartChild) -> None:
        """Insert a child saga, which no other transaction can have locked; the first look begins its first step."""
        step = loaded.plan.step(child.address.position, child.address.branch)
        assert step.child is not None
        with legible(loaded.state.id):
            place = {"position": step.position, "lane": step.lane, "branch": step.branch}
            asked = place | {"id": loaded.state.id}
            data = merged(*connection.execute(self._sql(statements.DATA_AND_RESULTS), asked).one())
        child_data = (
            data if step.child_input is None else {name: data[name] for name in step.child_input if name in data}
        )
        connection.execute(
            insert(self._tables.instance).values(
                id=child.id,
                saga=step.child.saga,
                version=step.child.version,
                plan=step.child.text,
                plan_hash=step.child.fingerprint,
                data=encoded_whole(child_data),
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
        tables = self._tables
        emptied = (tables.inbox, tables.lock, tables.handler, tables.alarm, tables.instance)
        self._delete(*(delete(table) for table in emptied))

    def _delete(self, *statements: Delete | Update) -> None:
        with self._database.transaction() as connection:
            for statement in statements:
                connection.execute(statement)
