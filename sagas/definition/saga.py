"""A saga: a value that can be drawn, listed, versioned and tested without a broker.

Everything that can be refused when the saga is declared is refused here, with an error that names the step, the
parameter and the cure. Declaring touches no Celery app: names are resolved when the saga is started.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, get_args
from weakref import WeakKeyDictionary

from sqlalchemy import Connection

from sagas.definition.checks import Problems, check_parameters, check_steps, note_parameters
from sagas.definition.compiling import AppCompiler
from sagas.definition.keys import declared_keys
from sagas.definition.options import checked_locks, choice, inline, refuse_secrets, resource_name, whole
from sagas.definition.parallel import Parallel
from sagas.definition.part import NAME, Part, Slot
from sagas.definition.signatures import (
    CeleryTask,
    ContinuationWord,
    Deadline,
    Fields,
    IfExistsWord,
    IfLockedWord,
    IfUndoFailsWord,
    UndoWord,
)
from sagas.definition.starting import check_start_input, checked_starts_on
from sagas.definition.step import Step
from sagas.engine import (
    Beginning,
    Engine,
    IfExists,
    PlanTarget,
    callers_transaction,
    current_app,
    declare,
    engine_for,
)
from sagas.errors import DefinitionError, MissingInput, PlanChanged, StartRefused
from sagas.handle import SagaHandle
from sagas.model import Data, IfLocked, Inline, Plan, StepKind, payload
from sagas.store import LIMIT_PREFIX, CallersTransaction, LockRequest

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, scoped_session

LONGEST_KEY = 512
#: In seconds: a hundred years.
LONGEST_DEADLINE = 100 * 365 * 86_400


class Saga:
    """A business transaction over several services: an ordered list of steps under a name and a version.

    Args:
        name: unique among the sagas of a database.
        version: raise it whenever the steps change; instances in flight go on by the plan they started with.
        steps: `Step`s, then at most one `Pivot`, then `Retriable`s; `parallel(…)` for steps that run in parallel;
            `BestEffort`, `Sleep`, `WaitFor` and `Child` anywhere.
        input: the data that `start` expects, if it is to be checked when the saga is declared: the names, or a type
            with named fields: a TypedDict, a dataclass, a pydantic model.
        undo: ``"reverse"`` undoes one step after the other, last begun first; ``"parallel"`` says that all steps are
            independent and undoes them in parallel.
        if_undo_fails: when a compensation fails for good, ``"continue"`` still runs the others; ``"stop"`` holds them
            until a person has resolved it. Either way the instance ends `failed`.
        locks: names of resources, filled from the input: ``["account:{account_id}"]``. Instances that name the same one
            run one after another, in the order of their starts (a *semantic lock*, Richardson). A lock is held until
            the instance has ended; a failed instance keeps it until a person has resolved it.
        if_locked: ``"wait"`` in line, or ``"refuse"``: `start` raises `ResourceLocked`. If two start at the very same
            moment, one of them ends `compensated` before its first step.
        max_concurrent: how many instances of this saga run at once; the others wait in line.
        continuation: how the saga goes on after a step. ``"chain"`` sends a message for each step; ``"inline"`` lets
            the worker that completed a step run the next one at once, if that goes to the same queue, is registered in
            this worker and has no rate limit. `Inline` sets how far one message goes on; ``"inline"`` is up to 5
            seconds and 10 steps. It is not part of the plan: changing it needs no new version.
        starts_on: the class of an event; the saga starts on each event of it in a run of any choreography that names
            it, with the event's fields as its input. If that run turns back, the saga is cancelled.
        key: with ``starts_on=``: the template of the business key, filled from the event: ``"order-{order_id}"``. An
            event whose key has an instance starts nothing.
        priority: the priority of its messages, on the broker's own scale: on Redis 0 goes first, on RabbitMQ the
            highest number (and the queue must be declared with ``x-max-priority``).

    Raises:
        DefinitionError: it cannot work; the message names the step and the cure.
    """

    def __init__(
        self,
        name: str,
        *,
        version: int = 1,
        steps: Sequence[Part | Parallel],
        input: Fields | None = None,
        undo: UndoWord = "reverse",
        if_undo_fails: IfUndoFailsWord = "continue",
        locks: Sequence[str] = (),
        if_locked: IfLockedWord = "wait",
        max_concurrent: int | None = None,
        priority: int | None = None,
        continuation: ContinuationWord | Inline = "chain",
        starts_on: type[Any] | None = None,
        key: str | None = None,
    ) -> None:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise DefinitionError(f"saga name {name!r} must be text of letters, digits, '_', '.' or '-'")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise DefinitionError(f"saga {name!r}: version={version!r} must be a whole number from 1 on")
        self.name = name
        self.version = version
        if not isinstance(steps, Iterable):
            raise DefinitionError(f"saga {name!r}: steps={steps!r} must be a list of steps, as in steps=[Step(…)]")
        self.steps = tuple(steps)
        self.input = declared_keys(input)
        self.undo = choice(undo, get_args(UndoWord), f"saga {name!r}: undo")
        self.if_undo_fails = choice(if_undo_fails, get_args(IfUndoFailsWord), f"saga {name!r}: if_undo_fails")
        self.starts_on = checked_starts_on(starts_on, key, name)
        known = self.input
        if self.starts_on is not None:
            check_start_input(self.starts_on, self.input, name)
            known = self.starts_on.fields if known is None else known
        self.locks = checked_locks(locks, known, name)
        self.if_locked = IfLocked(choice(if_locked, get_args(IfLockedWord), f"saga {name!r}: if_locked"))
        self.max_concurrent = whole(max_concurrent, 1, 100_000, f"saga {name!r}: max_concurrent")
        self.priority = whole(priority, 0, 255, f"saga {name!r}: priority")
        self.inline = inline(continuation, f"saga {name!r}: continuation")
        self._plans: WeakKeyDictionary[Any, Plan] = WeakKeyDictionary()
        self._accepted: frozenset[str] | None = None  # the names that the last start gave
        problems = Problems()
        check_steps(name, self.steps, problems)
        for place, part in self.places():
            with problems.noted():
                part.check_place(place, name)
        note_parameters(name, self.steps, known, problems)
        problems.refuse(f"saga {name!r}")
        declare(self)

    def __repr__(self) -> str:
        return f"Saga({self.name!r}, version={self.version}, steps={list(self.steps)})"

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every single step, including those of branches, in the order of the plan."""
        return tuple(part for _, part in self.places())

    @property
    def is_limited(self) -> bool:
        """Whether an instance may have to wait for others before it begins."""
        return bool(self.locks) or self.max_concurrent is not None

    def tasks(self) -> list[CeleryTask]:
        """Return every task that it uses: actions and compensations."""
        return [task for part in self.parts for task in part.tasks()]

    def clean_errors(self, step: str) -> list[str | type]:
        """Return the errors that one of its steps names as clean."""
        return [error for part in self.parts if isinstance(part, Step) and part.name == step for error in part.clean]

    def start(
        self,
        data: Data,
        *,
        key: str | None = None,
        session: "Session | scoped_session[Any] | None" = None,
        connection: "Connection | CallersTransaction | None" = None,
        deadline: Deadline | None = None,
        if_exists: IfExistsWord = "return",
    ) -> SagaHandle:
        """Start an instance. An instance whose start returned, or whose transaction committed, is never lost.

        Args:
            data: the input: names and values, as a mapping or a value with named fields (a dataclass, a pydantic
                model). Decimal, UUID, date and time come back as they were.
            key: the business key. If it exists, its instance is returned, and nothing is started.
            if_exists: what to do if the key exists: ``"return"`` its instance; ``"reject"`` raises `KeyInUse`;
                ``"restart"`` starts a new one if that instance ended compensated, raises `KeyInUse` if it is failed,
                which a person must end first, and otherwise returns it.
            session: insert in this SQLAlchemy session's transaction; the chain is sent after its commit.
            connection: the same with a SQLAlchemy connection. By default, the start joins the transaction that a
                framework's integration finds open (Django's ``atomic()``, Flask's ``db.session``), or else commits at
                once in its own.
            deadline: when to compensate it if it has neither ended nor reached its pivot: a time, or seconds counted
                from the first step's claim.

        Returns:
            A handle on the new instance, or on the existing one with that key.

        Raises:
            PayloadError: the data cannot be stored; the message names the key.
            MissingInput: a step requires a parameter that nothing provides.
            PlanChanged: the steps changed, but not the version.
            StartInProgress: another open transaction is starting the same key.
            KeyInUse: the key exists, and ``if_exists="reject"``; or it is failed, and ``if_exists="restart"``.
            ResourceLocked: another instance holds a resource that this one locks, and the saga does not wait for it.
            ConfigurationError: ``task_always_eager`` is set, outside `sagas.testing.inline`; or the database's driver
                is missing.
            DatabaseUnreachable: the database does not answer. With a ``key`` it is safe to call again.
        """
        return self.start_on(
            engine_for(self.tasks(), f"saga {self.name!r}"),
            data,
            key=key,
            session=session,
            connection=connection,
            deadline=deadline,
            if_exists=if_exists,
        )

    def start_on(
        self,
        engine: Engine,
        data: Data,
        *,
        key: str | None = None,
        session: "Session | scoped_session[Any] | None" = None,
        connection: "Connection | CallersTransaction | None" = None,
        deadline: Deadline | None = None,
        if_exists: IfExistsWord = "return",
        beginning: Beginning | None = None,
    ) -> SagaHandle:
        """Start like `start`, on a particular engine, if a process has several.

        Args:
            beginning: see `Engine.start`.
        """
        engine.refuse_eager(self.name)
        data = payload.fields_of(data, "data")
        if not isinstance(data, Mapping):
            raise StartRefused(
                f"saga {self.name!r}: data must be a mapping of names to values, not a {type(data).__qualname__}"
            )
        if session is not None and connection is not None:
            raise StartRefused(f"saga {self.name!r}: pass session= or connection=, not both")
        if key is not None and not (isinstance(key, str) and 1 <= len(key) <= LONGEST_KEY and payload.is_storable(key)):
            raise StartRefused(
                f"saga {self.name!r}: key={payload.excerpt(key)} must be text of 1 to {LONGEST_KEY} characters, "
                "without NUL"
            )
        try:
            policy = IfExists(if_exists)
        except ValueError:
            raise StartRefused(
                f"saga {self.name!r}: if_exists={payload.excerpt(if_exists)} must be 'return', 'reject' or 'restart'"
            ) from None
        encoded = engine.secrecy.dumps(data, "data")
        self._check_input(frozenset(data))
        moment, seconds = _deadline(deadline, self.name)
        with engine.reachable():
            instance_id = engine.start(
                self._plan_to_start(engine),
                key=key,
                data=encoded,
                deadline=moment,
                deadline_seconds=seconds,
                transaction=callers_transaction(session, connection),
                lock_requests=self.lock_requests(data, engine.secrecy.names),
                if_exists=policy,
                beginning=beginning,
            )
        return SagaHandle(engine, instance_id)

    def _check_input(self, names: frozenset[str]) -> None:
        if names != self._accepted:
            check_parameters(self.name, self.steps, names, MissingInput)
            self._accepted = names

    def plan(self, engine: PlanTarget) -> Plan:
        """Compile to a plan, with the tasks' names on the engine's app."""
        if engine not in self._plans:
            self._plans[engine] = self._compiled(AppCompiler(engine), engine)
        return self._plans[engine]

    def former_plan(self, engine: PlanTarget) -> Plan | None:
        """Return the plan with the last release's default names and retry policies; None if there is no difference."""
        names = [part.former_name if isinstance(part, Step) else part.name for part in self.parts]
        if len({*names}) < len(names):
            return None  # the last release refused two steps of one name, so there is no such plan
        former = self._compiled(AppCompiler(engine, former=True), engine)
        return former if former != self.plan(engine) else None

    def _plan_to_start(self, engine: Engine) -> Plan:
        """Return its plan, or the last release's as long as instances of that are in flight."""
        plan = self.plan(engine)
        try:
            engine.register(plan)
        except PlanChanged:
            former = self.former_plan(engine)
            if former is None:
                raise
            return former
        return plan

    def _compiled(self, compiler: AppCompiler, engine: PlanTarget) -> Plan:
        with current_app(engine.app):
            steps = tuple(part.compile(place, compiler) for place, part in self.places())
        return Plan(
            saga=self.name,
            version=self.version,
            steps=steps,
            undo_at_once=self.undo == "parallel",
            stop_at_failed_undo=self.if_undo_fails == "stop",
            locks=self.locks,
            if_locked=self.if_locked,
            max_concurrent=self.max_concurrent,
            priority=self.priority,
        )

    def places(self) -> Iterator[tuple[Slot, Part]]:
        """Yield every part with its place in the plan, in order."""
        past_pivot = False
        for position, item in enumerate(self.steps):
            lanes = item.lanes if isinstance(item, Parallel) else ((item,),)
            beside = [(lane, part) for lane, parts in enumerate(lanes) for part in parts]
            for branch, (lane, part) in enumerate(beside):
                by_place = StepKind.RETRIABLE if past_pivot else StepKind.COMPENSATABLE
                yield (
                    Slot(
                        position=position,
                        branch=branch,
                        lane=lane,
                        kind=part.kind or by_place,
                        undo_at_once=isinstance(item, Parallel) and item.undo_at_once,
                        cancels_siblings=isinstance(item, Parallel) and item.cancels_siblings,
                    ),
                    part,
                )
                past_pivot = past_pivot or part.kind is StepKind.PIVOT

    def lock_requests(self, data: Mapping[str, Any], secrets: frozenset[str] = frozenset()) -> list[LockRequest]:
        """Return the resources that an instance with this input must hold before it begins.

        Raises:
            MissingInput: a lock is named after a value that is not in the data.
            StartRefused: a lock is named after a secret.
        """
        refuse_secrets(self.locks, secrets, self.name)
        resources = sorted({resource_name(template, data, self.name) for template in self.locks})
        requests = [LockRequest(resource=resource) for resource in resources]
        if self.max_concurrent is not None:
            requests.append(LockRequest(resource=LIMIT_PREFIX + self.name, capacity=self.max_concurrent, lasting=False))
        return requests


def _deadline(deadline: Any, saga: str) -> tuple[datetime | None, float | None]:
    if deadline is None:
        return None, None
    if isinstance(deadline, datetime):
        if deadline.tzinfo is None:
            raise StartRefused(f"saga {saga!r}: deadline={deadline!r} has no time zone; use datetime.now(UTC) + …")
        return deadline, None
    seconds = deadline.total_seconds() if isinstance(deadline, timedelta) else deadline
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST_DEADLINE:
        raise StartRefused(
            f"saga {saga!r}: deadline={deadline!r} must be a datetime, or a timedelta or seconds above 0 and up to 100 "
            "years"
        )
    return None, float(seconds)
