"""A choreography that turns back if a delivery is given up, with the events of `ring` and some of its tasks."""

from celery import shared_task

from sagas.choreography import Choreography
from tests.support.choreographed import FEW, Cancelled, Ordered, Refused, Reserved, Shipped, act, mail, release, reserve

strict = Choreography("strict", starts=Ordered, ends=Shipped, refuses=Refused, on_cancel=Cancelled)
strict.on(Ordered, publishes=(Reserved, Refused), retry=FEW)(reserve)
strict.undo(reserve)(release)
strict.on(Cancelled, undo=None)(mail)


@strict.on(Reserved, publishes=(Shipped,), if_dead="compensate", retry=FEW)
@shared_task
def deliver(event: Reserved) -> Shipped:
    act(event.script, "deliver")
    return Shipped(script=event.script)


@strict.undo(deliver)
@shared_task
def take_back(event: Reserved) -> None:
    act(event.script, "take_back")
