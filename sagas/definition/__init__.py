"""Declaring sagas: `Saga`, its steps and their policies. They hold tasks and compile to a `Plan`."""

from sagas.definition.retry import Retry
from sagas.definition.saga import Saga
from sagas.definition.step import Pivot, Retriable, Step

__all__ = ["Pivot", "Retriable", "Retry", "Saga", "Step"]
