"""Steps that workers run: compensatable, pivot, retriable, best effort."""

from collections.abc import Iterable
from typing import Any

from sagas.definition.keys import declared_return
from sagas.definition.part import Compiler, Part, Place
from sagas.definition.retry import COMPENSATION_RETRY, LONGEST_TIMEOUT, RETRIABLE_RETRY, Retry, number
from sagas.engine import TaskFace, condition_name, look_at
from sagas.errors import DefinitionError
from sagas.model import PlanStep, StepKind

_UNSET: Any = object()


class Step(Part):
    """An action and what undoes it; both are Celery tasks.

    Args:
        task: the action. Its parameters are filled from the saga's data by name; a dict that it returns is
            merged into the data.
        compensation: the task that semantically undoes it, or None for "nothing to undo". It must be safe for an
            action that never happened, and undo what *its* action did, named by ``current_step.action_key``.
        name: how the step is called; the task's function name by default. Part of the idempotency key.
        retry: when the action is tried again.
        compensation_retry: when the compensation is tried again; any error, six times, by default.
        timeout: seconds that one execution may take; 1 hour by default.
        compensation_timeout: the same for the compensation.
        idempotent: False never runs the action twice: it is given up, and undone, when its outcome is unknown.
        max_losses: how often its process may die under it before the step is given up.
        when: run it only on a condition: a name in the data (missing or false skips the step), or a function that is
            registered with `condition`. A skipped step is never compensated.
        queue: where the messages of the action and of its compensation go, instead of the tasks' own queues.
        compensation_deadline: seconds from the compensation's first claim after which it is not tried again.
    """

    kind: StepKind | None = StepKind.COMPENSATABLE
    _default_retry = Retry()

    def __init__(
        self,
        task: Any,
        *,
        compensation: Any = _UNSET,
        name: str | None = None,
        retry: Retry | None = None,
        compensation_retry: Retry | None = None,
        timeout: float = 3600.0,
        compensation_timeout: float | None = None,
        idempotent: bool = True,
        max_losses: int = 3,
        when: Any = None,
        queue: str | None = None,
        compensation_deadline: float | None = None,
    ) -> None:
        self.face = _task(task, f"{type(self).__name__}(…)")
        super().__init__(name or self._default_name())
        if compensation is _UNSET:
            raise DefinitionError(
                f"step {self.name!r} does not say how it is undone: pass compensation=<task>, or compensation=None if "
                "there is nothing to undo"
            )
        self.task = task
        self.compensation = compensation
        self.compensation_face = None if compensation is None else _task(compensation, f"compensation of {self.name!r}")
        self.retry = _retry(retry, self._default_retry, f"step {self.name!r}: retry")
        self.compensation_retry = _retry(
            compensation_retry, COMPENSATION_RETRY, f"step {self.name!r}: compensation_retry"
        )
        self.timeout = number(timeout, f"step {self.name!r}: timeout", 0.001, LONGEST_TIMEOUT)
        self.compensation_timeout = number(
            self.timeout if compensation_timeout is None else compensation_timeout,
            f"step {self.name!r}: compensation_timeout",
            0.001,
            LONGEST_TIMEOUT,
        )
        if not isinstance(idempotent, bool):
            raise DefinitionError(f"step {self.name!r}: idempotent={idempotent!r} must be True or False")
        self.idempotent = idempotent
        if not isinstance(max_losses, int) or isinstance(max_losses, bool) or max_losses < 0:
            raise DefinitionError(f"step {self.name!r}: max_losses={max_losses!r} must be a whole number from 0 on")
        self.max_losses = max_losses
        self.when, self.predicate = self._condition(when)
        if queue is not None and (not isinstance(queue, str) or not queue):
            raise DefinitionError(f"step {self.name!r}: queue={queue!r} must be a queue's name")
        self.queue = queue
        self.compensation_deadline = (
            None
            if compensation_deadline is None
            else number(compensation_deadline, f"step {self.name!r}: compensation_deadline", 0.001, LONGEST_TIMEOUT)
        )

    @property
    def is_certain(self) -> bool:
        return self.when is None and self.predicate is None

    def tasks(self) -> list[Any]:
        return [task for task in (self.task, self.compensation) if task is not None]

    def gives(self) -> frozenset[str] | None:
        return declared_return(self.face.function)

    def needs(self) -> Iterable[tuple[str, TaskFace, frozenset[str] | None]]:
        yield f"step {self.name!r}", self.face, None
        if self.compensation_face is not None:
            # A compensation sees the data as of its action's claim, and its action's result if there is one.
            yield f"compensation of step {self.name!r}", self.compensation_face, self.gives()

    def _condition(self, when: Any) -> tuple[str | None, str | None]:
        if when is None or (isinstance(when, str) and when):
            return when, None
        name = condition_name(when)
        if name is None:
            raise DefinitionError(
                f"step {self.name!r}: when={when!r} must be a name in the data, or a function with @condition"
            )
        return None, name

    def _default_name(self) -> str:
        if self.face.function is not None:
            return str(self.face.function.__name__)
        raise DefinitionError("the step's task does not show its function; pass name='…'")

    def compile(self, place: Place, compiler: Compiler) -> PlanStep:
        """The step as the plan stores it."""
        return PlanStep(
            **place.fields(),
            name=self.name,
            task=compiler.task_name(self.task, f"step {self.name!r}"),
            compensation=None
            if self.compensation is None
            else compiler.task_name(self.compensation, f"compensation of step {self.name!r}"),
            retry=self.retry.policy(),
            compensation_retry=self.compensation_retry.policy(),
            timeout=self.timeout,
            compensation_timeout=self.compensation_timeout,
            idempotent=self.idempotent,
            max_losses=self.max_losses,
            queue=self.queue,
            when=self.when,
            predicate=self.predicate,
            best_effort=self.best_effort,
            compensation_deadline=self.compensation_deadline,
        )


