"""One delivery of one execution: claim, run, complete; or record what went wrong.

The rows decide everything. Returning, cutting the chain's tail or raising controls what Celery does next: publish the
rest of the chain, or call the error callback.
"""

import logging
import random
import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from billiard.exceptions import SoftTimeLimitExceeded
from celery.exceptions import Retry
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from sagas.engine.at_hand import is_for_good
from sagas.engine.binding import bind
from sagas.engine.clean_errors import clean_errors
from sagas.engine.conditions import is_wanted
from sagas.engine.context import StepContext, deadline_of, running
from sagas.engine.continuing import continuing, limits_kept
from sagas.engine.judging import Judgement, describe, judge
from sagas.engine.messages import cut_tail, first_of_tail, sent_at, window_from
from sagas.engine.recording import Recorder
from sagas.engine.redaction import for_celery, shown_error, shown_result
from sagas.engine.retrying import asked_by
from sagas.engine.telling import log_parked
from sagas.engine.transaction import RolledBack, StepTransaction
from sagas.engine.unclaimed import nothing_to_claim
from sagas.errors import BindingError, RowDamaged, SagaError, SecretUnreadable
from sagas.model import (
    Address,
    Completed,
    ErrorInfo,
    Failed,
    Outcome,
    Parked,
    Plan,
    PlanStep,
    SagaStatus,
    StepStatus,
    Tick,
    Verdict,
    payload,
)
from sagas.model.headers import DIGEST_HEADER
from sagas.model.inputs import own_names, unwrapped
from sagas.model.secrecy import Redact
from sagas.store import Claim, Progress, legible, merged
from sagas.store.database import is_conflict, is_impatient, is_outage

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
        self.continuation = continuing(self.request.id)
        #: The delivery that the worker lists while this runs: its own message, or that of the step it follows.
        self.delivery = self.continuation.delivery if self.continuation else self.request.id
        self.seen: list[Any] = []  # data that this execution has read or made

    def run(self) -> Any:
        """Return what the task class returns to Celery."""
        with self.engine.held.holding(self.delivery):
            claim = self.engine.store.hot.claim(
                self.instance_id,
                self.address,
                task=self.task.name,
                token=self.token,
                worker_id=self.engine.identity.id,
                delivery=self.delivery,
                digest=getattr(self.request, DIGEST_HEADER, None),
                sent=sent_at(self.request),
                known_plans=self.engine.store.instances.known_plans,
            )
            if claim is None:
                return nothing_to_claim(self)
            return self.claimed(claim)

    # -- a claim

    def claimed(self, claim: Claim) -> Any:
        self.engine.store.headers.remember(self.instance_id, claim.headers)
        self.engine.store.clock.learn(claim.claimed_at)
        with legible(self.instance_id):
            plan = self.engine.store.instances.plan(claim.plan_hash, claim.plan)
            step = plan.step(self.address.position, self.address.branch)
        policy = step.retry_for(self.address.round)
        if claim.epoch_changed and self.address.is_action and not step.idempotent:
            error = SagaError("a crash of the database may have lost a claim of this step, which is not idempotent")
            return self.failed(error, Judgement(describe(error, step.name), Verdict.UNUSABLE))
        not_ready = self.task.not_ready()
        if not_ready is not None:  # nothing was done: Celery runs `before_start` before the claim
            return self.failed(not_ready, judge(not_ready, policy, step.name, self.redact).by_place())
        transaction = StepTransaction(self.engine.store.database)
        recorder = Recorder(self.engine, self.instance_id, self.address, self.token, step.name, self.seen)
        try:
            data, own_result = self.read(claim, step, recorder)
            if self.address.is_action and not is_wanted(step, data):
                return self.skipped(plan, transaction)
            inputs = step.inputs_for(self.address.round)
            arguments = bind(self.task.run, data, own_result, f"task {self.task.name}", *inputs)
        except (BindingError, RowDamaged, SecretUnreadable) as error:
            lacks_result = isinstance(error, BindingError) and claim.own_result is None
            return self.parked(error, plan, step.name, lacks_result=lacks_result)
        except Exception as error:  # raised by the application's condition: nothing was done
            return self.failed(error, judge(error, policy, step.name, self.redact).by_place())
        context = StepContext(
            saga_id=self.instance_id,
            saga=claim.saga,
            name=step.name,
            round=self.address.round,
            attempt=claim.attempts,
            deadline=deadline_of(claim, step, self.address),
            transaction=transaction,
            recorder=recorder,
            is_cancelled=partial(self.engine.held.is_stopped, self.delivery),
            headers=partial(self.engine.carrying.seen_by_task, self.instance_id),
        )
        self.request.retries = claim.attempts - claim.forgiven - 1
        try:
            with running(context), limits_kept(self.continuation, claim):
                value = self.task.call_body(**arguments)
        except BaseException as error:
            transaction.rollback()
            clean = clean_errors(claim.saga, step) if self.address.is_action else ()
            judgement = judge(error, policy, step.name, self.redact, clean)
            return self.failed(error, judgement.in_doubt() if recorder.has_recorded else judgement)
        try:
            try:
                return self.succeeded(value, plan, transaction)
            except SoftTimeLimitExceeded:
                # It was raised in our own code, after the body: completing again first checks the own token and the
                # step's transaction, which may be over by now.
                return self.succeeded(value, plan, transaction)
        finally:
            transaction.rollback()

    def read(self, claim: Claim, step: PlanStep, recorder: Recorder) -> tuple[dict[str, Any], Any]:
        """Return the data that the task sees and, for a compensation, its action's own result, which takes precedence.

        The action's records are data for its compensation alone.

        Raises:
            RowDamaged, SecretUnreadable: a deploy, or a person, has to cure it.
        """
        with legible(self.instance_id):
            data = merged(claim.data, claim.earlier_results)
            own = payload.loads(claim.own_result) if claim.own_result else None
        self.seen += [data, own]
        opened, opened_own = self.engine.secrecy.open(data), self.engine.secrecy.open(own)
        recorded = [] if self.address.is_action else recorder.all()
        self.seen += recorded
        return opened, own_names(opened_own, step.output, recorded)

    # -- its end

    def skipped(self, plan: Plan, transaction: StepTransaction) -> None:
        """Complete a step whose condition is false, without running it: there will be nothing to undo."""
        self.complete_action(plan, None, (), transaction, skipped=True)

    def succeeded(self, value: Any, plan: Plan, transaction: StepTransaction) -> Any:
        step = plan.step(self.address.position, self.address.branch)
        what = f"result of {step.name}" if self.address.is_action else f"result of the compensation of {step.name}"
        under = step.output if self.address.is_action else None
        try:
            self.seen.append(value if under is None else {under: value})
            value = payload.fields_of(value, what)
            named = value if under is None else {under: value}
            encoded = None if named is None else self.engine.secrecy.dumps(value, what, under=under)
        except Exception as error:  # whatever cannot be stored: the body is done and never runs again for this
            if SoftTimeLimitExceeded in (type(error), type(error.__context__)):
                raise SoftTimeLimitExceeded from error  # a limit says nothing about the value, even in a codec
            if self.address.is_action:
                transaction.rollback()
                return self.failed(error, Judgement(self.describe(error, step.name), Verdict.UNUSABLE))
            # The undo is done; only its return value is lost, which is logged.
            self.log("result of a compensation not stored", self.describe(error).message)
            encoded, named = None, value
        try:
            if self.address.is_action:
                # Only in a parallel position does it matter which branch returned which name.
                beside = plan.is_parallel(self.address.position) and isinstance(named, Mapping)
                self.complete_action(plan, encoded, tuple(named) if beside else (), transaction)
            else:
                self.complete_compensation(encoded, Outcome.of(value), transaction)
        except SQLAlchemyError as error:
            return self.not_recorded(error, plan, transaction)
        return unwrapped(shown_result(named, self.engine.secrecy, self.engine.secrecy.redactor(*self.seen)), under)

    def not_recorded(self, error: SQLAlchemyError, plan: Plan, transaction: StepTransaction) -> None:
        step = plan.step(self.address.position, self.address.branch)
        # Any error that is not the driver's own means a lost connection.
        transient = not isinstance(error, DBAPIError) or is_outage(error) or is_conflict(error) or is_impatient(error)
        if transaction.was_used:
            # The body's writes there are rolled back, but it may have acted elsewhere too: never clean.
            transaction.rollback()
            verdict = Verdict.RETRYABLE if transient else Verdict.UNUSABLE
            return self.failed(error, Judgement(self.describe(error, step.name), verdict))
        if not transient:
            # The body is done and its record is refused: it never runs again for this, and is not forgotten.
            return self.failed(error, Judgement(self.describe(error, step.name), Verdict.UNUSABLE))
        # The database is away for longer than our patience: the sweep will find the claim dead and run it again.
        raise error

    def complete_action(
        self,
        plan: Plan,
        encoded: str | None,
        keys: tuple[str, ...],
        transaction: StepTransaction,
        *,
        skipped: bool = False,
    ) -> None:
        progress = None
        if not transaction.is_rolled_back:
            progress = self.engine.store.hot.complete(
                self.instance_id,
                plan,
                self.address,
                token=self.token,
                result=encoded,
                keys=keys,
                skipped=skipped,
                placement=self.engine.messages,
                connection=transaction.connection if transaction.is_open else None,
            )
        if transaction.is_open:
            if progress is None and not self.completed_in(plan, transaction):
                # Its claim was taken away: nothing of it happened, so it is not a late success either. Or another
                # branch has returned the same key.
                transaction.rollback()
                self.log("claim lost, or its key taken: the step's transaction was rolled back")
                self.report(encoded, keys, rolled_back=True)
                return
            self.commit(plan, transaction)
        progress = progress or self.own_completion(plan)
        if progress is not None:
            self.go_on(plan, progress)
        elif transaction.is_rolled_back:
            raise RolledBack
        else:
            self.report(encoded, keys, skipped=skipped)

    def commit(self, plan: Plan, transaction: StepTransaction) -> None:
        try:
            transaction.commit()
        except DBAPIError:
            # Unknown outcome: the own token shows whether it completed or was cleanly rolled back.
            if self.own_completion(plan) is None:
                raise

    def complete_compensation(self, encoded: str | None, outcome: Outcome, transaction: StepTransaction) -> None:
        if transaction.is_open:
            # An undo may run twice, but its record must not be lost. So its writes commit first.
            transaction.commit()
        elif transaction.is_rolled_back:
            raise RolledBack
        event = Completed(address=self.address, token=self.token, result=encoded, outcome=outcome)
        self.tell(event)

    def completed_in(self, plan: Plan, transaction: StepTransaction) -> bool:
        """Return whether this execution has completed: a soft limit between completion and commit leads here twice."""
        hot = self.engine.store.hot
        return hot.completed_by(self.instance_id, plan, self.address, self.token, transaction.connection) is not None

    def own_completion(self, plan: Plan) -> Progress | None:
        """Return the progress if it already completed: the answer to a commit can be lost."""
        return self.engine.store.hot.completed_by(self.instance_id, plan, self.address, self.token)

    def report(
        self, encoded: str | None, keys: tuple[str, ...], *, skipped: bool = False, rolled_back: bool = False
    ) -> None:
        """Report an action's end through the loop: its claim was taken away, or its result clashes."""
        self.tell(
            Completed(
                address=self.address,
                token=self.token,
                result=encoded,
                keys=keys,
                skipped=skipped,
                rolled_back=rolled_back,
            )
        )

    def tell(self, event: Completed) -> None:
        # Raising ends the chain, so the next message must be sent explicitly.
        carries = None if event.outcome is Outcome.MANUAL else first_of_tail(self.request)
        outcome = self.engine.loop.handle(self.instance_id, event, carries=carries)
        if outcome is None or not outcome.carried:
            cut_tail(self.request)
        elif carries is not None and (following := outcome.decision.state.at(carries)):
            self.engine.messages.limit_tail(self.request, outcome.plan, following.limits)
        own = outcome.decision.state.at(self.address) if outcome else None
        if own is not None and own.status is StepStatus.FAILED and own.token == self.token and own.error is not None:
            raise SagaError(str(own.error))  # shown by Flower

    def go_on(self, plan: Plan, progress: Progress) -> None:
        """Send what Celery's chain does not. The last message of a window asks for the next window.

        Messages that others wait for are sent before a further step begins here.
        """
        following = progress.following if progress.status.is_forward else None
        born = [Address(head.position, head.branch) for head in following.heads] if following else []
        heads = [head for head in born if head.branch not in progress.in_line]
        if first_of_tail(self.request) not in heads:
            cut_tail(self.request)
        self.engine.messages.limit_tail(self.request, plan, None)
        here = None
        if self.continuation is not None and not progress.needs_a_look:
            here = self.continuation.take(self.instance_id, plan, self.address, heads)
        for head in heads:
            if head not in (first_of_tail(self.request), here):
                self.engine.loop.send_window(self.instance_id, plan, window_from(plan, None, head))
        if progress.needs_a_look:
            self.engine.loop.handle(self.instance_id, Tick())
        elif progress.status is SagaStatus.COMPLETED:
            self.ended(plan, progress)

    def ended(self, plan: Plan, progress: Progress) -> None:
        self.engine.loop.announce_status(self.instance_id, plan.saga, progress.status)
        if plan.is_limited:
            self.engine.loop.release(self.instance_id)
        if progress.parent is not None:
            self.engine.loop.poke(progress.parent)

    def failed(self, error: BaseException, judgement: Judgement) -> None:
        """Record the failure, by token, before raising; then the error callback only has to ask what follows."""
        sentence = self.engine.sentences.on(self.delivery)
        judgement = judgement if sentence is None else sentence.upon(judgement)
        # Only a process ends by an interruption. A thread would die unseen, and its message never be acknowledged.
        in_main_thread = threading.current_thread() is threading.main_thread()
        ends_process = isinstance(error, SystemExit | KeyboardInterrupt) and in_main_thread
        event = Failed(
            address=self.address,
            token=self.token,
            error=judgement.error,
            verdict=judgement.verdict,
            dice=random.random(),
            retry_after=judgement.retry_after,
            asked=asked_by(error),
            unheard=ends_process,
        )
        outcome = self.engine.loop.handle(self.instance_id, event)
        told = shown_error(error, self.redact)
        if ends_process:
            raise told
        step = outcome.decision.state.at(self.address) if outcome else None
        if outcome is None or step is None or not outcome.decision.accepted:
            self.log("failure of an execution that lost its claim", str(judgement.error))
            cut_tail(self.request)
        elif step.status is StepStatus.PENDING:
            # Celery ends this chain, calls no error callback, and Flower shows the attempt as a retry.
            retry = Retry(f"attempt {step.attempts} failed", exc=for_celery(told), when=step.not_before)
            retry.__suppress_context__ = told is not error
            raise retry
        else:
            expected = judgement.is_answer and self.address.is_action and not step.doubt
            raise self.task.expecting(for_celery(told)) if expected else for_celery(told)

    def parked(self, error: SagaError, plan: Plan, step: str, *, lacks_result: bool) -> None:
        """Park a step that cannot be called: a deploy, or a person, has to cure it; meanwhile it waits, visibly."""
        told = self.describe(error, step)
        event = Parked(address=self.address, token=self.token, error=told, lacks_result=lacks_result)
        event = replace(event, for_good=is_for_good(self.engine, plan, error))
        log_parked(self.engine.loop.handle(self.instance_id, event), self.instance_id, told)
        cut_tail(self.request)

    # -- what may be shown

    def describe(self, error: BaseException, step: str | None = None) -> ErrorInfo:
        return describe(error, step, self.redact)

    @cached_property
    def redact(self) -> Redact:
        """A function that removes the instance's secrets from a text. It queries the database: only for failures."""
        return self.engine.redactor(self.instance_id, *self.seen)

    def log(self, message: str, reason: str = "") -> None:
        extra = {"saga_id": str(self.instance_id), "step": str(self.address), "task_id": self.request.id}
        logger.warning("saga %s, step %s: %s %s", self.instance_id, self.address, message, reason, extra=extra)
