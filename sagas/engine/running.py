"""Run the body of a claimed execution, and say what happened. Nothing is recorded, sent or raised here."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sagas.engine.binding import bind
from sagas.engine.clean_errors import clean_errors
from sagas.engine.conditions import is_wanted
from sagas.engine.context import StepContext, as_current, deadline_of
from sagas.engine.continuing import limits_kept
from sagas.engine.delivery import Claimed
from sagas.engine.judging import Judgement, judge
from sagas.engine.recorder import Recorder
from sagas.errors import BindingError, RowDamaged, SagaError, SecretUnreadable
from sagas.model import Verdict, payload
from sagas.model.inputs import own_names
from sagas.store import legible, merged


@dataclass(frozen=True, slots=True)
class Returned:
    """The body returned a value."""

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """The body raised, or something before it; whether anything was done is in the judgement."""

    error: BaseException
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Unwanted:
    """The step's condition is false: the body has not run, and there will be nothing to undo."""


@dataclass(frozen=True, slots=True)
class NotCallable:
    """The body cannot be called with the data there is: a deploy, or a person, has to cure that."""

    error: SagaError
    lacks_result: bool  # of its own action, which ended without one


Happened = Returned | Raised | Unwanted | NotCallable


class Run:
    """One run of one body."""

    def __init__(self, claimed: Claimed) -> None:
        self._claimed = claimed
        self._delivery = delivery = claimed.delivery
        self._is_action = delivery.address.is_action
        self._policy = claimed.step.retry_for(delivery.address.round)
        self._recorder = Recorder(
            delivery.engine,
            delivery.instance_id,
            delivery.address,
            delivery.token,
            claimed.step.name,
            delivery.seen,
        )

    def happened(self) -> Happened:
        """Run the body, if its data and its condition let it, and return what happened."""
        claim, step = self._claimed.claim, self._claimed.step
        if claim.epoch_changed and self._is_action and not step.idempotent:
            error = SagaError("a crash of the database may have lost a claim of this step, which is not idempotent")
            return Raised(error, Judgement(self._delivery.describe(error, step.name), Verdict.UNUSABLE))
        not_ready = self._delivery.task.not_ready()
        if not_ready is not None:  # nothing was done: Celery runs `before_start` before the claim
            return Raised(not_ready, self._judged(not_ready).by_place())
        try:
            arguments = self._arguments()
        except (BindingError, RowDamaged, SecretUnreadable) as error:
            return NotCallable(error, isinstance(error, BindingError) and claim.own_result is None)
        except Exception as error:  # raised by the application's condition: nothing was done
            return Raised(error, self._judged(error).by_place())
        return Unwanted() if arguments is None else self._called(arguments)

    def _arguments(self) -> Mapping[str, Any] | None:
        """Return the arguments of the body; None: its condition is false.

        Raises:
            BindingError, RowDamaged, SecretUnreadable: a deploy, or a person, has to cure it.
        """
        data, own_result = self._read()
        step, task = self._claimed.step, self._delivery.task
        if self._is_action and not is_wanted(step, data):
            return None
        inputs = step.inputs_for(self._delivery.address.round)
        return bind(task.run, data, own_result, f"task {task.name}", *inputs)

    def _read(self) -> tuple[dict[str, Any], Any]:
        """Return the data that the task sees and, for a compensation, its action's own result, which takes precedence.

        The action's records are data for its compensation alone.

        Raises:
            RowDamaged, SecretUnreadable: a deploy, or a person, has to cure it.
        """
        claim, delivery = self._claimed.claim, self._delivery
        with legible(delivery.instance_id):
            data = merged(claim.data, claim.earlier_results)
            own = payload.loads(claim.own_result) if claim.own_result else None
        delivery.seen += [data, own]
        opened, opened_own = delivery.engine.secrecy.open(data), delivery.engine.secrecy.open(own)
        recorded = [] if self._is_action else self._recorder.all()
        delivery.seen += recorded
        return opened, own_names(opened_own, self._claimed.step.output, recorded)

    def _called(self, arguments: Mapping[str, Any]) -> Returned | Raised:
        claim, step, delivery = self._claimed.claim, self._claimed.step, self._delivery
        delivery.request.retries = claim.attempts - claim.forgiven - 1
        try:
            with as_current(self._context()), limits_kept(delivery.continuation, claim):
                return Returned(delivery.task.call_body(**arguments))
        except BaseException as error:
            self._claimed.transaction.rollback()
            clean = clean_errors(claim.saga, step) if self._is_action else ()
            judgement = judge(error, self._policy, step.name, delivery.redact, clean)
            return Raised(error, judgement.in_doubt() if self._recorder.has_recorded else judgement)

    def _context(self) -> StepContext:
        return StepContext(**self._known())

    def _known(self) -> dict[str, Any]:
        """Return what every body may know of its execution."""
        claim, step, delivery = self._claimed.claim, self._claimed.step, self._delivery
        return {
            "saga_id": delivery.instance_id,
            "saga": claim.saga,
            "name": step.name,
            "round": delivery.address.round,
            "attempt": claim.attempts,
            "deadline": deadline_of(claim, step, delivery.address),
            "transaction": self._claimed.transaction,
            "recorder": self._recorder,
            "outbox": self._claimed.outbox,
            "is_cancelled": partial(delivery.engine.held.is_stopped, delivery.id),
            "headers": partial(delivery.engine.carrying.seen_by_task, delivery.instance_id),
        }

    def _judged(self, error: BaseException) -> Judgement:
        return judge(error, self._policy, self._claimed.step.name, self._delivery.redact)
