"""Handles on instances, and the values that they show."""

from sagas.handle.handle import SagaHandle
from sagas.handle.listing import InstanceView, Page, left_after, read_page
from sagas.handle.pace import Pace
from sagas.handle.reading import refuse_in_step
from sagas.handle.views import CompensationView, HistoryEntry, Snapshot, StepView

__all__ = [
    "CompensationView",
    "HistoryEntry",
    "InstanceView",
    "Pace",
    "Page",
    "SagaHandle",
    "Snapshot",
    "StepView",
    "left_after",
    "read_page",
    "refuse_in_step",
]
