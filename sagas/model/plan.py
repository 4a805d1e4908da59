"""The plan: what an instance is going to do, frozen as JSON in its row when it starts."""

import hashlib
import json
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

from sagas.model.retry import RetryPolicy


class StepKind(StrEnum):
    """Richardson's three kinds of step (*Microservices Patterns*, ch. 4)."""

    COMPENSATABLE = "compensatable"  # before the pivot: can be undone
    PIVOT = "pivot"  # the last step that may say no
    RETRIABLE = "retriable"  # after the pivot: only forward


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanStep:
    """One step of a plan: names of Celery tasks and policies, no code."""

    position: int
    branch: int = 0
    name: str
    task: str
    compensation: str | None
    kind: StepKind = StepKind.COMPENSATABLE
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    compensation_retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(on=("builtins.Exception",)))
    timeout: float = 3600.0
    compensation_timeout: float = 3600.0
    idempotent: bool = True
    max_losses: int = 3

    def task_for(self, round_: int) -> str:
        """The Celery task of the action (round 0) or of its compensation (any later round)."""
        if round_ == 0:
            return self.task
        if self.compensation is None:
            raise ValueError(f"step {self.name!r} has no compensation")
        return self.compensation

    def retry_for(self, round_: int) -> RetryPolicy:
        return self.retry if round_ == 0 else self.compensation_retry

    def timeout_for(self, round_: int) -> float:
        """Seconds that one execution may take."""
        return self.timeout if round_ == 0 else self.compensation_timeout

    def to_json(self) -> dict[str, Any]:
        stored = {field: getattr(self, field) for field in self.__dataclass_fields__}
        return stored | {
            "retry": self.retry.to_json(),
            "compensation_retry": self.compensation_retry.to_json(),
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        known = {name: value for name, value in stored.items() if name in cls.__dataclass_fields__}
        return cls(
            **{
                **known,  # a newer version of the library may have stored more
                "kind": StepKind(stored["kind"]),
                "retry": RetryPolicy.from_json(stored["retry"]),
                "compensation_retry": RetryPolicy.from_json(stored["compensation_retry"]),
            }
        )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The frozen list of steps an instance started with (Courier's *itinerary*)."""

    saga: str
    version: int
    steps: tuple[PlanStep, ...]

    def __post_init__(self) -> None:
        if [step.position for step in self.steps] != list(range(len(self.steps))):
            raise ValueError(f"plan of {self.saga!r}: positions must count up from 0")

    @cached_property
    def text(self) -> str:
        """The plan as canonical JSON."""
        stored = {
            "saga": self.saga,
            "version": self.version,
            "steps": [step.to_json() for step in self.steps],
        }
        return json.dumps(stored, sort_keys=True, separators=(",", ":"))

    @cached_property
    def fingerprint(self) -> str:
        """Equal for equal plans, on every machine: 32 hexadecimal digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:32]

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        return cls(
            saga=stored["saga"],
            version=stored["version"],
            steps=tuple(PlanStep.from_json(step) for step in stored["steps"]),
        )

    def step(self, position: int) -> PlanStep:
        return self.steps[position]

    def after(self, position: int) -> PlanStep | None:
        """The step that follows a position; None after the last one."""
        return self.steps[position + 1] if position + 1 < len(self.steps) else None

    @cached_property
    def pivot(self) -> PlanStep | None:
        return next((step for step in self.steps if step.kind is StepKind.PIVOT), None)
