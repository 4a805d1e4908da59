"""Record what happened to a claimed execution, send what others wait for, and say what Celery is to do."""

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from sagas.engine.answer import END, Answer, FailureTaken, answer_to_failure, answer_to_report
from sagas.engine.at_hand import is_for_good
from sagas.engine.delivery import Claimed
from sagas.engine.judging import Judgement, judge
from sagas.engine.messages import window_from
from sagas.engine.redaction import shown_error, shown_result
from sagas.engine.retrying import asked_by
from sagas.engine.running import Happened, NotCallable, Raised, Returned, Unwanted
from sagas.engine.telling import log_parked
from sagas.engine.transaction import RolledBack, StepTransaction
from sagas.errors import KeyInUse, SagaError
from sagas.model import Address, Completed, Failed, Parked, SagaStatus, Tick, UndoOutcome, Verdict, payload
from sagas.model.inputs import unwrapped
from sagas.store import Progress
from sagas.store.database import is_conflict, is_impatient, is_outage


def has_turned_back(status: SagaStatus) -> bool:
    """Return whether a completion is now certain to be undone: a failed instance may still go on forward."""
    return status in (SagaStatus.COMPENSATING, SagaStatus.COMPENSATED)


class Recording:
    """Records what happened to one claimed execution, by its token."""

    def __init__(self, claimed: Claimed) -> None:
        self._claimed = claimed
        self._delivery = claimed.delivery
        self._engine = claimed.delivery.engine
        self._hot, self._database = self._engine.store.hot, self._engine.store.database
        self._instance_id = claimed.delivery.instance_id
        self._address = claimed.delivery.address
        self._token = claimed.delivery.token
        self._plan = claimed.plan
        self._step = claimed.step
        self._transaction = claimed.transaction

    def record(self, happened: Happened) -> Answer:
        """Record what happened; safe to repeat for a body that returned.

        Raises:
            SQLAlchemyError: the database is away for longer than our patience: the sweep will find the claim dead.
        """
        match happened:
            case Returned(value):
                return self._returned(value)
            case Raised(error, judgement):
                return self._raised(error, judgement)
            case Unwanted():
                return self._unwanted()
            case NotCallable(error, lacks_result):
                return self._parked(error, lacks_result=lacks_result)

    # -- a body that returned

    def _returned(self, value: Any) -> Answer:
        is_action, step = self._address.is_action, self._step
        what = f"result of {step.name}" if is_action else f"result of the compensation of {step.name}"
        under = step.output if is_action else None
        try:
            self._delivery.seen.append(value if under is None else {under: value})
            value = payload.fields_of(value, what)
            named = value if under is None else {under: value}
            encoded = None if named is None else self._engine.secrecy.dumps(value, what, under=under)
        except Exception as error:  # it cannot be stored: the body is done and never runs again for this
            if SoftTimeLimitExceeded in (type(error), type(error.__context__)):
                raise SoftTimeLimitExceeded from error  # a limit says nothing about the value, even in a codec
            if is_action:
                self._transaction.rollback()
                return self._unusable(error)
            # The undo is done; only its return value is lost, which is logged.
            self._delivery.log("result of a compensation not stored", self._delivery.describe(error).message)
            encoded, named = None, value
        try:
            if is_action:
                # Only in a parallel position does it matter which branch returned which name.
                beside = self._plan.is_parallel(self._address.position) and isinstance(named, Mapping)
                answer = self._complete_action(encoded, tuple(named) if beside else ())
            else:
                answer = self._complete_compensation(encoded, UndoOutcome.of(value))
        except SQLAlchemyError as error:
            return self._not_recorded(error)
        if answer.raises is not None:
            return answer
        redact = self._engine.secrecy.redactor(*self._delivery.seen)
        return replace(answer, value=unwrapped(shown_result(named, self._engine.secrecy, redact), under))

    def _unwanted(self) -> Answer:
        try:
            return self._complete_action(None, (), skipped=True)
        except Exception as error:  # nothing was done
            policy = self._step.retry_for(self._address.round)
            return self._raised(error, judge(error, policy, self._step.name, self._delivery.redact).by_place())

    def _complete_action(self, encoded: str | None, keys: tuple[str, ...], *, skipped: bool = False) -> Answer:
        transaction = self._transaction
        progress = None
        complete = partial(
            self._hot.complete,
            self._instance_id,
            self._plan,
            self._address,
            token=self._token,
            result=encoded,
            keys=keys,
            skipped=skipped,
            placement=self._engine.messages,
        )
        if not transaction.is_rolled_back:
            try:
                progress = self._completed(complete)
            except KeyInUse as error:
                transaction.rollback()
                return self._unusable(error)
        if transaction.is_open:
            if progress is None and not self._is_completed_in_transaction():
                # Its claim was taken away: nothing of it happened, so it is not a late success either. Or another
                # branch has returned the same key.
                transaction.rollback()
                self._delivery.log("claim lost, or its key taken: the step's transaction was rolled back")
                return self._report(encoded, keys=keys, rolled_back=True)
            self._commit()
            self._engine.loop.poke(*self._claimed.outbox.runs)
        progress = progress or self._own_completion()
        if progress is not None:
            return self._go_on(progress)
        if transaction.is_rolled_back:
            raise RolledBack
        return self._report(encoded, keys=keys, skipped=skipped)

    def _completed(self, complete: Callable[..., Progress | None]) -> Progress | None:
        """Complete it together with the events that it publishes, unless its saga has turned back meanwhile."""
        transaction, outbox = self._transaction, self._claimed.outbox
        if not outbox:
            return complete(connection=transaction.connection if transaction.is_open else None)
        with transaction.connection.begin_nested() as events:
            outbox.insert(transaction.connection)  # first, since it may wait for a key: its saga is not locked yet
            progress = complete(connection=transaction.connection)
            if progress is None or not has_turned_back(progress.status):
                return progress
            events.rollback()
        self._delivery.log("turned back while it ran: the events that it publishes are dropped")
        return complete(connection=transaction.connection)

    def _complete_compensation(self, encoded: str | None, outcome: UndoOutcome) -> Answer:
        if self._transaction.is_open:
            # An undo may run twice, but its record must not be lost. So its writes commit first.
            self._transaction.commit()
        elif self._transaction.is_rolled_back:
            raise RolledBack
        if self._claimed.outbox and self._is_undone_with_events(encoded, outcome):
            return END
        return self._report(encoded, outcome=outcome)

    def _is_undone_with_events(self, encoded: str | None, outcome: UndoOutcome) -> bool:
        """Record an undo together with the events that it publishes. False: its claim was taken away meanwhile."""
        outbox, transaction = self._claimed.outbox, StepTransaction(self._database)
        loop = self._engine.loop
        event = Completed(address=self._address, token=self._token, result=encoded, outcome=outcome)
        try:
            outbox.insert(transaction.connection)
            if loop.handle_in(self._instance_id, event, transaction.connection, transaction.commit) is None:
                return False
        except KeyInUse as error:
            # The undo is done; only what it would publish is lost, which is logged.
            self._delivery.log("events of a compensation not published", str(error))
            return False
        finally:
            transaction.rollback()
        loop.poke(*outbox.runs)
        return True

    def _commit(self) -> None:
        try:
            self._transaction.commit()
        except DBAPIError:
            # Unknown outcome: the own token shows whether it completed or was cleanly rolled back.
            if self._own_completion() is None:
                raise

    def _is_completed_in_transaction(self) -> bool:
        """Return whether this execution has completed: a soft limit between completion and commit leads here twice."""
        connection = self._transaction.connection
        return self._hot.completed_by(self._instance_id, self._plan, self._address, self._token, connection) is not None

    def _own_completion(self) -> Progress | None:
        """Return the progress if it already completed: the answer to a commit can be lost."""
        return self._hot.completed_by(self._instance_id, self._plan, self._address, self._token)

    def _not_recorded(self, error: SQLAlchemyError) -> Answer:
        # Any error that is not the driver's own means a lost connection.
        transient = not isinstance(error, DBAPIError) or is_outage(error) or is_conflict(error) or is_impatient(error)
        if self._transaction.was_used:
            # The body's writes there are rolled back, but it may have acted elsewhere too: never clean.
            self._transaction.rollback()
            verdict = Verdict.RETRYABLE if transient else Verdict.UNUSABLE
            return self._raised(error, Judgement(self._delivery.describe(error, self._step.name), verdict))
        if not transient:
            # The body is done and its record is refused: it never runs again for this, and is not forgotten.
            return self._unusable(error)
        # The database is away for longer than our patience: the sweep will find the claim dead and run it again.
        raise error

    def _unusable(self, error: BaseException) -> Answer:
        return self._raised(error, Judgement(self._delivery.describe(error, self._step.name), Verdict.UNUSABLE))

    # -- what follows a completion

    def _go_on(self, progress: Progress) -> Answer:
        """Send what Celery's chain does not. The last message of a window asks for the next window.

        Messages that others wait for are sent before a further step begins here.
        """
        following = progress.following if progress.status.is_forward else None
        born = [Address(head.position, head.branch) for head in following.heads] if following else []
        heads = [head for head in born if head.branch not in progress.in_line]
        carried = self._delivery.tail if self._delivery.tail in heads else None
        here = None
        if self._delivery.continuation is not None and not progress.needs_a_look:
            here = self._delivery.continuation.take(self._instance_id, self._plan, self._address, heads)
        for head in heads:
            if head not in (carried, here):
                self._engine.loop.send_window(self._instance_id, self._plan, window_from(self._plan, None, head))
        if progress.needs_a_look:
            self._engine.loop.handle(self._instance_id, Tick())
        elif progress.status is SagaStatus.COMPLETED:
            self._ended(progress)
        if carried is None:
            return END
        next_step = self._plan.step(carried.position, carried.branch)
        return Answer(goes_on=True, limits=self._engine.messages.limits_of(next_step, carried.round))

    def _ended(self, progress: Progress) -> None:
        self._engine.loop.announce_status(self._instance_id, self._plan.saga, progress.status)
        if self._plan.is_limited:
            self._engine.loop.release(self._instance_id)
        if progress.parent is not None:
            self._engine.loop.poke(progress.parent)

    def _report(self, encoded: str | None, **what: Any) -> Answer:
        """Report an end through the loop: of a compensation, or of an action whose claim or whose key is taken."""
        return self._tell(Completed(address=self._address, token=self._token, result=encoded, **what))

    def _tell(self, event: Completed) -> Answer:
        # Raising ends the chain, so the next message must be sent explicitly.
        carries = None if event.outcome is UndoOutcome.MANUAL else self._delivery.tail
        outcome = self._engine.loop.handle(self._instance_id, event, carries=carries)
        if outcome is None:
            return END
        state, limits = outcome.decision.state, None
        if outcome.carried and carries is not None and (following := state.at(carries)):
            next_step = outcome.plan.step(carries.position, carries.branch)
            limits = following.evidence.limits or self._engine.messages.limits_of(next_step, carries.round)
        return answer_to_report(state.at(self._address), self._token, carried=outcome.carried, limits=limits)

    # -- a body that raised, or cannot be called

    def _raised(self, error: BaseException, judgement: Judgement) -> Answer:
        """Record the failure, by token, before it is raised; then the error callback only has to ask what follows."""
        sentence = self._engine.sentences.on(self._delivery.id)
        judgement = judgement if sentence is None else sentence.upon(judgement)
        # Only a process ends by an interruption. A thread would die unseen, and its message never be acknowledged.
        in_main_thread = threading.current_thread() is threading.main_thread()
        ends_process = isinstance(error, SystemExit | KeyboardInterrupt) and in_main_thread
        event = Failed(
            address=self._address,
            token=self._token,
            error=judgement.error,
            verdict=judgement.verdict,
            dice=random.random(),
            retry_after=judgement.retry_after,
            asked=asked_by(error),
            unheard=ends_process,
        )
        outcome = self._engine.loop.handle(self._instance_id, event)
        shown = shown_error(error, self._delivery.redact)
        if ends_process:
            return Answer(raises=shown)
        row = outcome.decision.state.at(self._address) if outcome else None
        if outcome is None or row is None or not outcome.decision.accepted:
            self._delivery.log("failure of an execution that lost its claim", str(judgement.error))
            return END
        return answer_to_failure(FailureTaken(shown, shown is error, judgement.is_answer, row))

    def _parked(self, error: SagaError, *, lacks_result: bool) -> Answer:
        """Park a step that cannot be called: a deploy, or a person, has to cure it; meanwhile it waits, visibly."""
        info = self._delivery.describe(error, self._step.name)
        event = Parked(address=self._address, token=self._token, error=info, lacks_result=lacks_result)
        event = replace(event, for_good=self._is_for_good(error))
        handled = self._engine.loop.handle(self._instance_id, event)
        if handled is not None:
            log_parked(handled.decision, handled.plan.saga, info)
        return END

    def _is_for_good(self, error: SagaError) -> bool:
        """Return whether no deploy is to be expected that would let it be called."""
        return is_for_good(self._engine, self._plan, error)