class _WithoutWayBack(Step):
    def __init__(self, task: Any, **options: Any) -> None:
        for option in ("compensation", "compensation_retry", "compensation_timeout", "compensation_deadline"):
            if option in options:
                raise DefinitionError(
                    f"{type(self).__name__} takes no {option}: from the pivot on a saga only goes forward. "
                    "Use Step(…, compensation=…) before the pivot"
                )
        super().__init__(task, compensation=None, **options)


class Pivot(_WithoutWayBack):
    """The last step that may say no: once it is done the saga only goes forward (Richardson).

    In doubt it is retried with its key; when that is used up the instance is `failed`: never backwards out of doubt.
    """

    kind = StepKind.PIVOT


class Retriable(_WithoutWayBack):
    """A step after the pivot: retried until it succeeds, by default on any error for about an hour.

    When its policy is used up the instance is `failed` and waits for a person.
    """

    kind = StepKind.RETRIABLE
    _default_retry = RETRIABLE_RETRY


class BestEffort(Step):
    """A step whose failure hurts nobody: it is recorded as failed, and the saga goes on. It may stand anywhere.

    For a notification, say. It has nothing to undo unless it says so, and what it returns may be missing.
    """

    kind = None
    best_effort = True

    def __init__(self, task: Any, *, compensation: Any = None, **options: Any) -> None:
        super().__init__(task, compensation=compensation, **options)

    @property
    def is_certain(self) -> bool:
        return False


def _task(task: Any, who: str) -> TaskFace:
    try:
        face = look_at(task)
    except TypeError:
        raise DefinitionError(
            f"{who}: {task!r} is no Celery task; decorate the function with @shared_task or @app.task, and pass the "
            "task itself, neither its name nor a signature of it"
        ) from None
    if face.options.get("autoretry_for"):
        raise DefinitionError(f"{who}: the task has autoretry_for; a saga's retries belong to Step(retry=Retry(on=…))")
    return face


def _retry(given: Retry | None, default: Retry, who: str) -> Retry:
    if given is None:
        return default
    if not isinstance(given, Retry):
        raise DefinitionError(f"{who}={given!r} must be Retry(…)")
    return given
