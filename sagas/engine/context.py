"""`current_step`: what a task may know about the saga that runs it."""

import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from sagas.engine.outgoing import Addressee, Outbox, PublishingStep
from sagas.engine.recorder import Recorder
from sagas.engine.transaction import StepTransaction
from sagas.errors import NoCurrentStep
from sagas.model import Address, PlanStep, StepKind
from sagas.model.limits import Limits
from sagas.store import Claim


def _never() -> bool:
    return False


@dataclass(frozen=True, kw_only=True, slots=True)
class StepContext:
    """A running execution."""

    saga_id: UUID
    saga: str
    name: str
    round: int
    attempt: int
    deadline: datetime | None
    transaction: StepTransaction = field(repr=False)
    recorder: Recorder = field(repr=False)
    outbox: Outbox = field(repr=False)
    is_cancelled: Callable[[], bool] = field(default=_never, repr=False)
    headers: Callable[[], Mapping[str, Any]] = field(default=dict, repr=False)

    @property
    def action_key(self) -> str:
        return f"{self.saga_id}:{self.name}"

    @property
    def idempotency_key(self) -> str:
        if self.round == 0:
            return self.action_key
        again = f":{self.round}" if self.round > 1 else ""
        return f"comp:{self.saga_id}:{self.name}{again}"

    def add_to_outbox(self, event: Any, to: Addressee, run: Any) -> None:
        self.outbox.add(event, to, run, PublishingStep(instance_id=self.saga_id, key=self.idempotency_key))


def deadline_of(claim: Claim, step: PlanStep, address: Address) -> datetime:
    """Return the execution's deadline. The saga's deadline applies to steps that can be stopped: before the pivot."""
    own = claim.claimed_at + timedelta(seconds=Limits(claim.timeout, claim.soft_timeout).for_body)
    if claim.deadline is None or not address.is_action or step.kind is not StepKind.COMPENSATABLE:
        return own
    return min(own, claim.deadline)


#: The threads of this process in which steps run.
_threads: set[int] = set()
_running: ContextVar[StepContext | None] = ContextVar("sagas_current_step", default=None)


def context_here() -> StepContext | None:
    """Return the context of the running execution; None outside of one."""
    return _running.get()


class CurrentStep:
    """The ambient context of a running step or compensation, as ``current_task`` is Celery's.

    Outside a step every attribute raises `NoCurrentStep`, and the object itself is false.
    """

    @staticmethod
    def _context() -> StepContext:
        context = _running.get()
        if context is None:
            message = (
                "current_step is only known inside a task that a saga runs; a task that is also used alone can test "
                "`if current_step:` first"
            )
            if _threads - {threading.get_ident()}:
                message += (
                    ". This thread is not the task's: give a thread of the step's own its context, as in "
                    "pool.submit(contextvars.copy_context().run, function, …)"
                )
            raise NoCurrentStep(message)
        return context

    def __bool__(self) -> bool:
        return _running.get() is not None

    @property
    def saga_id(self) -> UUID:
        """The instance's id."""
        return self._context().saga_id

    @property
    def saga(self) -> str:
        """The saga's name."""
        return self._context().saga

    @property
    def name(self) -> str:
        """The step's name; a compensation has its step's."""
        return self._context().name

    @property
    def attempt(self) -> int:
        """The number of this execution, from 1."""
        return self._context().attempt

    @property
    def idempotency_key(self) -> str:
        """The key to give to the service that you call, the same for every attempt: ``{saga_id}:{step}``, and in a
        compensation ``comp:{saga_id}:{step}`` (with the round from the second on).
        """
        return self._context().idempotency_key

    @property
    def action_key(self) -> str:
        """The action's key, also in its compensation and known before the action ran: undo by this key."""
        return self._context().action_key

    @property
    def deadline(self) -> datetime | None:
        """When this execution, or a saga that can still turn back, runs out of time; aware, in UTC."""
        return self._context().deadline

    @property
    def headers(self) -> Mapping[str, Any]:
        """The headers that the saga keeps of its caller's: a body may check that its tenant is among them.

        Raises:
            SecretUnreadable: a header is secret, and no key in this process decrypts it.
        """
        return self._context().headers()

    @property
    def cancelled(self) -> bool:
        """Whether a parallel branch has failed and `parallel(if_one_fails="cancel")` asks this one to stop.

        For pools without processes, in which a body cannot be interrupted: check it now and then in a long body, and
            raise. In a prefork worker Celery's ``SoftTimeLimitExceeded`` is raised in the body instead.
        """
        return self._context().is_cancelled()

    @property
    def connection(self) -> Connection:
        """A connection to the saga database whose writes commit together with this execution's completion.

        Opened at the first use. You cannot commit, roll back or close it, but you can use savepoints
        (``begin_nested()``). If the claim was taken away meanwhile, everything rolls back. It serves the first thread
        that uses it, and no other.
        """
        return self._context().transaction.lend()

    def record(self, data: Mapping[str, Any]) -> None:
        """Hand undo data to the compensation before anything can fail: ``current_step.record({"charge_id": id})``.

        It is stored at once, whatever becomes of this execution, and fills the compensation's parameters by name if the
        action has no result. An execution that has recorded is never taken for one that did nothing.

        Raises:
            PayloadError: the data cannot be stored; the message names the key.
        """
        self._context().recorder.record(data)

    def publish(self, event: Any, *, to: Addressee, run: Any = None) -> None:
        """Publish an event into a run of a choreography, in one commit with this execution's completion.

        Nothing is published if the execution fails, is given up, loses its claim, or ends when its saga has turned
        back. If the body runs again, only the events of the execution that completes are published. Use it in steps and
        compensations; a handler returns its events.

        Args:
            event: an event of the choreography. The one in its ``starts=`` starts a run, with the correlation id of
                this saga.
            to: the choreography.
            run: the business key of the run, or its handle or id. It may be left out if the event starts a run, which
                then has no key.

        Raises:
            PayloadError: it is not an event of the choreography, or cannot be published.
            NotRegistered: it starts a run, and no worker has registered the choreography.

        Example:
            ``current_step.publish(OrderCreated(order_id=order_id), to=fulfilment, run=f"order-{order_id}")``
        """
        self._context().add_to_outbox(event, to, run)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records of all executions of the action, oldest first; also in its compensation."""
        return self._context().recorder.all()

    def __repr__(self) -> str:
        return f"<current_step {_running.get()!r}>"


current_step = CurrentStep()


class as_current:
    """Make a context the current one for a block."""

    def __init__(self, context: StepContext) -> None:
        self._context = context
        self._token: Any = None

    def __enter__(self) -> None:
        self._token = _running.set(self._context)
        _threads.add(threading.get_ident())

    def __exit__(self, *_: object) -> None:
        _running.reset(self._token)
        if _running.get() is None:
            _threads.discard(threading.get_ident())
