"""Deliveries of a paused handler: they are put off, uncounted, until one of them may be tried."""

from datetime import timedelta

from sagas.engine.delivery import Claimed
from sagas.model.choreography.events import PutOff
from sagas.store import ClaimedDelivery

#: How long a delivery is put off that comes while another one is tried.
WHILE_PROBED = timedelta(minutes=1)


def is_put_off(claimed: Claimed) -> bool:
    """Return whether the handler is paused, and this is not the delivery by which it is tried; then it waits again."""
    claim = claimed.claim
    if not isinstance(claim, ClaimedDelivery) or claim.paused_until is None:
        return False
    engine, delivery = claimed.delivery.engine, claimed.delivery
    until = claim.paused_until
    if until <= claim.claimed_at:
        if engine.store.handlers.takes_probe(claim.saga, claimed.step.name):
            return False
        until = claim.claimed_at + WHILE_PROBED
    engine.loop.handle(delivery.instance_id, PutOff(address=delivery.address, token=delivery.token, until=until))
    engine.store.handlers.hurry_if_resumed(claim.saga, claimed.step.name)
    return True
