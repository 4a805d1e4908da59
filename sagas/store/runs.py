"""Choreographed runs: published into without a lock, and looked at under the lock of their row."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID, uuid5

from sqlalchemy import Connection, Row, TextClause

from sagas.errors import PlanChanged
from sagas.model import Address
from sagas.model.choreography import ChoreographyPlan
from sagas.model.choreography.plan import EARLY_FOR
from sagas.model.choreography.state import (
    NUMBERED_AT_ONCE,
    LateEvent,
    Letter,
    Published,
    RunDecision,
    RunEvidence,
    RunState,
)
from sagas.model.choreography.usual import usual_start
from sagas.model.executions import LONGEST_SILENCE
from sagas.store import run_statements
from sagas.store.book import InSchema, StatementBook
from sagas.store.bridges import Bridges
from sagas.store.database import Database
from sagas.store.head_columns import NO_HEADS, Placement, head_columns
from sagas.store.ids import uuid7
from sagas.store.rows import own_evidence, own_fields
from sagas.store.run_rows import arrived_of, delivery_of, late_event_of, run_columns
from sagas.store.timing import Timing

#: The namespace of the ids of runs with business keys, so that these need not be looked up.
_RUNS = UUID("7f0a3f53-5d2b-5f6c-9d43-1f9b8f1f6c11")
#: The publisher of events that neither a person nor a caller publishes.
BY_A_HANDLER, BY_A_STEP, BY_THE_LIBRARY = "handler", "step", "sagas"


def run_id_of(choreography: str, key: str) -> UUID:
    """Return the id of the run with a business key: known before it exists, and the same in every service."""
    return uuid5(_RUNS, f"{choreography}\0{key}")


@dataclass(frozen=True, kw_only=True, slots=True)
class NewRun:
    """The values that a start inserts. ``event`` is the first one, already encoded."""

    id: UUID
    plan: ChoreographyPlan
    key: str | None
    event: Published
    headers: str | None = None  # None: those of the saga whose step starts it
    by: str = "application"
    beginner: UUID | None = None  # the instance that starts it: the run belongs to whatever that belongs to

    @classmethod
    def of(cls, plan: ChoreographyPlan, key: str | None, event: Published, **options: Any) -> Self:
        """Return a run with the id that belongs to its key."""
        run_id = uuid7() if key is None else run_id_of(plan.name, key)
        return cls(id=run_id, plan=plan, key=key, event=event, **options)


@dataclass(frozen=True, kw_only=True, slots=True)
class IntendedRun:
    """The run that an event from outside is for, which may not exist yet."""

    choreography: str | None = None
    key: str | None = None  # None: it was named by its id
    early_for: float = EARLY_FOR  # seconds that the event waits for it


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A stored event, with JSON as its payload."""

    choreography: str
    type: str
    version: int
    payload: str


Scalar = Callable[[TextClause, Mapping[str, Any]], Any]


