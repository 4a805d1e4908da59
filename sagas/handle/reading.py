"""What a handle reads of one instance, and how it waits for it. Every read is fresh."""

import time
from collections.abc import Iterator
from typing import Any, Self
from uuid import UUID

from sqlalchemy import Row

from sagas.engine import Engine, current_step
from sagas.errors import InstanceNotFound, WaitRefused, WaitTimeout
from sagas.handle.views import HistoryEntry, Snapshot, StepView
from sagas.model import FINAL, ErrorInfo, SagaStatus
from sagas.store import legible, reachable


class Reading:
    """One instance, to be looked at and waited for."""

    def __init__(self, engine: Engine, instance_id: UUID) -> None:
        self._engine = engine
        self.id = instance_id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reading) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __deepcopy__(self, memo: object) -> Self:
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
        with reachable(self._engine.store.database):
            found = instances.look(self.id, events=history)
        if found is None:
            raise self._not_found()
        row, steps, events = found
        with legible(self.id):
            plan = instances.plan(row.plan_hash, row.plan)
            locks = self._engine.store.locks.of(self.id) if plan.is_limited else ()
            has_children = plan.has_children and row.finished_at is None
            below = self._engine.store.kinship.failed_below(self.id) if has_children else {}
            return Snapshot(row, plan, steps, events, self._engine.secrecy, locks, below)

    def progress(self) -> dict[str, Any]:
        """How far it is, ready for JSON, for the page of whoever waits: no data, no results, no errors.

        Returns:
            ``id``, ``saga``, ``key``, ``status``, ``ended``, ``started_at``, ``finished_at``, and ``steps``, each with
            its ``name`` and ``status``.
        """
        return self.snapshot().progress()

    # -- waiting

    def wait(self, timeout: float | None = None, *, disable_sync_subtasks: bool = True) -> SagaStatus:
        """Block until it ends: `completed`, `compensated`, or `failed` (a person must look).

        Args:
            timeout: seconds; None waits for ever.
            disable_sync_subtasks: False waits inside a step, too, as with Celery's ``result.get()``.

        Raises:
            WaitTimeout: it had not ended by then. The saga itself goes on.
            WaitRefused: a step would hold its worker while it waits for other workers.
        """
        if disable_sync_subtasks:
            refuse_in_step("wait")
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

    def watch(
        self, timeout: float | None = None, *, every: float = 0.5, disable_sync_subtasks: bool = True
    ) -> Iterator[dict[str, Any]]:
        """Yield its `progress()` now and whenever that has changed, until it ends or the time is over.

        Args:
            timeout: seconds; None watches until the end.
            every: seconds between two looks.
            disable_sync_subtasks: False watches inside a step, too.

        Raises:
            WaitRefused: a step would hold its worker while it waits for other workers.
        """
        if disable_sync_subtasks:
            refuse_in_step("watch")
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

    def _row(self) -> Row[Any]:
        with reachable(self._engine.store.database):
            row = self._engine.store.instances.read(self.id)
        if row is None:
            raise self._not_found()
        return row

    def _not_found(self) -> InstanceNotFound:
        return InstanceNotFound(
            f"no saga instance {self.id} in schema {self._engine.store.schema!r}: it was rolled back, purged or is not "
            "committed yet"
        )


def refuse_in_step(verb: str) -> None:
    """Raises WaitRefused where a step runs: workers that wait for one another end in none that works."""
    if current_step:
        raise WaitRefused(
            f"{verb}() inside the step {current_step.name!r} would hold its worker while it waits for others: make the "
            f"other saga a Child(…) step, or allow it with {verb}(…, disable_sync_subtasks=False)"
        )
