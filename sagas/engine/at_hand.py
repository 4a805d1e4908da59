"""Whether this process has the definition that an instance was started with."""

from typing import TYPE_CHECKING

from sagas.engine.registry import declared
from sagas.errors import BindingError, SagaError
from sagas.model import Plan

if TYPE_CHECKING:
    from sagas.engine.core import Engine


def is_for_good(engine: "Engine", plan: Plan, error: SagaError) -> bool:
    """Return whether no deploy is to be expected that would cure this: this code made the plan, and lacks a value.

    In `sagas.testing.inline` it waits instead: there a saga that never ends fails the test, with its timeline.
    """
    if engine.runs_inline or not isinstance(error, BindingError) or not error.lacks_value:
        return False
    for saga in declared():
        if saga.name == plan.saga and saga.version == plan.version:
            try:
                if saga.plan(engine) == plan:
                    return True
            except SagaError:  # it belongs to another app
                continue
    return False
