"""Read one instance, and wait for it. Every read is fresh."""

import time
from collections.abc import Iterator
from typing import Any, Self
from uuid import UUID

from sqlalchemy import Row

from sagas.engine import Engine, current_step
from sagas.errors import InstanceNotFound, WaitRefused, WaitTimeout
from sagas.handle.pace import Pace
from sagas.handle.snapshot import Snapshot
from sagas.handle.views import HistoryEntry, StepView
from sagas.model import ErrorInfo, SagaStatus
from sagas.model.choreography.as_plan import RunPlan
from sagas.store import legible


class Reading:
    """One instance, to be read and waited for."""

    def __init__(self, engine: Engine, instance_id: UUID) -> None:
        store = engine.store
        self._engine, self._schema = engine, store.schema
        self._instances, self._kinship = store.instances, store.kinship
        self._locks, self._handlers = store.locks, store.handlers
        self.id = instance_id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reading) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __deepcopy__(self, memo: object) -> Self:
        # Django copies what a test class sets up for each of its tests.
        return self

    # -- reading

    @property
    def saga(self) -> str:
        """The saga's name."""
        return str(self._row().saga)

    @property
    def version(self) -> int:
        """The version that the instance was started with."""
        return int(self._row().version)

    @property
    def key(self) -> str | None:
        """The business key that the instance was started with."""
        key = self._row().key
        return None if key is None else str(key)

    @property
    def status(self) -> SagaStatus:
        """The current status."""
        return self.snapshot().status

    @property
    def data(self) -> dict[str, Any]:
        """The input, plus the results of the steps completed so far.

        This is the only place with the secrets (see `Sagas`): everywhere else they read ``•••``.

        Raises:
            SecretUnreadable: no key in this process decrypts one of them.
        """
        return self.snapshot().data

    @property
    def error(self) -> ErrorInfo | None:
        """Why it turned back or failed: the first error that decided it; None while it goes forward."""
        return self.snapshot().error

    @property
    def steps(self) -> list[StepView]:
        """Every step of its plan, in order, including those that never ran."""
        return self.snapshot().steps

    def history(self) -> list[HistoryEntry]:
        """Return everything that happened, oldest first: from the rows and from the append-only events."""
        return self.snapshot(history=True).history

    def timeline(self, *, related: bool = False) -> str:
        """Return the instance as text for people: its identity, the status of each step, and what happened when.

        Args:
            related: show all that belong to it (see `related`), the oldest first.
        """
        shown = self.related() if related else [self]
        return "\n\n".join(one.snapshot(history=True).timeline() for one in shown)

    @property
    def correlation_id(self) -> UUID:
        """The id shared by everything that belongs together: that of the instance which a caller started.

        An instance that a step or an event began has the correlation id of that step's saga, or of that event's run, as
        a child saga has that of its parent.
        """
        with self._engine.reachable():
            found = self._kinship.correlation_of(self.id)
        if found is None:
            raise self._not_found()
        return found

    def related(self) -> list[Self]:
        """Return the handles of all instances with its correlation id, including this one, the oldest first."""
        correlation = self.correlation_id
        with self._engine.reachable():
            found = self._kinship.correlated(correlation)
        return [type(self)(self._engine, one) for one in found]

    def snapshot(self, *, history: bool = False) -> Snapshot:
        """Read everything in one consistent look.

        Args:
            history: read the append-only events too, which only `Snapshot.history` and `timeline` need.

        Raises:
            InstanceNotFound: it was rolled back or purged, or is not committed yet.
            RowDamaged: its rows cannot be read; the snapshot's properties may raise it too.
        """
        with self._engine.reachable():
            found = self._instances.look(self.id, events=history)
        if found is None:
            raise self._not_found()
        row, steps, events = found
        with legible(self.id):
            plan = self._instances.plan(row.plan_hash, row.plan)
            locks = self._locks.of(self.id) if plan.is_limited else ()
            has_children = plan.has_children and row.finished_at is None
            below = self._kinship.failed_below(self.id) if has_children else {}
            is_open = isinstance(plan, RunPlan) and row.finished_at is None
            paused = self._handlers.paused(row.saga) if is_open else ()
            until = {handler.handler: handler.paused_until for handler in paused}
            return Snapshot(row, plan, steps, events, self._engine.secrecy, locks, below, until)

    def progress(self) -> dict[str, Any]:
        """Return its progress, ready for JSON, for a page that a customer watches: no data, no results, no errors.

        Returns:
            ``id``, ``saga``, ``key``, ``status``, ``ended``, ``started_at``, ``finished_at``, and ``steps``, each with
            its ``name`` and ``status``.
        """
        return self.snapshot().progress()

    # -- waiting

    def wait(self, timeout: float | None = None, *, disable_sync_subtasks: bool = True) -> SagaStatus:
        """Block until it ends: `completed`, `compensated`, or `failed` (a person must look).

        Args:
            timeout: seconds; None waits without limit.
            disable_sync_subtasks: False waits even inside a step, as with Celery's ``result.get()``.

        Raises:
            WaitTimeout: it had not ended in time. The saga itself goes on.
            WaitRefused: it was called in a step, which would hold its worker while it waits for others.
        """
        if disable_sync_subtasks:
            refuse_in_step("wait")
        pace = Pace.of_wait(timeout)
        while not (status := SagaStatus(self._row().status)).is_final:
            if (pause := pace.next()) is None:
                raise WaitTimeout(f"saga {self.id} is still {status.value} after {timeout:g} s; it goes on without you")
            time.sleep(pause)
        return status

    def watch(
        self, timeout: float | None = None, *, every: float = 0.5, disable_sync_subtasks: bool = True
    ) -> Iterator[dict[str, Any]]:
        """Yield its `progress()` now and at each change, until it ends or the time is over.

        Args:
            timeout: seconds; None watches until the end.
            every: seconds between two looks.
            disable_sync_subtasks: False watches even inside a step.

        Raises:
            WaitRefused: it was called in a step, which would hold its worker while it waits for others.
        """
        if disable_sync_subtasks:
            refuse_in_step("watch")
        pace = Pace(timeout, every)
        last: dict[str, Any] = {}
        while True:
            seen = self.snapshot()
            if seen.progress() != last:
                yield seen.progress()  # a copy: what the caller adds to it is not a change
            last = seen.progress()
            if last["ended"] or (pause := pace.next()) is None:
                return
            time.sleep(pause)

    def _row(self) -> Row[Any]:
        with self._engine.reachable():
            row = self._instances.read(self.id)
        if row is None:
            raise self._not_found()
        return row

    def _not_found(self) -> InstanceNotFound:
        return InstanceNotFound(
            f"no saga instance {self.id} in schema {self._schema!r}: it was rolled back, purged or is not committed yet"
        )


def refuse_in_step(verb: str) -> None:
    """Raise WaitRefused inside a step: workers that wait for one another leave none that works."""
    if current_step:
        raise WaitRefused(
            f"{verb}() inside the step {current_step.name!r} would hold its worker while it waits for others: make the "
            f"other saga a Child(…) step, or allow it with {verb}(…, disable_sync_subtasks=False)"
        )
