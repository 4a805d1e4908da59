"""One delivery of one execution: claim, run, record; the answer tells Celery what to do with the message.

The rows decide everything: the worker says what happened, the rows say what that means, and only the task class acts on
the message: it lets Celery publish the rest of the chain, cuts it, or raises for the error callback.
"""

from typing import TYPE_CHECKING, Any
from uuid import UUID

from billiard.exceptions import SoftTimeLimitExceeded

from sagas.engine.answer import END, Answer
from sagas.engine.delivery import Claimed, Delivery
from sagas.engine.messages import DELIVERY_HEADER, sent_at
from sagas.engine.outgoing import Outbox
from sagas.engine.pausing import is_put_off
from sagas.engine.reacting import reaction_to
from sagas.engine.recording import Recording
from sagas.engine.running import Returned, Run
from sagas.engine.transaction import StepTransaction
from sagas.engine.unclaimed import nothing_to_claim
from sagas.model import Address
from sagas.model.headers import DIGEST_HEADER
from sagas.store import Claim, ClaimedDelivery, Store, legible

if TYPE_CHECKING:
    from sagas.engine.core import Engine


def execute(engine: "Engine", task: Any, instance_id: UUID, address: Address) -> Answer:
    """Claim the execution that a message names, run it and record it; return what Celery is to do."""
    delivery, store = Delivery(engine, task, instance_id, address), engine.store
    with engine.held.holding(delivery.id):
        claim = store.hot.claim(
            instance_id,
            address,
            task=task.name,
            token=delivery.token,
            worker_id=engine.identity.id,
            delivery=delivery.id,
            digest=getattr(delivery.request, DIGEST_HEADER, None),
            sent=sent_at(delivery.request),
            known_plans=store.instances.known_plans,
            is_delivery=getattr(delivery.request, DELIVERY_HEADER, None) is not None,
        )
        if claim is None:
            return nothing_to_claim(delivery, store.instances, store.lines)
        return _run(delivery, claim, store)


def _run(delivery: Delivery, claim: Claim, store: Store) -> Answer:
    address = delivery.address
    store.headers.remember(delivery.instance_id, claim.headers)
    store.clock.learn(claim.claimed_at)
    with legible(delivery.instance_id):
        plan = store.instances.plan(claim.plan_hash, claim.plan)
        step = plan.step(address.position, address.branch)
    transaction = StepTransaction(store.database)
    claimed = Claimed(delivery, claim, plan, step, transaction, Outbox(delivery.engine, delivery.instance_id))
    if is_put_off(claimed, store.handlers):
        return END
    run, recording = reaction_to(claimed) if isinstance(claim, ClaimedDelivery) else (Run(claimed), Recording(claimed))
    try:
        happened = run.happened()
        try:
            return recording.record(happened)
        except SoftTimeLimitExceeded:
            if not isinstance(happened, Returned):
                raise
            # It was raised in our own code, after the body: recording again first checks the own token and the
            # step's transaction, which may be over by now.
            return recording.record(happened)
    finally:
        transaction.rollback()
