"""Whether this process has the definition by which an instance was started."""

from typing import TYPE_CHECKING

from sagas.engine.registry import declared
from sagas.errors import BindingError, SagaError
from sagas.model import Plan

if TYPE_CHECKING:
    from sagas.engine.core import Engine


def is_for_good(engine: "Engine", plan: Plan, error: SagaError) -> bool:
    """Whether no deploy is on its way that would cure this: the code at hand is that of the plan, and lacks a value.

    In `sagas.testing.inline` it waits: there what never ends fails the test, with its timeline.
    """
    if engine.runs_inline or not isinstance(error, BindingError) or not error.lacks_value:
        return False
    for saga in declared():
        if saga.name == plan.saga and saga.version == plan.version:
            try:
                if saga.plan(engine) == plan:
                    return True
            except SagaError:  # it is another app's
                continue
    return False
