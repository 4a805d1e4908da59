"""A choreography of the campaign: money that is sent by events, while notes about it come from outside.

Its handlers move money and misbehave as the steps of the sagas do (see `business`).
"""

from dataclasses import dataclass
from typing import Any

from celery import shared_task

from sagas import Choreography, event
from tests.faults.campaign.business import (
    APPROVAL,
    LOSSES,
    QUICK,
    STUBBORN_ANYWAY,
    TIMEOUT,
    perform,
    take_back,
)

#: Tasks whose completion means an effect, in the transaction of their delivery and through the barrier.
THROUGH_DELIVERY = ("pay_in", "enter")
THROUGH_BARRIER = ("pay_out_on_event", "tell")


@dataclass(frozen=True, kw_only=True)
class Movement:
    """The fields of every event: what is moved, and how those misbehave who move it."""

    moves: dict[str, list[Any]]
    script: dict[str, Any]


@event
class Sent(Movement): ...


@event
class Withdrawn(Movement): ...


@event
class Deposited(Movement): ...


@event
class Recalled(Movement):
    """The run turns back."""

    reason: str = ""


@event
class Noted(Movement):
    """From outside: entered in the order of their numbers."""


remittance = Choreography(
    "remittance",
    starts=Sent,
    ends=Deposited,
    on_cancel=Recalled,
    deadline=APPROVAL,
    awaits={Noted: 3600.0},
)
PAYS: Any = {"retry": QUICK, "max_losses": LOSSES, "timeout": TIMEOUT, "if_dead": "compensate"}
TELLS: Any = {"retry": STUBBORN_ANYWAY, "max_losses": LOSSES, "timeout": TIMEOUT}


@remittance.on(Sent, publishes=(Withdrawn,), name="withdraw", **PAYS)
@shared_task(name="campaign.pay_out_on_event")
def pay_out_on_event(event: Sent) -> Withdrawn:
    perform(event.moves, event.script, in_step=False)
    return Withdrawn(moves=event.moves, script=event.script)


@remittance.undo(pay_out_on_event, retry=STUBBORN_ANYWAY)
@shared_task(name="campaign.pay_back")
def pay_back(event: Sent) -> None:
    take_back(event.script, None, in_step=False)


@remittance.on(Withdrawn, publishes=(Deposited,), name="deposit", **PAYS)
@shared_task(name="campaign.pay_in")
def pay_in(event: Withdrawn) -> Deposited:
    perform(event.moves, event.script, in_step=True)
    return Deposited(moves=event.moves, script=event.script)


@remittance.undo(pay_in, retry=STUBBORN_ANYWAY)
@shared_task(name="campaign.take_out")
def take_out(event: Withdrawn) -> None:
    take_back(event.script, None, in_step=True)


@remittance.on(Deposited, Recalled, undo=None, name="notify", **TELLS)
@shared_task(name="campaign.tell")
def tell(event: Any) -> None:
    perform(event.moves, event.script, in_step=False)


@remittance.on(Noted, undo=None, name="enter", **TELLS)
@shared_task(name="campaign.enter")
def enter(event: Noted) -> None:
    perform(event.moves, event.script, in_step=True)
