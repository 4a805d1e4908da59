"""Declare sagas: `Saga`, its steps and their policies. They hold tasks and compile to a `Plan`."""

from sagas.definition.inputs import Const
from sagas.definition.parallel import Parallel, parallel
from sagas.definition.retry import Retry
from sagas.definition.saga import Saga
from sagas.definition.signatures import Deadline, FormatWord, IfExistsWord, StartOptions, StatusWord
from sagas.definition.step import BestEffort, Pivot, Retriable, Step
from sagas.definition.waiting import Child, Sleep, WaitFor

__all__ = [
    "BestEffort",
    "Child",
    "Const",
    "Deadline",
    "FormatWord",
    "IfExistsWord",
    "Parallel",
    "Pivot",
    "Retriable",
    "Retry",
    "Saga",
    "Sleep",
    "StartOptions",
    "StatusWord",
    "Step",
    "WaitFor",
    "parallel",
]
