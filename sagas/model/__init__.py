"""The rules of a saga as pure values and functions: standard library only, no clock, no dice, no I/O."""

from sagas.model.commands import Decision, Note, Send
from sagas.model.decide import DEFAULT_LEASE, decide, first
from sagas.model.events import (
    Claimed,
    Completed,
    Event,
    Failed,
    Parked,
    RetryRequested,
    SkipRequested,
    StopRequested,
    Tick,
)
from sagas.model.plan import Plan, PlanStep, StepKind
from sagas.model.retry import RetryPolicy, Verdict
from sagas.model.state import (
    FINAL,
    FORWARD,
    TRANSITIONS,
    Address,
    ErrorInfo,
    Holder,
    InstanceState,
    SagaStatus,
    StepState,
    StepStatus,
    Stop,
    StopKind,
)

__all__ = [
    "DEFAULT_LEASE",
    "FINAL",
    "FORWARD",
    "TRANSITIONS",
    "Address",
    "Claimed",
    "Completed",
    "Decision",
    "ErrorInfo",
    "Event",
    "Failed",
    "Holder",
    "InstanceState",
    "Note",
    "Parked",
    "Plan",
    "PlanStep",
    "RetryPolicy",
    "RetryRequested",
    "SagaStatus",
    "Send",
    "SkipRequested",
    "StepKind",
    "StepState",
    "StepStatus",
    "Stop",
    "StopKind",
    "StopRequested",
    "Tick",
    "Verdict",
    "decide",
    "first",
]
