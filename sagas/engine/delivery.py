"""One delivery of one execution: what its message says, and what this process holds for it."""

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from sagas.engine.continuing import continuing
from sagas.engine.judging import describe
from sagas.engine.messages import first_of_tail
from sagas.engine.outgoing import Outbox
from sagas.engine.transaction import StepTransaction
from sagas.model import Address, ErrorInfo, Plan, PlanStep
from sagas.model.secrecy import Redact
from sagas.store import Claim

if TYPE_CHECKING:
    from sagas.engine.core import Engine

logger = logging.getLogger("sagas")


class Delivery:
    """A message that names an execution, received by a fenced task."""

    def __init__(self, engine: "Engine", task: Any, instance_id: UUID, address: Address) -> None:
        self.engine = engine
        self.task = task
        self.request = task.request
        self.instance_id = instance_id
        self.address = address
        self.token = uuid4()
        self.continuation = continuing(self.request.id)
        #: The delivery that the worker lists while this runs: its own message, or that of the step it follows.
        self.id = self.continuation.delivery if self.continuation else self.request.id
        #: The execution whose message Celery publishes if this one's chain goes on.
        self.tail = first_of_tail(self.request)
        self.seen: list[Any] = []  # data that this execution has read or made

    def describe(self, error: BaseException, step: str | None = None) -> ErrorInfo:
        """Return an error as it may be stored, without the instance's secrets."""
        return describe(error, step, self.redact)

    @cached_property
    def redact(self) -> Redact:
        """A function that removes the instance's secrets from a text. It queries the database: only for failures."""
        return self.engine.redactor(self.instance_id, *self.seen)

    def log(self, message: str, reason: str = "") -> None:
        """Log a warning about this execution."""
        extra = {"saga_id": str(self.instance_id), "step": str(self.address), "task_id": self.request.id}
        logger.warning("saga %s, step %s: %s %s", self.instance_id, self.address, message, reason, extra=extra)


@dataclass(frozen=True, slots=True)
class Claimed:
    """An execution that this process holds, and the transaction that its body may write in."""

    delivery: Delivery
    claim: Claim
    plan: Plan
    step: PlanStep
    transaction: StepTransaction
    outbox: Outbox
