"""A saga: a value that can be drawn, listed, versioned and tested without a broker.

Everything that can be refused when the saga is declared is refused here, with an error that names the step, the
parameter and the cure. Declaring touches no Celery app: names are resolved when the saga is started.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection
from sqlalchemy.orm import Session, scoped_session

from sagas.definition.keys import declared_keys, declared_return
from sagas.definition.step import NAME, Step
from sagas.engine import (
    Engine,
    JoinedConnection,
    JoinedSession,
    TaskFace,
    current_app,
    declare,
    engine_for,
    required,
)
from sagas.errors import DefinitionError, MissingInput, NotBound, StartRefused
from sagas.handle import SagaHandle
from sagas.model import Plan, StepKind, payload
from sagas.store import CallersTransaction

LONGEST_KEY = 512


class Saga:
    """A business transaction over several services: an ordered list of steps under a name and a version.

    Args:
        name: unique among the sagas of a database.
        version: raise it whenever the steps change; instances in flight go on by the plan they started with.
        steps: `Step`s, then at most one `Pivot`, then `Retriable`s.
        input: what `start` expects, if you want it checked when the saga is declared: a TypedDict, a dataclass, or
            the names.

    Raises:
        DefinitionError: it cannot work; the message names the step and the cure.
    """

    def __init__(self, name: str, *, version: int = 1, steps: Sequence[Step], input: Any = None) -> None:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise DefinitionError(f"saga name {name!r} must be text of letters, digits, '_', '.' or '-'")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise DefinitionError(f"saga {name!r}: version={version!r} must be a whole number from 1 on")
        self.name = name
        self.version = version
        self.steps = tuple(steps)
        self.input = declared_keys(input)
        self._plans: WeakKeyDictionary[Any, Plan] = WeakKeyDictionary()
        self._check_steps()
        self._check_parameters(self.input)
        declare(self)

    def __repr__(self) -> str:
        return f"Saga({self.name!r}, version={self.version}, steps={list(self.steps)})"

    def tasks(self) -> list[Any]:
        """Every task that it uses: actions and compensations."""
        return [task for step in self.steps for task in (step.task, step.compensation) if task is not None]

    def start(
        self,
        data: Mapping[str, Any],
        *,
        key: str | None = None,
        session: "Session | scoped_session[Any] | None" = None,
        connection: "Connection | CallersTransaction | None" = None,
        deadline: datetime | timedelta | float | None = None,
    ) -> SagaHandle:
        """Start an instance. What returned, or whose transaction committed, is never lost.

        Args:
            data: the input. Decimal, UUID, date and time come back as they were.
            key: the business key. A key that exists returns its instance, and starts nothing.
            session: insert in this SQLAlchemy session's transaction; the chain is sent after its commit.
            connection: the same with a SQLAlchemy connection. Without either, the transaction is joined that a
                framework's integration finds open (Django's ``atomic()``, Flask's ``db.session``), or else an own one
                is committed at once.
            deadline: when it is to be compensated if it has not ended or reached its pivot: a moment, or seconds
                counted from the first step's claim.

        Returns:
            A handle on the new instance, or on the existing one of that key.

        Raises:
            PayloadError: the data cannot be stored; names the key.
            MissingInput: a step requires what nothing provides.
            PlanChanged: the steps changed and the version did not.
            StartInProgress: another open transaction is starting the same key.
        """
        return self.start_on(
            engine_for(self.tasks(), f"saga {self.name!r}"),
            data,
            key=key,
            session=session,
            connection=connection,
            deadline=deadline,
        )

    def start_on(
        self,
        engine: Engine,
        data: Mapping[str, Any],
        *,
        key: str | None = None,
        session: "Session | scoped_session[Any] | None" = None,
        connection: "Connection | CallersTransaction | None" = None,
        deadline: datetime | timedelta | float | None = None,
    ) -> SagaHandle:
        """`start` on a particular engine, where a process has several."""
        if not isinstance(data, Mapping):
            raise StartRefused(f"saga {self.name!r}: data must be a mapping of names to values, not {data!r}")
        if session is not None and connection is not None:
            raise StartRefused(f"saga {self.name!r}: pass session= or connection=, not both")
        if key is not None and (not isinstance(key, str) or not key or len(key) > LONGEST_KEY or "\x00" in key):
            raise StartRefused(
                f"saga {self.name!r}: key={key!r} must be text of 1 to {LONGEST_KEY} characters, without NUL"
            )
        encoded = payload.dumps(data, "data")
        self._check_parameters(frozenset(data), MissingInput)
        moment, seconds = _deadline(deadline, self.name)
        instance_id = engine.start(
            self.plan(engine),
            key=key,
            data=encoded,
            deadline=moment,
            deadline_seconds=seconds,
            transaction=_joined(session, connection),
        )
        return SagaHandle(engine, instance_id)

    def plan(self, engine: Engine) -> Plan:
        """Compile to a plan, with the tasks' names as they are on the engine's app."""
        if engine not in self._plans:
            with current_app(engine.app):
                steps = tuple(
                    step.compile(
                        position,
                        _fenced_name(engine, step.task, f"step {step.name!r}"),
                        None
                        if step.compensation is None
                        else _fenced_name(engine, step.compensation, f"compensation of step {step.name!r}"),
                    )
                    for position, step in enumerate(self.steps)
                )
            self._plans[engine] = Plan(saga=self.name, version=self.version, steps=steps)
        return self._plans[engine]

    def _check_steps(self) -> None:
        if not self.steps:
            raise DefinitionError(f"saga {self.name!r} has no steps: pass steps=[Step(…), …]")
        names: set[str] = set()
        past_pivot = False
        for step in self.steps:
            if not isinstance(step, Step):
                raise DefinitionError(
                    f"saga {self.name!r}: {step!r} is no step; wrap the task in Step(…), Pivot(…) or Retriable(…)"
                )
            if step.name in names:
                raise DefinitionError(
                    f"saga {self.name!r} has two steps named {step.name!r}: pass name=… to one, since the idempotency "
                    "keys are made of it"
                )
            names.add(step.name)
            if step.kind is StepKind.RETRIABLE and not past_pivot:
                raise DefinitionError(
                    f"saga {self.name!r}: Retriable {step.name!r} stands before any Pivot. Make the last step that may "
                    "say no a Pivot"
                )
            if step.kind is not StepKind.RETRIABLE and past_pivot:
                raise DefinitionError(
                    f"saga {self.name!r}: step {step.name!r} stands after the pivot, where nothing can be undone: make "
                    "it a Retriable, or move it before the pivot"
                )
            past_pivot = past_pivot or step.kind is StepKind.PIVOT

    def _check_parameters(self, given: frozenset[str] | None, error: type[Exception] = DefinitionError) -> None:
        """Refuse a required parameter that nothing can provide, as far as input and returns are declared."""
        known = given
        for step in self.steps:
            own = declared_return(step.face.function)
            self._check_task(step.face, f"step {step.name!r}", known, error)
            if step.compensation_face is not None:
                # A compensation sees the data as of its action's claim, and its action's result if there is one.
                self._check_task(step.compensation_face, f"compensation of step {step.name!r}", known, error, own)
            known = None if known is None or own is None else known | own

    def _check_task(
        self,
        face: TaskFace,
        who: str,
        known: frozenset[str] | None,
        error: type[Exception],
        own: frozenset[str] | None = None,
    ) -> None:
        if face.function is None or known is None:
            return
        wanted = required(face.function)
        if face.bound:
            wanted -= {next(iter(inspect.signature(face.function).parameters), "")}
        for name in sorted(wanted - known):
            if own and name in own:
                raise error(
                    f"saga {self.name!r}: the {who} requires {name!r}, which only its action's result gives. An action "
                    "in doubt has no result: give the parameter a default"
                )
            there = ", ".join(sorted(known)) or "nothing"
            raise error(
                f"saga {self.name!r}: the {who} requires {name!r}, and there is only {there}: add it to the input, let "
                "an earlier step return it, or give it a default"
            )


def _fenced_name(engine: Engine, task: Any, who: str) -> str:
    try:
        name = str(task.name)
    except Exception as error:
        raise NotBound(f"{who}: the task is not registered on the app {engine.app.main!r}: {error}") from error
    real = engine.app.tasks.get(name)
    if real is None:
        raise NotBound(
            f"{who}: the task {name!r} is not registered on the app {engine.app.main!r}: use @shared_task, or "
            "declare it on this app"
        )
    if getattr(real, "sagas_engine", None) is not engine:
        raise NotBound(
            f"{who}: the task {name!r} is not fenced: it was made before Sagas(app, …), or has a base of its own. Make "
            "Sagas(app) right after the app, and let base classes inherit from app.Task"
        )
    if getattr(real, "autoretry_for", None):
        raise DefinitionError(
            f"{who}: the task {name!r} has autoretry_for, which would send messages past the saga: retries belong to "
            "Step(retry=Retry(on=…))"
        )
    return name


def _joined(
    session: "Session | scoped_session[Any] | None", connection: "Connection | CallersTransaction | None"
) -> CallersTransaction | None:
    if session is not None:
        own = session() if isinstance(session, scoped_session) else session
        if not isinstance(own, Session):
            raise StartRefused(
                f"session={own!r} is no SQLAlchemy Session; with an AsyncSession, call start() of sagas.contrib.asyncio"
            )
        return JoinedSession(own)
    return JoinedConnection(connection) if isinstance(connection, Connection) else connection


def _deadline(deadline: Any, saga: str) -> tuple[datetime | None, float | None]:
    if deadline is None:
        return None, None
    if isinstance(deadline, datetime):
        if deadline.tzinfo is None:
            raise StartRefused(f"saga {saga!r}: deadline={deadline!r} has no time zone; use datetime.now(UTC) + …")
        return deadline, None
    seconds = deadline.total_seconds() if isinstance(deadline, timedelta) else deadline
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise StartRefused(f"saga {saga!r}: deadline={deadline!r} must be a moment, a timedelta, or seconds above 0")
    return None, float(seconds)
