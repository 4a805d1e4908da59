"""A choreography's graph as a plan, for what needs no more of a plan than the step at an address."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from sagas.model.choreography.plan import ChoreographyPlan
from sagas.model.plan import Plan, PlanStep


@dataclass(frozen=True, kw_only=True)
class RunPlan(Plan):
    """The plan of a run: events give birth to deliveries, so no step follows another one."""

    graph: ChoreographyPlan

    @classmethod
    def of(cls, graph: ChoreographyPlan) -> Self:
        return cls(saga=graph.name, version=graph.version, steps=(), priority=graph.priority, graph=graph)

    @property
    def has_windows(self) -> bool:
        return False

    @property
    def first_task(self) -> PlanStep | None:
        """The delivery of the first event to one of those that hear it."""
        hearers = self.graph.hearers(self.graph.starts)
        return self.step(1, hearers[0].place) if hearers else None

    def to_json(self) -> dict[str, Any]:
        return self.graph.to_json()

    @cached_property
    def text(self) -> str:
        return self.graph.text

    @cached_property
    def fingerprint(self) -> str:
        return self.graph.fingerprint

    @cached_property
    def needs(self) -> frozenset[str]:
        return self.graph.needs

    def executed(self, born: Iterable[tuple[int, int]]) -> tuple[PlanStep, ...]:
        """Return one step for each delivery, by the number of its event and the place of its handler."""
        return tuple(self.step(position, branch) for position, branch in sorted(set(born)))

    def step(self, position: int, branch: int = 0) -> PlanStep:
        """Return the plan of one delivery, by the number of its event and the place of its handler."""
        return self.graph.step(position, branch)
