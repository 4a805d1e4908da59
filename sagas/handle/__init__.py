"""Handles on instances, and what they show."""

from sagas.handle.handle import SagaHandle
from sagas.handle.views import CompensationView, HistoryEntry, Snapshot, StepView

__all__ = ["CompensationView", "HistoryEntry", "SagaHandle", "Snapshot", "StepView"]
