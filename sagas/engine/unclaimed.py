"""A message that finds nothing to claim: a duplicate, a voided step, or one whose saga no longer exists."""

from typing import TYPE_CHECKING

from sagas.engine.messages import cut_tail, first_of_tail, goes_on_inline, is_redelivered, walks_on
from sagas.model import StepStatus, Tick
from sagas.store import legible

if TYPE_CHECKING:
    from sagas.engine.execution import Execution

#: Statuses of an execution that may still have to be moved on: it was to be claimed and was not, or the consequence of
#: its failure may be lost.
OPEN = (StepStatus.PENDING, StepStatus.FAILED)


def nothing_to_claim(execution: "Execution") -> None:
    """Drop the message in most cases, at the price of one read: a duplicate must not cost more than a claim."""
    engine, request, instance_id = execution.engine, execution.request, execution.instance_id
    carries = first_of_tail(request)
    with legible(instance_id):
        steps = engine.store.instances.standing(instance_id, execution.address, carries)
    own = steps.get(execution.address)
    if own is not None and own.status not in OPEN:
        if own.status is not StepStatus.RUNNING and goes_on_inline(request) and is_redelivered(request):
            # Its worker was killed between a completion and the next claim.
            for address in engine.store.instances.unclaimed(instance_id):
                engine.store.lines.put_back(instance_id, address)
        if not walks_on(request, own, steps.get(carries) if carries else None):
            cut_tail(request)
        return
    refusal = engine.carrying.refusal_of(request, instance_id, execution.address)
    if engine.loop.handle(instance_id, refusal or Tick()) is None:
        execution.log("message without a saga dropped")
    if (not_ready := execution.task.not_ready()) is not None:
        told = execution.describe(not_ready)
        execution.log("before_start raised for a message that found nothing to do:", str(told))
    cut_tail(request)
