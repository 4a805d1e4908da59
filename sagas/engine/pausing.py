"""Deliveries of a paused handler: they are put off, uncounted, until one of them may be tried."""

from datetime import timedelta

from sagas.engine.delivery import Claimed
from sagas.model.choreography.events import PutOff
from sagas.store import ClaimedDelivery, Handlers

#: How long a delivery is put off if it comes while another one is tried.
WHILE_PROBED = timedelta(minutes=1)


def is_put_off(claimed: Claimed, handlers: Handlers) -> bool:
    """Return whether the handler is paused, and this is not the delivery by which it is tried; then it waits again."""
    claim = claimed.claim
    if not isinstance(claim, ClaimedDelivery) or claim.paused_until is None:
        return False
    delivery, until = claimed.delivery, claim.paused_until
    if until <= claim.claimed_at:
        if handlers.takes_probe(claim.saga, claimed.step.name):
            return False
        until = claim.claimed_at + WHILE_PROBED
    event = PutOff(address=delivery.address, token=delivery.token, until=until)
    delivery.engine.loop.handle(delivery.instance_id, event)
    handlers.hurry_if_resumed(claim.saga, claimed.step.name)
    return True
