"""Steps that workers run: compensatable, pivot, retriable, best effort."""

from collections.abc import Iterable
from typing import Any, Unpack, get_args

from sagas.definition.clean import checked_clean, checked_records, names_of
from sagas.definition.inputs import checked_inputs, checked_output, inherited, refuse_secret_constants
from sagas.definition.keys import declared_return
from sagas.definition.options import choice
from sagas.definition.part import Compiler, Need, Part, Slot
from sagas.definition.retry import ACTION_RETRY, COMPENSATION_RETRY, LONGEST_TIMEOUT, RETRIABLE_RETRY, Retry, number
from sagas.definition.signatures import (
    CeleryTask,
    CleanErrors,
    Condition,
    IfInDoubtWord,
    InputNames,
    Names,
    StepOptions,
    UndoableOptions,
)
from sagas.engine import TaskFace, condition_name, face_of, refuse_unfit
from sagas.errors import DefinitionError
from sagas.model import IfInDoubt, Inputs, PlanStep, StepKind
from sagas.model.limits import UNSAID

_UNSET: Any = object()
#: The former default name of a step with a task class, after the method `run`; now it is the task's name.
FORMER_NAME = "run"
#: Options of a step that say how it is undone.
WAYS_BACK = (
    "compensation",
    "compensation_retry",
    "compensation_timeout",
    "compensation_deadline",
    "if_in_doubt",
    "records",
    "undo_inputs",
)
#: Polling may take weeks, in seconds.
LONGEST_POLL = 366 * 24 * 3600.0
POLL_FOR = 24 * 3600.0


