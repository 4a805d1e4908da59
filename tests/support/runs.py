"""Choreographed runs on a bench: published, looked at, claimed and completed by statements, without Celery."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Row, text

from sagas.engine.loop import decided
from sagas.handle.letter_pages import after_events
from sagas.model import Address, ExecutionStatus, Failed, Tick, Verdict
from sagas.model.choreography import ChoreographyPlan
from sagas.model.choreography.as_plan import RunPlan
from sagas.model.choreography.events import DeliveryRequested, Handled, LetterSkipped, ReplayRequested, RunEvent
from sagas.model.choreography.state import Delivery, Published, RunDecision, RunState
from sagas.model.choreography.usual import usual_end
from sagas.store import NewRun, Reached, Store, run_id_of, uuid7
from sagas.store.runs import IntendedRun
from tests.support.bench import PLACED
from tests.unit.model.story import error


def event(type_: str, **fields: Any) -> Published:
    return Published(**{"id": uuid4(), "type": type_, "payload": "{}"} | fields)


@dataclass
class RunBench:
    """What the engine does with runs, by its store alone."""

    store: Store
    plans: dict[UUID, ChoreographyPlan] = field(default_factory=dict)

    def start(self, plan: ChoreographyPlan, *, key: str | None = None, looks: bool = True, **fields: Any) -> UUID:
        self.store.instances.remember(RunPlan.of(plan))
        run_id = uuid7() if key is None else run_id_of(plan.name, key)
        with self.store.database.autocommit() as connection:
            new = NewRun(id=run_id, plan=plan, key=key, event=event(plan.starts, **fields))
            if looks:  # as the engine does; without a look, as a step does that starts a run
                self.store.runs.begin(connection.scalar, new, PLACED)
            else:
                self.store.runs.start(connection.scalar, new)
        self.plans[run_id] = plan
        if looks:
            self.look(run_id)
        return run_id

    def publish(
        self,
        run_id: UUID,
        type_: str,
        *,
        key: str | None = None,
        intended: IntendedRun | None = None,
        looks: bool = True,
        **fields: Any,
    ) -> Any:
        with self.store.database.autocommit() as connection:
            said = self.store.runs.publish(connection.scalar, run_id, event(type_, **fields), key, intended=intended)
        if looks:
            self.look(run_id)
        return said

    def look(self, run_id: UUID) -> RunDecision | None:
        return self.happens(run_id, Tick())

    def happens(self, run_id: UUID, what: RunEvent) -> RunDecision | None:
        """Run the loop's transaction, without the messages that follow it. None: there is no such run."""

        def work() -> RunDecision | None:
            with self.store.instances.transaction() as connection:
                about = getattr(what, "address", None)
                late = what.number if isinstance(what, DeliveryRequested) else None
                loaded = self.store.instances.lock(connection, run_id, about=about, late=late)
                if loaded is None:
                    return None
                loaded, decision = decided(loaded, what, self.store.timing)  # type: ignore[arg-type]
                self.store.instances.save(connection, loaded, decision, PLACED)
                assert isinstance(decision, RunDecision)
                return decision

        return self.store.database.retrying(work)

    def claim(self, run_id: UUID, address: Address, task: str, token: UUID | None = None) -> UUID | None:
        token = token or uuid4()
        claim = self.store.hot.claim(
            run_id,
            address,
            task=task,
            token=token,
            worker_id=None,
            delivery=None,
            known_plans=self.store.instances.known_plans,
            is_delivery=True,
        )
        return token if claim else None

    def ends(self, run_id: UUID, address: Address, token: UUID, *types: str) -> Reached | RunDecision | None:
        """Complete a delivery as a worker does: by one statement, or if that does nothing by the loop."""
        handled = self.handled(address, token, *types)
        return self.reaches(run_id, handled) or self.happens(run_id, handled)

    def handled(self, address: Address, token: UUID, *types: str) -> Handled:
        published = tuple(event(type_, cause=address.position, depth=1) for type_ in types)
        return Handled(address=address, token=token, published=published)

    def reaches(self, run_id: UUID, handled: Handled) -> Reached | None:
        """Complete a delivery by the one statement. None: nothing was done."""
        plan = self.plans[run_id]
        usual = usual_end(plan, handled)
        return usual and self.store.deliveries.complete(run_id, plan, handled, usual, PLACED)

    def fails(self, run_id: UUID, address: Address, token: UUID, verdict: Verdict = Verdict.CLEAN_NO) -> Any:
        return self.happens(run_id, Failed(address=address, token=token, error=error(), verdict=verdict))

    def late(self, run_id: UUID) -> list[Row[Any]]:
        """The late events of a run that no person has answered."""
        asked = {"run": run_id, **after_events(None)}
        return [row for row in self.store.letters.undelivered(limit=100, **asked) if row.letter == "late"]

    def delivers(self, run_id: UUID, letter: Row[Any], handler: str) -> RunDecision:
        """Have a late event delivered, as a person does."""
        wish = DeliveryRequested(number=letter.number, handler=handler, seen=letter.dead_at, reason="money came late")
        said = self.happens(run_id, wish)
        assert said is not None
        return said

    def works(self, run_id: UUID, plan: ChoreographyPlan, publishes: Callable[[Address], tuple[str, ...]]) -> bool:
        """Claim and complete one delivery, if there is one."""
        for row in self.state(run_id).steps:
            task = plan.step(row.address.position, row.address.branch).task_for(row.address.round)
            if row.status is ExecutionStatus.PENDING and task and (token := self.claim(run_id, row.address, task)):
                self.ends(run_id, row.address, token, *publishes(row.address))
                return True
        return False

    def answers(self, run_id: UUID, dice: random.Random) -> bool:
        """Answer one dead letter as an operator who replays, mostly."""
        letters = [row for row in self.state(run_id).steps if isinstance(row, Delivery) and row.dead_at]
        if not letters:
            return False
        row = dice.choice(letters)
        seen = row.dead_at
        assert isinstance(seen, datetime)
        wish = LetterSkipped if dice.random() < 0.2 else ReplayRequested
        self.happens(run_id, wish(address=row.address, seen=seen, reason="mended"))
        return True

    def pending(self, run_id: UUID) -> list[Address]:
        """The deliveries that could be claimed, by a plain look that locks nothing and decides nothing."""
        return self._addresses(run_id, "status = 'pending'")

    def has_dead_letters(self, run_id: UUID) -> bool:
        return bool(self._addresses(run_id, "dead_at IS NOT NULL"))

    def _addresses(self, run_id: UUID, condition: str) -> list[Address]:
        wanted = text(
            f'SELECT position, branch, round FROM "{self.store.schema}".saga_step '
            f"WHERE instance_id = :id AND {condition}"
        )
        with self.store.database.autocommit() as connection:
            return [Address(*row) for row in connection.execute(wanted, {"id": run_id})]

    def state(self, run_id: UUID) -> RunState:
        with self.store.instances.transaction() as connection:
            loaded = self.store.instances.lock(connection, run_id)
            assert loaded is not None
            state = loaded.whole().state
            assert isinstance(state, RunState)
            return state
