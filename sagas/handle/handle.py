"""A handle on one instance: read it, watch it, wait for it, stop it, let it go on. Every read is fresh."""

import time
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row
from sqlalchemy.orm import Session, scoped_session

from sagas.engine import Engine, joined
from sagas.errors import InstanceNotFound, PayloadError, TransitionRefused, WaitTimeout
from sagas.handle.views import HistoryEntry, Snapshot, StepView
from sagas.model import (
    FINAL,
    ErrorInfo,
    Event,
    Mail,
    MailKind,
    RetryRequested,
    SagaStatus,
    SkipRequested,
    Stop,
    StopKind,
    StopRequested,
)
from sagas.model.payload import is_storable, shown
from sagas.store import CallersTransaction, legible

#: Of a signal, its key, and of whoever asks: an index holds them.
LONGEST_NAME = 512
LONGEST_REASON = 4000


class SagaHandle:
    """A handle on one instance, returned by ``Saga.start``, ``Sagas.get`` and ``Sagas.find``.

    It holds the id alone; every property asks the database. Whoever wants several of them takes a `snapshot()`.
    """

    def __init__(self, engine: Engine, instance_id: UUID) -> None:
        self._engine = engine
        self.id = instance_id

    def __repr__(self) -> str:
        return f"<SagaHandle {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SagaHandle) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __deepcopy__(self, memo: object) -> "SagaHandle":
        # Django copies what a test class has set up for each of its tests.
        return self

    # -- reading

    @property
    def saga(self) -> str:
        """The saga's name."""
        return str(self._row().saga)

    @property
    def version(self) -> int:
        """The version that it was started with."""
        return int(self._row().version)

    @property
    def key(self) -> str | None:
        """The business key that it was started with."""
        key = self._row().key
        return None if key is None else str(key)

    @property
    def status(self) -> SagaStatus:
        """Where it stands now."""
        return self.snapshot().status

    @property
    def data(self) -> dict[str, Any]:
        """The input, plus what the completed steps returned so far.

        The only place that has the secrets (see `Sagas`): everywhere else they read ``•••``.

        Raises:
            SecretUnreadable: no key here opens one of them.
        """
        return self.snapshot().data

    @property
    def error(self) -> ErrorInfo | None:
        """Why it turned back or failed: the first error that decided it; None while it goes forward."""
        return self.snapshot().error

    @property
    def steps(self) -> list[StepView]:
        """Every step of its plan, in order, also those that never ran."""
        return self.snapshot().steps

    def history(self) -> list[HistoryEntry]:
        """Everything that happened, the oldest first: from the rows, and from the append-only events."""
        return self.snapshot(history=True).history

    def timeline(self) -> str:
        """The instance as text for people: what it is, how each step stands, what happened when."""
        return self.snapshot(history=True).timeline()

    def snapshot(self, *, history: bool = False) -> Snapshot:
        """All of it as one look finds it.

        Args:
            history: read the append-only events too, which only `Snapshot.history` and `timeline` need.

        Raises:
            InstanceNotFound: rolled back, purged, or not committed yet.
            RowDamaged: its rows cannot be read; so for what is read off it.
        """
        instances = self._engine.store.instances
        found = instances.look(self.id, events=history)
        if found is None:
            raise self._not_found()
        row, steps, events = found
        with legible(self.id):
            plan = instances.plan(row.plan_hash, row.plan)
            locks = self._engine.store.locks.of(self.id) if plan.is_limited else ()
            return Snapshot(row, plan, steps, events, self._engine.secrecy, locks)

    def progress(self) -> dict[str, Any]:
        """How far it is, ready for JSON, for the page of whoever waits: no data, no results, no errors.

        Returns:
            ``id``, ``saga``, ``key``, ``status``, ``ended``, ``started_at``, ``finished_at``, and ``steps``, each with
            its ``name`` and ``status``.
        """
        return self.snapshot().progress()

    # -- waiting

    def wait(self, timeout: float | None = None) -> SagaStatus:
        """Block until it ends: `completed`, `compensated`, or `failed` (a person must look).

        Args:
            timeout: seconds; None waits for ever.

        Raises:
            WaitTimeout: it had not ended by then. The saga itself goes on.
        """
        gives_up_at = None if timeout is None else time.monotonic() + timeout
        pause = 0.02
        while True:
            status = SagaStatus(self._row().status)
            if status in FINAL:
                return status
            if gives_up_at is not None and time.monotonic() + pause > gives_up_at:
                raise WaitTimeout(f"saga {self.id} is still {status.value} after {timeout:g} s; it goes on without you")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)

    def watch(self, timeout: float | None = None, *, every: float = 0.5) -> Iterator[dict[str, Any]]:
        """Yield its `progress()` now and whenever that has changed, until it ends or the time is over.

        Args:
            timeout: seconds; None watches until the end.
            every: seconds between two looks.
        """
        gives_up_at = None if timeout is None else time.monotonic() + timeout
        last: dict[str, Any] = {}
        while True:
            seen = self.snapshot()
            if seen.progress() != last:
                yield seen.progress()  # one of its own: what the caller adds to it is no change
            last = seen.progress()
            left = every if gives_up_at is None else gives_up_at - time.monotonic()
            if last["ended"] or left <= 0:
                return
            time.sleep(min(every, left))

    # -- acting

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
        """Tell it what a `WaitFor` step waits for, or will wait for: a signal that comes first is kept.

        Args:
            name: of the signal.
            payload: merged into the saga's data when a step has taken it.
            key: what tells it apart: a second one of this name with the same key does nothing. Without a key each call
                is a signal of its own.
            session, connection: send it in this transaction, as with `Saga.start`; it is heard after the commit.

        Returns:
            False when this very signal had been sent before.

        Raises:
            TransitionRefused: it has ended, or is being undone, or no step of it waits for this signal.
            SignalInProgress: another open transaction is sending the same one.
            PayloadError: the payload cannot be stored; names the key.
        """
        name = _text(name, "signal(): the name", LONGEST_NAME)
        key = None if key is None else _text(key, "signal(): the key", LONGEST_NAME)
        what = f"payload of the signal {name}"
        encoded = None if payload is None else self._engine.secrecy.dumps(payload, what)
        seen = self.snapshot()
        if not seen.status.is_forward:
            raise TransitionRefused(
                f"saga {self.id} is {seen.status.value} and takes no signals: only a running one does"
            )
        known = sorted({step.signal for step in seen.plan.steps if step.signal is not None})
        if name not in known:
            raise TransitionRefused(
                f"saga {self.id} waits for no signal {name!r:.80}: its plan has only {', '.join(known) or 'none'}"
            )
        mail = Mail(kind=MailKind.SIGNAL, name=name, payload=encoded, by=_by(by))
        return self._engine.post(self.id, mail, key, joined(session, connection))

    def cancel(
        self,
        reason: str,
        *,
        session: "Session | scoped_session[Any] | None" = None,
        connection: "Connection | CallersTransaction | None" = None,
        by: str = "application",
    ) -> None:
        """Stop forward work, then undo what was done or is in doubt.

        While the pivot runs the wish is only recorded, and counts if the pivot says a clean no.

        Args:
            session, connection: ask for it in this transaction, as with `Saga.start`; it is heard after the commit,
                and has no effect if it comes too late then.

        Raises:
            TransitionRefused: it is past its pivot, completed, or failed.
        """
        transaction = joined(session, connection)
        if transaction is not None:
            self._engine.post(
                self.id, Mail(kind=MailKind.CANCEL, name=_reason(reason, "cancel"), by=_by(by)), None, transaction
            )
            return
        stop = Stop(kind=StopKind.CANCELLED, reason=_reason(reason, "cancel"))
        self._apply(
            StopRequested(stop=stop, by=_by(by)),
            "cannot be cancelled: only a saga that is pending or running and not past its pivot can",
        )

    def retry(self, reason: str, *, by: str = "operator") -> None:
        """Let a `failed` instance go on: only what is missing runs again, with fresh budgets.

        Raises:
            TransitionRefused: it is not `failed`.
        """
        self._apply(
            RetryRequested(reason=_reason(reason, "retry"), by=_by(by)),
            "cannot be retried: only a failed saga can",
        )

    def skip(
        self, reason: str, *, step: str | None = None, result: Mapping[str, Any] | None = None, by: str = "operator"
    ) -> None:
        """Let a `failed` instance go on past what it is stuck at: a person vouches for it, it is not run again.

        A step past which it could not go counts as done; a compensation that would not succeed counts as resolved.

        Args:
            step: which one; may be left out where there is only one.
            result: what the step would have returned, if later steps need it. A compensation has none.

        Raises:
            TransitionRefused: it is not `failed`, or it is not stuck at this step, or at several.
            PayloadError: the result cannot be stored; names the key.
        """
        encoded = None if result is None else self._engine.secrecy.dumps(result, "result")
        self._apply(
            SkipRequested(reason=_reason(reason, "skip"), step=step, result=encoded, by=_by(by)),
            f"cannot skip {step or 'its step'}: only a failed saga can, and only the step or compensation that failed "
            "for good; name it where there are several, and give a result only for a step",
        )

    def resolve(self, reason: str, *, step: str | None = None, by: str = "operator") -> None:
        """Let a `failed` instance go on past a compensation that would not succeed: a person has undone it by hand.

        Args:
            step: whose compensation; may be left out where only one failed.

        Raises:
            TransitionRefused: it is not `failed`, or not for a compensation of this step, or for several.
        """
        self._apply(
            SkipRequested(reason=_reason(reason, "resolve"), step=step, undone=True, by=_by(by)),
            f"the compensation of {step or 'its step'} cannot be resolved: only a failed one of a failed saga can; "
            "name the step where there are several",
        )

    def _apply(self, event: Event, refusal: str) -> None:
        outcome = self._engine.loop.handle(self.id, event, patience=0, brief=True)
        if outcome is None:
            raise self._not_found()
        if not outcome.decision.accepted:
            raise TransitionRefused(f"saga {self.id} is {outcome.decision.state.status.value} and {refusal}")

    def _row(self) -> Row[Any]:
        row = self._engine.store.instances.read(self.id)
        if row is None:
            raise self._not_found()
        return row

    def _not_found(self) -> InstanceNotFound:
        return InstanceNotFound(
            f"no saga instance {self.id} in schema {self._engine.store.schema!r}: it was rolled back, purged or is not "
            "committed yet"
        )


def _reason(reason: str, verb: str) -> str:
    if not isinstance(reason, str) or not reason.strip():
        raise PayloadError(f"{verb}() needs a reason: it is kept in the history for whoever asks why")
    return _text(reason.strip(), f"{verb}(): the reason", LONGEST_REASON)


def _by(by: str) -> str:
    return _text(by, "by=", LONGEST_NAME)


def _text(text: str, what: str, longest: int) -> str:
    if not isinstance(text, str) or not 1 <= len(text) <= longest or not is_storable(text):
        raise PayloadError(f"{what} must be text without NUL of 1 to {longest} characters, not {shown(text)}")
    return text