class Step(Part):
    """An action and its compensation; both are Celery tasks.

    Args:
        task: the action. Its parameters are filled from the saga's data by name; a dict that it returns is merged into
            the data.
        compensation: the task that semantically undoes it, or None for "nothing to undo". It must be safe for an action
            that never happened, and undo what *its* action did, named by ``current_step.action_key``.
        name: the step's name, part of the idempotency key; by default that of the task's function or, for a task class,
            the last part of the task's name.
        retry: when the action is tried again.
        compensation_retry: when the compensation is tried again; by default on any error, six times. A `PermanentError`
            in it says that trying again is useless: the saga ends `failed` for a person.
        timeout: seconds that one execution may take. By default the ``soft_time_limit`` and ``time_limit`` of the task
            or the app apply, as outside sagas; or an hour if there are none.
        compensation_timeout: the same for the compensation; by default the value of ``timeout``.
        idempotent: False never runs the action twice: if its outcome is unknown it is given up, and undone. Its claim
            waits for the disk.
        poll_for: seconds within which the task may poll: ``self.retry`` with ``max_retries=None`` does not count as a
            failure. Counted from its first poll; a day by default. The same for the compensation.
        max_losses: how often its process may die during it before the step is given up.
        when: run it only on a condition: a name in the data (missing or false skips the step), or a function registered
            with `condition`. A skipped step is never compensated.
        queue: the queue of the action's and the compensation's messages, instead of the tasks' own queues.
        compensation_deadline: seconds from the compensation's first claim after which it is not tried again.
        clean: the action's errors which say that nothing was done, besides `PermanentError`: exception classes, or
            their dotted names if this process must not import them. Any other error leaves the action in doubt, so that
            its own compensation runs too. A lost connection, a timeout and HTTP 408, 425, 429 and 5xx are never clean,
            whichever of their base classes is named. If it is left out, `check` asks for it where it may matter.
        if_in_doubt: what to do with an action given up in doubt when the saga turns back: ``"undo"`` runs its
            compensation; ``"person"`` leaves it to a person, undoes the other steps, and ends the saga `failed`.
        records: the names that the action records with ``current_step.record({…})`` before it returns. They fill the
            compensation's parameters, which still need defaults: a kill before the record leaves nothing.
        inputs: the sources of parameters that do not take the data's value of the same name: a mapping of parameters to
            names in the data, or constants, as in ``{"account": "source", "sign": Const(-1)}``. The compensation's
            parameters of the same names get the same values.
        undo_inputs: the same for the compensation, instead of ``inputs``; it may also use the action's result.
        output: keep the result, whatever it is, under this single name in the data, instead of merging a dict into it.
    """

    kind: StepKind | None = StepKind.COMPENSATABLE
    _default_retry = ACTION_RETRY

    def __init__(
        self,
        task: CeleryTask,
        *,
        compensation: CeleryTask | None = _UNSET,
        name: str | None = None,
        retry: Retry | None = None,
        compensation_retry: Retry | None = None,
        timeout: float | None = None,
        compensation_timeout: float | None = None,
        idempotent: bool = True,
        poll_for: float = POLL_FOR,
        max_losses: int = 3,
        when: Condition | None = None,
        queue: str | None = None,
        compensation_deadline: float | None = None,
        clean: CleanErrors = _UNSET,
        if_in_doubt: IfInDoubtWord = "undo",
        records: Names = (),
        inputs: InputNames | None = None,
        undo_inputs: InputNames | None = None,
        output: str | None = None,
    ) -> None:
        self.face = checked_task(task, f"{type(self).__name__}(…)")
        super().__init__(name or self._default_name())
        self.former_name = FORMER_NAME if name is None and self.face.is_class else self.name
        if compensation is _UNSET:
            raise DefinitionError(
                f"{self.who} does not say how it is undone: pass compensation=<task>, or compensation=None if "
                "there is nothing to undo"
            )
        self.task = task
        self.compensation = compensation
        self.compensation_face = (
            None if compensation is None else checked_task(compensation, f"compensation of {self.name!r}")
        )
        self.retry, self._former_retry = retries(retry, self._default_retry, f"{self.who}: retry")
        self.compensation_retry, self._former_compensation_retry = retries(
            compensation_retry, COMPENSATION_RETRY, f"{self.who}: compensation_retry"
        )
        self.timeout = self._limit(timeout, "timeout")
        self.compensation_timeout = self._limit(compensation_timeout, "compensation_timeout") or self.timeout
        if not isinstance(idempotent, bool):
            raise DefinitionError(f"{self.who}: idempotent={idempotent!r} must be True or False")
        self.idempotent = idempotent
        self.poll_for = number(poll_for, f"{self.who}: poll_for", 0.001, LONGEST_POLL)
        if not isinstance(max_losses, int) or isinstance(max_losses, bool) or max_losses < 0:
            raise DefinitionError(f"{self.who}: max_losses={max_losses!r} must be a whole number from 0 on")
        self.max_losses = max_losses
        self.when, self.predicate = self._condition(when)
        if queue is not None and (not isinstance(queue, str) or not queue):
            raise DefinitionError(f"{self.who}: queue={queue!r} must be a queue's name")
        self.queue = queue
        self.compensation_deadline = (
            None
            if compensation_deadline is None
            else number(compensation_deadline, f"{self.who}: compensation_deadline", 0.001, LONGEST_TIMEOUT)
        )
        #: An empty tuple says that no error but `PermanentError` is clean; if it is left out, nothing is said.
        self.says_clean = clean is not _UNSET
        self.clean = checked_clean(clean if self.says_clean else (), self.who)
        self.if_in_doubt = IfInDoubt(choice(if_in_doubt, get_args(IfInDoubtWord), f"{self.who}: if_in_doubt"))
        self.records = checked_records(records, self.who)
        self.inputs = () if inputs is None else checked_inputs(inputs, self.face, self.who, "inputs")
        self.undo_inputs = self._undo_inputs(undo_inputs)
        self.output = checked_output(output, self.who)

    @property
    def is_certain(self) -> bool:
        return self.when is None and self.predicate is None

    def tasks(self) -> list[CeleryTask]:
        return [task for task in (self.task, self.compensation) if task is not None]

    def gives(self) -> frozenset[str] | None:
        if self.output is not None:
            return frozenset({self.output})
        promise = declared_return(self.face.function)
        return None if promise is None else promise.names

    def may_give(self) -> frozenset[str]:
        promise = declared_return(self.face.function) if self.is_certain and self.output is None else None
        return super().may_give() if promise is None else promise.perhaps

    def needs(self) -> Iterable[Need]:
        yield Need(who=self.who, face=self.face, inputs=self.inputs)
        if self.compensation_face is not None:
            yield Need(
                who=f"compensation of {self.who}",
                face=self.compensation_face,
                inputs=inherited(self.inputs, self.compensation_face) if self.undo_inputs is None else self.undo_inputs,
                is_undo=True,
                own=self._own(),
            )

    def _own(self) -> frozenset[str] | None:
        """Return what only its action gives to a compensation, which also sees the data as of that action's claim."""
        promise = declared_return(self.face.function)
        own = (promise.names if promise else frozenset()) | self.records | ({self.output} if self.output else set())
        return own if promise or own else None

    def _undo_inputs(self, given: InputNames | None) -> Inputs | None:
        if given is None:
            return None
        if self.compensation_face is None:
            raise DefinitionError(f"{self.who}: undo_inputs fill a compensation's parameters, but it has none")
        return checked_inputs(given, self.compensation_face, f"compensation of {self.who}", "undo_inputs")

    def _limit(self, given: Any, option: str) -> float | None:
        return None if given is None else number(given, f"{self.who}: {option}", 0.001, LONGEST_TIMEOUT)

    def _condition(self, when: Any) -> tuple[str | None, str | None]:
        if when is None or (isinstance(when, str) and when):
            return when, None
        name = condition_name(when)
        if name is None:
            raise DefinitionError(
                f"{self.who}: when={when!r} must be a name in the data, or a function with @condition"
            )
        return None, name

    def _default_name(self) -> str:
        if self.face.short_name is None:
            raise DefinitionError("the step's task shows neither its function nor its name; pass name='…'")
        return self.face.short_name

    def compile(self, place: Slot, compiler: Compiler) -> PlanStep:
        """Return the step as the plan stores it."""
        for inputs, who in (
            (self.inputs, self.who),
            (self.undo_inputs or (), f"compensation of {self.who}"),
        ):
            refuse_secret_constants(inputs, compiler.secrets, who)
        return PlanStep(
            **place.fields(),
            name=self.former_name if compiler.former else self.name,
            task=compiler.task_name(self.task, self.who),
            compensation=None
            if self.compensation is None
            else compiler.task_name(self.compensation, f"compensation of {self.who}"),
            retry=(self._former_retry if compiler.former else self.retry).policy(),
            compensation_retry=(
                self._former_compensation_retry if compiler.former else self.compensation_retry
            ).policy(),
            timeout=self.timeout or UNSAID,
            compensation_timeout=self.compensation_timeout or UNSAID,
            says_hour=self.timeout == UNSAID,
            says_undo_hour=self.compensation_timeout == UNSAID,
            idempotent=self.idempotent,
            poll_for=self.poll_for,
            max_losses=self.max_losses,
            queue=self.queue,
            when=self.when,
            predicate=self.predicate,
            best_effort=self.best_effort,
            compensation_deadline=self.compensation_deadline,
            clean=names_of(self.clean),
            if_in_doubt=self.if_in_doubt,
            records=tuple(sorted(self.records)),
            inputs=self.inputs,
            undo_inputs=self.undo_inputs,
            output=self.output,
        )


