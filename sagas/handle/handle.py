"""A handle on one instance: read it, watch it, wait for it, stop it, let it go on."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from sagas.engine import callers_transaction
from sagas.errors import PayloadError, TransitionRefused
from sagas.handle.reading import Reading
from sagas.handle.words import LONGEST_NAME, LONGEST_REASON, checked_text
from sagas.model import (
    DoubtResolved,
    Event,
    InstanceState,
    Mail,
    MailKind,
    Plan,
    RetryRequested,
    SagaStatus,
    SkipRequested,
    Stop,
    StopKind,
    StopRequested,
    waits_for_a_person,
)
from sagas.model.choreography.as_plan import RunPlan
from sagas.store import CallersTransaction

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, scoped_session


class SagaHandle(Reading):
    """A handle on one instance, returned by ``Saga.start``, ``Sagas.get`` and ``Sagas.find``.

    It holds the id alone; every property queries the database. To read several of them, take a `snapshot()`.
    """

    def signal(
        self,
        name: str,
        payload: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        session: "Session | scoped_session[Any] | None" = None,
        connection: "Connection | CallersTransaction | None" = None,
        by: str = "application",
    ) -> bool:
        """Send a signal that a `WaitFor` step waits for, or will wait for: a signal that comes early is kept.

        Args:
            name: the signal's name.
            payload: merged into the saga's data once a step has taken it.
            key: identifies this signal: a second one with the same name and key does nothing. Without a key each call
                sends a signal of its own.
            session, connection: send it in this transaction, as with `Saga.start`; it takes effect after the commit,
                and the history notes if that is too late.

        Returns:
            False if this very signal had been sent before.

        Raises:
            TransitionRefused: the saga has ended, or is being undone, or no step of it waits for this signal (any
                more). It may have ended just now: a call outside a transaction reports its status when the signal came.
            SignalInProgress: the same signal is being sent in another open transaction.
            PayloadError: the payload cannot be stored; the message names the key.
        """
        name = checked_text(name, "signal(): the name", LONGEST_NAME)
        key = None if key is None else checked_text(key, "signal(): the key", LONGEST_NAME)
        what = f"payload of the signal {name}"
        encoded = None if payload is None else self._engine.secrecy.dumps(payload, what)
        seen = self.snapshot()
        if isinstance(seen.plan, RunPlan):
            raise TransitionRefused(f"run {self.id} of {seen.saga} takes no signals: publish an event into it")
        known = sorted({step.signal for step in seen.plan.steps if step.signal is not None})
        takes_none = f"saga {self.id} is {{}} and takes no signals: only a running one does"
        if name not in known and not seen.status.is_forward:
            raise TransitionRefused(takes_none.format(seen.status.value))
        if name not in known:
            raise TransitionRefused(
                f"saga {self.id} does not wait for signal {name!r:.80}: its plan has only {', '.join(known) or 'none'}"
            )
        mail = Mail(kind=MailKind.SIGNAL, name=name, payload=encoded, by=_by(by))
        is_forward = seen.status.is_forward
        is_new = self._engine.signal(
            self.id, mail, key, callers_transaction(session, connection), is_forward=is_forward
        )
        if is_new is not None:
            return is_new
        status = self.status
        if status.is_forward:
            raise TransitionRefused(f"saga {self.id} no longer waits for signal {name!r:.80}")
        raise TransitionRefused(takes_none.format(status.value))

    def cancel(
        self,
        reason: str,
        *,
        session: "Session | scoped_session[Any] | None" = None,
        connection: "Connection | CallersTransaction | None" = None,
        by: str = "application",
    ) -> None:
        """Stop forward work, then undo everything that was done or is in doubt.

        While the pivot runs the request is only recorded, and counts if the pivot fails with nothing done.

        Args:
            session, connection: request it in this transaction, as with `Saga.start`; it takes effect after the commit,
                and has none if that is too late.

        Raises:
            TransitionRefused: the saga is past its pivot, completed, or failed (other than with a step that cannot be
                called).
        """
        transaction = callers_transaction(session, connection)
        if transaction is not None:
            self._engine.post(
                self.id, Mail(kind=MailKind.CANCEL, name=_reason(reason, "cancel"), by=_by(by)), None, transaction
            )
            return
        stop = Stop(kind=StopKind.CANCELLED, reason=_reason(reason, "cancel"))
        self._apply(
            StopRequested(stop=stop, by=_by(by)),
            "cannot be cancelled: only a saga that is pending or running and not past its pivot can, and one that "
            "waits there because a step cannot be called",
        )

    def retry(self, reason: str, *, by: str = "operator") -> None:
        """Let a `failed` instance go on: only what is missing runs again, with fresh limits.

        Raises:
            TransitionRefused: the instance is not `failed`.
        """
        self._apply(
            RetryRequested(reason=_reason(reason, "retry"), by=_by(by)),
            "cannot be retried: only a failed saga can",
        )

    def skip(self, reason: str, *, step: str | None = None, result: Any = None, by: str = "operator") -> None:
        """Let a `failed` instance go on past the point where it is stuck: a person vouches for it; it is not run again.

        A step that it could not pass counts as done; a compensation that failed counts as resolved.

        Args:
            step: the step's name; may be left out if there is only one.
            result: the step's return value, if later steps need it. A compensation has none.

        Raises:
            TransitionRefused: it is not `failed`, or is not stuck at this step, or is stuck at several.
            PayloadError: the result cannot be stored; the message names the key.
        """
        self._apply(
            SkipRequested(
                reason=_reason(reason, "skip"), step=step, result=self._encoded_result(step, result), by=_by(by)
            ),
            f"cannot skip {step or 'its step'}: only a failed saga can, and only the step or compensation that failed "
            "for good; name it if there are several, and give a result only for a step",
        )

    def resolve(
        self,
        reason: str,
        *,
        step: str | None = None,
        happened: bool | None = None,
        result: Any = None,
        undo: bool = True,
        by: str = "operator",
    ) -> None:
        """Let a `failed` instance go on with what a person found out or did by hand.

        An action in doubt has three answers: ``happened=True``, ``happened=False``, and `retry`. If it happened, a
            pivot or a later step counts as done and the saga goes forward; if the saga has turned back, its
            compensation runs now, with the ``result``. If it did not happen, the doubt is cleared, and the saga turns
            back, even from a pivot. Without ``happened``, a compensation that failed was done by hand.

        Args:
            reason: kept in the history.
            step: the step's name; may be left out if there is only one.
            happened: the answer about an action in doubt.
            result: the action's return value: for its compensation, or for later steps.
            undo: False says that what happened has also been undone by hand.
            by: the name of the operator.

        Raises:
            TransitionRefused: it is not `failed`, or does not wait for this answer, or waits for several.
            PayloadError: the result cannot be stored, or comes without ``happened=True``; the message names the key.

        Example:
            ``run.resolve("seen in the bank's console", step="charge", happened=True, result={"charge_id": "ch_1"})``
        """
        reason = _reason(reason, "resolve")
        if result is not None and not happened:
            raise PayloadError("resolve(result=…) is what an action returned: say happened=True with it")
        if happened is None:
            self._apply(
                SkipRequested(reason=reason, step=step, undone=True, by=_by(by)),
                f"the compensation of {step or 'its step'} cannot be resolved: only a failed one of a failed saga can; "
                "name the step if there are several, and for an action in doubt say whether it happened "
                "(happened=True or False; --happened or --not-happened)",
            )
            return
        encoded = self._encoded_result(step, result)
        self._apply(
            DoubtResolved(happened=happened, reason=reason, step=step, result=encoded, undo=undo, by=_by(by)),
            f"does not wait for an answer about {step or 'its step'}: only an action in doubt, of a failed saga, has "
            "one; name the step if there are several. A step past the pivot that did not happen is retried, and "
            "one without a compensation cannot be undone: say that it is (undo=False; --undone)",
        )

    def _encoded_result(self, step: str | None, result: Any) -> str | None:
        """Encode a result that a person gives, as if the step had returned it."""
        if result is None:
            return None
        return self._engine.secrecy.dumps(result, "result", under=self.snapshot().output_of(step))

    def _apply(self, event: Event, refusal: str) -> None:
        outcome = self._engine.loop.handle(self.id, event, patience=0, wait_for_broker=False)
        if outcome is None:
            raise self._not_found()
        if not outcome.decision.accepted:
            state = outcome.decision.state
            if isinstance(outcome.plan, RunPlan):
                raise TransitionRefused(f"run {self.id} is {state.status.value} and {_why_not(event)}")
            places = _waits_at(outcome.plan, state)
            raise TransitionRefused(f"saga {self.id} is {state.status.value} and {refusal}{places}")


def _why_not(event: Event) -> str:
    """Return why a choreographed run refuses what a person asks, and the cure."""
    if isinstance(event, StopRequested):
        return "cannot be cancelled: it has ended. To take back what it did, start another run"
    return "is not answered step by step: replay, edit or skip its dead letters (`sagas dead list`)"


def _waits_at(plan: Plan, state: InstanceState) -> str:
    """Return what a refusal adds: the steps and compensations that a person may answer for."""
    if state.evidence.is_superseded and state.status is SagaStatus.FAILED:
        return ". But another saga was started with its key, and does the same: the rest of this one is done by hand"
    places = []
    for waiting in waits_for_a_person(plan, state):
        action = state.at(waiting.address.action)
        place = waiting.name if waiting.address.is_action else f"the compensation of {waiting.name}"
        places.append(place + (" (in doubt)" if action is not None and action.doubt else ""))
    return f". It waits for a person at {', '.join(places)}" if places else ""


def _reason(reason: str, verb: str) -> str:
    if not isinstance(reason, str) or not reason.strip():
        raise PayloadError(f"{verb}() needs a reason: it is kept in the history to say why")
    return checked_text(reason.strip(), f"{verb}(): the reason", LONGEST_REASON)


def _by(by: str) -> str:
    return checked_text(by, "by=", LONGEST_NAME)
