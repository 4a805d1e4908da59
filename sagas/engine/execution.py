"""One delivery of one execution: claim, run, complete; or record what went wrong.

The rows decide everything. What Celery does afterwards (publish the rest of the chain, call the error callback)
is steered by returning, by cutting the chain's tail, or by raising.
"""

import logging
import random
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from billiard.exceptions import SoftTimeLimitExceeded
from celery.exceptions import Ignore, Reject, Retry
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from sagas.engine.binding import bind
from sagas.engine.context import StepContext, running
from sagas.engine.judging import Judgement, describe, judge
from sagas.engine.messages import cut_tail, first_of_tail, window_from
from sagas.engine.transaction import StepTransaction
from sagas.errors import BindingError, SagaError
from sagas.model import (
    Address,
    Completed,
    ErrorInfo,
    Failed,
    Parked,
    Plan,
    PlanStep,
    SagaStatus,
    StepKind,
    StepStatus,
    Tick,
    Verdict,
    payload,
)
from sagas.store import Claim
from sagas.store.database import is_conflict, is_outage

if TYPE_CHECKING:
    from sagas.engine.core import Engine

logger = logging.getLogger("sagas")


class Execution:
    """Runs one delivery of a fenced task."""

    def __init__(self, engine: "Engine", task: Any, instance_id: UUID, address: Address) -> None:
        self.engine = engine
        self.task = task
        self.request = task.request
        self.instance_id = instance_id
        self.address = address
        self.token = uuid4()

    def run(self) -> Any:
        """What the task class returns to Celery."""
        with self.engine.held.holding(self.request.id):
            claim = self.engine.store.hot.claim(
                self.instance_id,
                self.address,
                token=self.token,
                worker_id=self.engine.identity.id,
                delivery=self.request.id,
                known_plans=self.engine.store.instances.known_plans,
            )
            if claim is None:
                return self.nothing_to_claim()
            return self.claimed(claim)

    # -- nothing to do

    def nothing_to_claim(self) -> None:
        """A duplicate, a voided step, or a message without a row: ask what is to be done, and mostly drop it."""
        carries = first_of_tail(self.request)
        outcome = self.engine.loop.handle(self.instance_id, Tick())
        if outcome is None:
            self.log("message without a saga dropped")
        own = outcome.decision.state.at(self.address) if outcome else None
        following = outcome.decision.state.at(carries) if outcome and carries else None
        # A crash between "completed" and "published": the redelivery walks on, if nobody else did. A second
        # dispatch may not: n of them that queue behind one another would make n walkers.
        walks_on = (
            bool((self.request.delivery_info or {}).get("redelivered"))
            and own is not None
            and own.status is StepStatus.COMPLETED
            and following is not None
            and following.status is StepStatus.PENDING
            and following.dispatches == 1
            and not following.attempts
        )
        if not walks_on:
            cut_tail(self.request)

    # -- a claim

    def claimed(self, claim: Claim) -> Any:
        plan = self.engine.store.instances.plan(claim.plan_hash, claim.plan)
        step = plan.step(self.address.position)
        policy = step.retry_for(self.address.round)
        if claim.epoch_changed and self.address.is_action and not step.idempotent:
            error = SagaError("a crash of the database may have lost a claim of this step, which is not idempotent")
            return self.failed(error, Judgement(describe(error, step.name), Verdict.UNUSABLE))
        transaction = StepTransaction(self.engine.store.database)
        try:
            arguments = self.bind(claim)
        except BindingError as error:
            return self.parked(describe(error, step.name))
        context = StepContext(
            saga_id=self.instance_id,
            saga=claim.saga,
            name=step.name,
            round=self.address.round,
            attempt=claim.attempts,
            deadline=deadline_of(claim, step, self.address),
            transaction=transaction,
        )
        try:
            with running(context):
                value = self.task.call_body(**arguments)
        except BaseException as error:
            transaction.rollback()
            return self.failed(error, judge(error, policy, step.name))
        try:
            try:
                return self.succeeded(value, plan, transaction)
            except SoftTimeLimitExceeded:
                # It struck in our own code, after the body: the own token is looked at before anything is decided.
                return self.succeeded(value, plan, transaction)
        finally:
            transaction.rollback()

    def bind(self, claim: Claim) -> dict[str, Any]:
        """A compensation sees the data as of its action's claim, and its action's own result before it."""
        data = payload.loads(claim.data)
        for result in payload.loads(claim.earlier_results or "[]"):
            if isinstance(result, Mapping):
                data.update(result)
        own = payload.loads(claim.own_result) if claim.own_result else None
        return bind(self.task.run, data, own, f"task {self.task.name}")

    # -- its end

    def succeeded(self, value: Any, plan: Plan, transaction: StepTransaction) -> Any:
        step = plan.step(self.address.position)
        what = f"result of {step.name}" if self.address.is_action else f"result of the compensation of {step.name}"
        try:
            encoded = None if value is None else payload.dumps(value, what)
        except Exception as error:  # whatever cannot be stored: the body is done and is never run again for it
            if self.address.is_action:
                transaction.rollback()
                return self.failed(error, Judgement(describe(error, step.name), Verdict.UNUSABLE))
            # The undo is done; only what it returned is lost, and says so.
            self.log("result of a compensation not stored", str(error))
            encoded = None
        try:
            if self.address.is_action:
                self.complete_action(plan, encoded, transaction)
            else:
                self.complete_compensation(encoded, transaction)
        except SQLAlchemyError as error:
            return self.not_recorded(error, plan, transaction)
        return value

    def not_recorded(self, error: SQLAlchemyError, plan: Plan, transaction: StepTransaction) -> None:
        step = plan.step(self.address.position)
        # Anything but the driver's own word is about a connection that was lost on the way.
        transient = not isinstance(error, DBAPIError) or is_outage(error) or is_conflict(error)
        if transaction.was_used:
            # What the body wrote there is rolled back, but it may have acted elsewhere too: never a clean no.
            transaction.rollback()
            verdict = Verdict.RETRYABLE if transient else Verdict.UNUSABLE
            return self.failed(error, Judgement(describe(error, step.name), verdict))
        if not transient:
            # The body is done and its record is refused: never run again for this, and never forgotten.
            return self.failed(error, Judgement(describe(error, step.name), Verdict.UNUSABLE))
        # The database is away for longer than our patience: the sweep will find the claim dead and run it again.
        raise error

    def complete_action(self, plan: Plan, encoded: str | None, transaction: StepTransaction) -> None:
        following = plan.after(self.address.position)
        queue = self.engine.messages.queue_of(following.task) if following else None
        status = self.engine.store.hot.complete(
            self.instance_id,
            self.address,
            token=self.token,
            result=encoded,
            following=following,
            queue=queue,
            connection=transaction.connection if transaction.is_open else None,
        )
        if transaction.is_open:
            if status is None and not self.completed_in(transaction):
                # Its claim was taken away: nothing of it happened, so it is no late success either.
                transaction.rollback()
                self.log("claim lost, the step's transaction was rolled back")
                cut_tail(self.request)
                return
            self.commit(transaction)
        status = status or self.own_completion()
        if status is None:
            self.report(encoded)
        elif status.is_forward and following is not None:
            self.go_on(plan, Address(following.position, following.branch))
        else:
            cut_tail(self.request)
            if status is SagaStatus.COMPENSATING:
                # The instance left forward while this ran: what was being drained has ended.
                self.engine.loop.handle(self.instance_id, Tick())
            elif status is SagaStatus.COMPLETED:
                self.engine.loop.announce_status(self.instance_id, plan.saga, status)

    def commit(self, transaction: StepTransaction) -> None:
        try:
            transaction.commit()
        except DBAPIError:
            # Unknown outcome: the own token tells. Completed, or cleanly rolled back.
            if self.own_completion() is None:
                raise

    def complete_compensation(self, encoded: str | None, transaction: StepTransaction) -> None:
        if transaction.is_open:
            # An undo may run twice; its record may not be lost. So its writes commit first.
            transaction.commit()
        self.report(encoded)

    def completed_in(self, transaction: StepTransaction) -> bool:
        """A soft limit may strike between the completion and its commit, and bring us here a second time."""
        hot = self.engine.store.hot
        return hot.completed_by(self.instance_id, self.address, self.token, transaction.connection) is not None

    def own_completion(self) -> SagaStatus | None:
        """ "Mine and completed already" is success: the answer to a commit can be lost."""
        return self.engine.store.hot.completed_by(self.instance_id, self.address, self.token)

    def report(self, encoded: str | None) -> None:
        """Report a completion by the loop's own door: an undo, or an action whose claim was taken away."""
        event = Completed(address=self.address, token=self.token, result=encoded)
        outcome = self.engine.loop.handle(self.instance_id, event, carries=first_of_tail(self.request))
        if outcome is None or not outcome.carried:
            cut_tail(self.request)

    def go_on(self, plan: Plan, following: Address) -> None:
        """Celery publishes the next message of the chain; the last of a window asks for the next window."""
        if first_of_tail(self.request) != following:
            cut_tail(self.request)
            self.engine.loop.send_window(self.instance_id, plan, window_from(plan, None, following))

    def failed(self, error: BaseException, judgement: Judgement) -> None:
        """Record the failure, by token, before raising; the error callback then only has to ask what follows."""
        event = Failed(
            address=self.address,
            token=self.token,
            error=judgement.error,
            verdict=judgement.verdict,
            dice=random.random(),
            retry_after=judgement.retry_after,
        )
        outcome = self.engine.loop.handle(self.instance_id, event)
        # Only a process ends by an interruption. A thread would die unseen, its message never acknowledged.
        if judgement.verdict is Verdict.INTERRUPTED and threading.current_thread() is threading.main_thread():
            raise error
        step = outcome.decision.state.at(self.address) if outcome else None
        if outcome is None or step is None or not outcome.decision.accepted:
            self.log("failure of an execution that lost its claim", str(judgement.error))
            cut_tail(self.request)
        elif step.status is StepStatus.PENDING:
            # Celery ends this chain, fires no error callback, and Flower shows the attempt as a retry.
            raise Retry(f"attempt {step.attempts} failed", exc=shown(error), when=step.not_before)
        else:
            raise shown(error)

    def parked(self, error: ErrorInfo) -> None:
        """The task's parameters do not fit: a deploy has to cure it; meanwhile the step waits, visibly."""
        logger.error("saga step cannot be called: %s", error.message, extra={"saga_id": str(self.instance_id)})
        self.engine.loop.handle(self.instance_id, Parked(address=self.address, token=self.token, error=error))
        cut_tail(self.request)

    def log(self, message: str, reason: str = "") -> None:
        extra = {"saga_id": str(self.instance_id), "step": str(self.address), "task_id": self.request.id}
        logger.warning("saga %s, step %s: %s %s", self.instance_id, self.address, message, reason, extra=extra)


def deadline_of(claim: Claim, step: PlanStep, address: Address) -> datetime:
    """The execution's own. The saga's binds what it can still stop: no undo, and nothing from the pivot on."""
    own = claim.claimed_at + timedelta(seconds=step.timeout_for(address.round))
    if claim.deadline is None or not address.is_action or step.kind is not StepKind.COMPENSATABLE:
        return own
    return min(own, claim.deadline)


def shown(error: BaseException) -> Exception:
    """What Celery gets to see. A MemoryError would end the whole worker, others its process."""
    if isinstance(error, MemoryError) or not isinstance(error, Exception):
        return SagaError(f"{type(error).__name__}: {error}")
    if isinstance(error, Ignore | Reject | Retry):
        return SagaError(f"{type(error).__name__} is not an answer that a saga step can give: {error}")
    return error