class _WithoutWayBack(Step):
    def __init__(self, task: CeleryTask, **options: Unpack[StepOptions]) -> None:
        for option in WAYS_BACK:
            if option in options:
                raise DefinitionError(
                    f"{type(self).__name__} takes no {option}: from the pivot on a saga only goes forward. "
                    "Use Step(…, compensation=…) before the pivot"
                )
        super().__init__(task, compensation=None, **options)


class Pivot(_WithoutWayBack):
    """The last step that may say no: once it is done, the saga only goes forward (Richardson).

    In doubt it is retried with its key; after its last attempt the instance is `failed`: it never turns back while in
    doubt.
    """

    kind = StepKind.PIVOT


class Retriable(_WithoutWayBack):
    """A step after the pivot: retried until it succeeds, by default on any error for about an hour.

    After its last attempt the instance is `failed` and waits for a person.
    """

    kind = StepKind.RETRIABLE
    _default_retry = RETRIABLE_RETRY


class BestEffort(Step):
    """A step whose failure does not turn the saga back: it is recorded, and the saga goes on. It may be anywhere.

    Use it for a notification, for example. By default it has nothing to undo, and its result may be missing.
    """

    kind = None
    best_effort = True

    def __init__(
        self, task: CeleryTask, *, compensation: CeleryTask | None = None, **options: Unpack[UndoableOptions]
    ) -> None:
        super().__init__(task, compensation=compensation, **options)

    @property
    def is_certain(self) -> bool:
        return False


def checked_task(task: Any, who: str) -> TaskFace:
    """Return the face of a task that a saga may run. Raises DefinitionError."""
    try:
        face = face_of(task)
    except TypeError:
        raise DefinitionError(
            f"{who}: {task!r} is not a Celery task; decorate the function with @shared_task or @app.task, and pass the "
            "task itself, neither its name nor a signature of it"
        ) from None
    if face.options.get("autoretry_for"):
        raise DefinitionError(f"{who}: the task has autoretry_for; a saga's retries belong to Step(retry=Retry(on=…))")
    refuse_unfit(face, who)
    return face


def retries(given: Retry | None, default: Retry, who: str) -> tuple[Retry, Retry]:
    """Return the policy, and how the last release read it: with an action's defaults for what it leaves out."""
    if given is None:
        return default, default
    if not isinstance(given, Retry):
        raise DefinitionError(f"{who}={given!r} must be Retry(…)")
    return given.with_defaults(default), given.with_defaults(ACTION_RETRY)
