"""Sagas on Celery: business transactions whose finished steps are undone, in reverse order, when a later one fails."""

from sagas.definition import BestEffort, Child, Parallel, Pivot, Retriable, Retry, Saga, Sleep, Step, WaitFor, parallel
from sagas.engine import condition, current_step
from sagas.errors import (
    BindingError,
    ConfigurationError,
    DefinitionError,
    InstanceNotFound,
    KeyInUse,
    MissingInput,
    NoCurrentStep,
    NotBound,
    PayloadError,
    PermanentError,
    PlanChanged,
    ResourceLocked,
    RowDamaged,
    SagaError,
    SchemaMissing,
    SecretUnreadable,
    SignalInProgress,
    StartInProgress,
    StartRefused,
    TransitionRefused,
    WaitTimeout,
)
from sagas.extension import Sagas
from sagas.handle import CompensationView, HistoryEntry, SagaHandle, Snapshot, StepView
from sagas.model import ErrorInfo, SagaStatus, StepStatus

__all__ = [
    # binding
    "Sagas",
    # defining
    "Saga",
    "Step",
    "Pivot",
    "Retriable",
    "BestEffort",
    "parallel",
    "Parallel",
    "Sleep",
    "WaitFor",
    "Child",
    "condition",
    "Retry",
    # running
    "current_step",
    "PermanentError",
    # looking and acting
    "SagaHandle",
    "SagaStatus",
    "StepStatus",
    "StepView",
    "Snapshot",
    "CompensationView",
    "HistoryEntry",
    "ErrorInfo",
    # errors
    "SagaError",
    "DefinitionError",
    "ConfigurationError",
    "SchemaMissing",
    "NotBound",
    "SecretUnreadable",
    "PayloadError",
    "StartRefused",
    "MissingInput",
    "PlanChanged",
    "StartInProgress",
    "KeyInUse",
    "ResourceLocked",
    "InstanceNotFound",
    "RowDamaged",
    "TransitionRefused",
    "SignalInProgress",
    "WaitTimeout",
    "NoCurrentStep",
    "BindingError",
]
