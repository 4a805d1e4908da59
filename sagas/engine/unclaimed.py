"""A message that finds nothing to claim: a duplicate, a voided step, or one whose saga no longer exists."""

from sagas.engine.answer import END, Answer
from sagas.engine.delivery import Delivery
from sagas.engine.messages import goes_on_inline, is_redelivered, may_continue_chain
from sagas.model import ExecutionStatus, Tick
from sagas.store import Instances, Lines, legible

#: Statuses of an execution that may still have to be moved on: it was to be claimed and was not, or the consequence of
#: its failure may be lost.
OPEN = (ExecutionStatus.PENDING, ExecutionStatus.FAILED)


def nothing_to_claim(delivery: Delivery, instances: Instances, lines: Lines) -> Answer:
    """Drop the message in most cases, at the price of one read: a duplicate must not cost more than a claim."""
    engine, request, instance_id, carries = delivery.engine, delivery.request, delivery.instance_id, delivery.tail
    with legible(instance_id):
        steps = instances.standing(instance_id, delivery.address, carries)
    own = steps.get(delivery.address)
    if own is not None and own.status not in OPEN:
        if own.status is not ExecutionStatus.RUNNING and goes_on_inline(request) and is_redelivered(request):
            # Its worker was killed between a completion and the next claim.
            for address in instances.unclaimed(instance_id):
                lines.put_back(instance_id, address)
        return Answer(goes_on=may_continue_chain(request, own, steps.get(carries) if carries else None))
    refusal = engine.carrying.refusal_of(request, instance_id, delivery.address)
    if engine.loop.handle(instance_id, refusal or Tick()) is None:
        delivery.log("message without a saga dropped")
    if (not_ready := delivery.task.not_ready()) is not None:
        info = delivery.describe(not_ready)
        delivery.log("before_start raised for a message that found nothing to do:", str(info))
    return END