class Runs(InSchema):
    """Writes and reads what runs have beside an instance's row and its steps."""

    def __init__(self, database: Database, book: StatementBook, timing: Timing) -> None:
        super().__init__(database, book)
        self._timing = timing
        self.bridges = Bridges(database, book)

    # -- in the caller's transaction

    def publish(
        self,
        scalar: Scalar,
        run_id: UUID,
        event: Published,
        key: str | None,
        by: str = "application",
        *,
        intended: IntendedRun | None = None,
    ) -> bool | None:
        """Insert an event. False: one of this type has the key already; None: that one has other content.

        Args:
            run_id: the run. None is returned for a saga, too, which hears no events (see `is_a_saga`).
            intended: the run that the publisher means, if it does not exist yet.
        """
        intended = intended or IntendedRun()
        values = _values(run_id, event, by) | {"key": key}
        addressed = {"choreography": intended.choreography, "run_key": intended.key, "early_for": intended.early_for}
        if scalar(self._sql(run_statements.PUBLISH), values | addressed) is not None:
            return True
        same = scalar(self._sql(run_statements.IS_THE_SAME), {name: values[name] for name in _COMPARED} | {"key": key})
        if same is None:  # not there: for a saga, or committed after this transaction's snapshot and not comparable
            return None if self.is_a_saga(run_id) else False
        return False if same else None

    def is_a_saga(self, run_id: UUID) -> bool:
        """Return whether an id is that of a saga, and not of a run."""
        with self._database.autocommit() as connection:
            return bool(connection.scalar(self._sql(run_statements.IS_A_SAGA), {"run_id": run_id}))

    def start(self, scalar: Scalar, new: NewRun) -> bool | None:
        """Insert a run with its first event, which the first look numbers.

        False: it was started already; None: with another first event.
        """
        return True if self._start(scalar, new, NO_HEADS) is not None else self.is_started_so(scalar, new)

    def begin(self, scalar: Scalar, new: NewRun, placement: Placement) -> list[Address] | None:
        """Insert a run with its first event and, as a rule, the deliveries of that, which need no look.

        Returns:
            The deliveries to be sent after the commit. None: it was started already (see `is_started_so`).
        """
        branches = self._start(scalar, new, head_columns(usual_start(new.plan), placement))
        return None if branches is None else [Address(1, branch) for branch in branches]

    def is_started_so(self, scalar: Scalar, new: NewRun) -> bool | None:
        """Return False if a run was started with the same first event, and None if with another one."""
        values = _values(new.id, new.event, new.by)
        same = scalar(self._sql(run_statements.IS_STARTED_SO), {name: values[name] for name in _COMPARED})
        return None if same is False else False

    def has_early(self, run_id: UUID) -> bool:
        """Return whether events have come that have no number yet."""
        with self._database.autocommit() as connection:
            return bool(connection.scalar(self._sql(run_statements.HAS_EARLY), {"run_id": run_id}))

    def _start(self, scalar: Scalar, new: NewRun, births: Mapping[str, list[Any]]) -> list[int] | None:
        plan = new.plan
        values = _values(new.id, new.event, new.by)
        branches: list[int] | None = scalar(
            self._sql(run_statements.START_RUN),
            {name: values[name] for name in _FIRST}
            | {
                "saga": plan.name,
                "saga_version": plan.version,
                "run_key": new.key,
                "plan": plan.text,
                "plan_hash": plan.fingerprint,
                "headers": new.headers,
                "heir_of": new.beginner if new.by == BY_A_STEP else None,
                "deadline_seconds": plan.deadline,
                "silence": LONGEST_SILENCE,
            }
            | dict(births),
        )
        if branches is not None:
            self._correlate(scalar, new)
        return branches

    def _correlate(self, scalar: Scalar, new: NewRun) -> None:
        if new.beginner is not None:
            self.correlate(scalar, new.id, new.beginner, new.event.caused_by)

    def correlate(
        self, scalar: Scalar, begun: UUID, beginner: UUID, caused_by: str | None, number: int | None = None
    ) -> None:
        """Record that one instance, or a run of another service, began an instance that was just inserted.

        Args:
            number: that of the event that began it, if it is a saga.
        """
        given = {"begun": begun, "id": beginner, "caused_by": caused_by, "number": number}
        scalar(self._sql(run_statements.CORRELATE), given)

    def depth_of(self, scalar: Scalar, saga_id: UUID) -> int:
        """Return the depth of the events that a saga publishes: they go on counting if an event began it."""
        return int(scalar(self._sql(run_statements.DEPTH), {"id": saga_id}))

    # -- under the lock of the run's row

    def load(
        self,
        connection: Connection,
        run_id: UUID,
        rows: Sequence[Row[Any]],
        plan: ChoreographyPlan,
        about: Address | None,
        late: int | None = None,
        *,
        whole: bool,
    ) -> RunState:
        """Return a locked run, of which ``rows`` have what is open or dead.

        Args:
            about: also load this delivery, with its undos.
            late: also load the late event of this number.
            whole: load all deliveries. That is also done once something has been closed.
        """
        row = rows[0]
        whole = whole or bool(row.closed)
        steps = [step for step in rows if step.position is not None]
        if whole or about is not None:
            place = {"position": about.position if about else -1, "branch": about.branch if about else -1}
            asked = {"id": run_id, "lease": self._timing.lease, "whole": whole, **place}
            steps += connection.execute(self._sql(run_statements.LOAD_DONE), asked).all()
        asked = {"id": run_id, "limit": NUMBERED_AT_ONCE + 1}
        arrived = list(connection.execute(self._sql(run_statements.LOAD_ARRIVED), asked))
        has_more = len(arrived) > NUMBERED_AT_ONCE
        arrived = arrived[:NUMBERED_AT_ONCE]
        if row.numbered == 0 and all(event.by_key or event.name != plan.starts for event in arrived):
            asked = {"id": run_id, "starts": plan.starts}
            first = list(connection.execute(self._sql(run_statements.LOAD_FIRST), asked))
            arrived = [*first, *(event for event in arrived if event not in first)]
        return RunState(
            **own_fields(run_id, row),
            steps=tuple(sorted(map(delivery_of, steps), key=lambda delivery: delivery.address)),
            numbered=row.numbered,
            closed=row.closed or {},
            ended_by=row.ended_by,
            turned_at=row.turned_at,
            came=frozenset(row.came or ()),
            quiet_from=row.quiet_from,
            quiet_at=row.quiet_at,
            evidence=RunEvidence(
                **own_evidence(row),
                arrived=tuple(map(arrived_of, arrived)),
                has_more=has_more,
                late_event=None if late is None else self._late_event(connection, run_id, late),
                is_whole=whole,
            ),
        )

    def _late_event(self, connection: Connection, run_id: UUID, number: int) -> LateEvent | None:
        row = connection.execute(self._sql(run_statements.LOAD_LATE), {"id": run_id, "number": number}).one_or_none()
        return None if row is None else late_event_of(row)

    def save(self, connection: Connection, plan: ChoreographyPlan, decision: RunDecision) -> None:
        """Write the numbers of events, and the events that were published with the decision."""
        state = decision.state
        connection.execute(self._sql(run_statements.SAVE_RUN), run_columns(state) | {"id": state.id})
        if decision.numbered:
            connection.execute(
                self._sql(run_statements.NUMBER),
                {
                    "rows": [given.row for given in decision.numbered],
                    "numbers": [given.number for given in decision.numbered],
                    "letters": [_letter(given.letter) for given in decision.numbered],
                },
            )
        if decision.answered is not None:
            connection.execute(self._sql(run_statements.ANSWER_LATE), {"id": state.id, "number": decision.answered})
        self._record(connection, plan, decision)
        self._let_leave(connection, plan, decision)

    def _let_leave(self, connection: Connection, plan: ChoreographyPlan, decision: RunDecision) -> None:
        """Let events that have just got a number leave by the bridges."""
        numbers = [given.number for given in decision.numbered]
        numbers += [recorded.number for recorded in decision.published if recorded.number is not None]
        for bridge in plan.bridges if numbers else ():
            self.bridges.export(connection, decision.state.id, bridge.name, bridge.sends, before=min(numbers) - 1)

    def _record(self, connection: Connection, plan: ChoreographyPlan, decision: RunDecision) -> None:
        state = decision.state
        for recorded in decision.published:
            event = recorded.event
            known = plan.by_type.get(event.type)
            connection.execute(
                self._sql(run_statements.RECORD),
                _values(state.id, event, BY_THE_LIBRARY if event.payload is None else BY_A_HANDLER)
                | {
                    "number": recorded.number,
                    "letter": _letter(recorded.letter),
                    "is_over": recorded.number is not None or recorded.letter is Letter.MUTED,
                    "fields": [field.name for field in known.fields] if known else [],
                    "reason": json.dumps({"reason": state.error.message if state.error else ""}),
                },
            )

    # -- graphs

    def register(self, plan: ChoreographyPlan) -> None:
        """Register a graph: what a worker knows after its imports. A part of what is registered changes nothing.

        Raises:
            PlanChanged: this version was registered with another graph.
        """
        for _ in range(5):  # several workers register at once
            known = self._registered(plan)
            if known is not None and not plan.contradictions(known):
                return
            if known is not None and (differences := known.contradictions(plan)):
                raise _changed(plan, differences)
            with self._database.autocommit() as connection:
                connection.execute(
                    self._sql(run_statements.REGISTER_GRAPH),
                    {
                        "saga": plan.name,
                        "version": plan.version,
                        "plan_hash": plan.fingerprint,
                        "plan": plan.text,
                        "former": known.fingerprint if known else None,
                    },
                )

    def whole_graph(self, plan: ChoreographyPlan) -> ChoreographyPlan | None:
        """Return the registered graph that this one is a part of; None: no worker has registered it.

        Raises:
            PlanChanged: this process declares it otherwise than the workers.
        """
        known = self._registered(plan)
        if known is not None and (differences := plan.contradictions(known)):
            raise _changed(plan, differences)
        return known

    def samples(self) -> list[Sample]:
        """Return the newest stored event of each type and version."""
        with self._database.autocommit() as connection:
            rows = connection.execute(self._sql(run_statements.SAMPLES)).all()
        return [Sample(choreography=row.saga, type=row.name, version=row.version, payload=row.payload) for row in rows]

    def _registered(self, plan: ChoreographyPlan) -> ChoreographyPlan | None:
        named = {"saga": plan.name, "version": plan.version}
        with self._database.autocommit() as connection:
            stored = connection.scalar(self._sql(run_statements.REGISTERED), named)
        return None if stored is None else ChoreographyPlan.from_json(json.loads(stored))


_COMPARED = ("run_id", "type", "payload", "version")
_FIRST = ("run_id", "type", "payload", "by", "event_id", "version", "depth", "caused_by")


def _changed(plan: ChoreographyPlan, differences: tuple[str, ...]) -> PlanChanged:
    return PlanChanged(
        f"choreography {plan.name!r} version {plan.version} was registered otherwise: {', '.join(differences)}. "
        f"Raise version={plan.version + 1}; runs in flight go on by their own graph. If this process has not imported "
        "the latest code, deploy that"
    )


def _values(run_id: UUID, event: Published, by: str) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "type": event.type,
        "payload": event.payload,
        "by": by,
        "event_id": event.id,
        "version": event.version,
        "cause": event.cause,
        "depth": event.depth,
        "caused_by": event.caused_by,
    }


def _letter(letter: Letter | None) -> str | None:
    return None if letter is None else letter.value
