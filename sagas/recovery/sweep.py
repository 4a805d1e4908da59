"""One pass over what is stuck: many short transactions, none of which can stop the others."""

import logging
from uuid import UUID

from sqlalchemy.exc import DBAPIError

from sagas.engine import Engine, describe
from sagas.model import Tick
from sagas.store.database import is_outage

logger = logging.getLogger("sagas")

#: Instances picked at a time, and how often a pass comes back for more before it leaves the rest to the next.
BATCH, ROUNDS = 500, 20


def sweep(engine: Engine, *, forced: bool = False) -> int:
    """Move on whatever is due. Any number of these at once is right.

    Args:
        forced: look even though another sweep ran a moment ago.

    Returns:
        How many instances it moved (merely looking at one does not count).
    """
    sweeping = engine.store.sweeping
    begun = sweeping.begin(forced=forced)
    if begun is None:
        return 0
    engine.brief_sender.try_again()
    for worker in sweeping.declare_dead():
        logger.error(
            "worker declared dead: silent for too long",
            extra={"worker": str(worker.id), "worker_host": worker.hostname, "worker_pid": worker.pid},
        )
    for ended in engine.store.locks.held_by_the_ended(BATCH):
        engine.loop.release(ended, brief=True)
    tick = Tick(after_outage=begun.after_outage)
    moved = sum(_look_at(engine, instance_id, tick) for instance_id in engine.store.instances.inbox.unseen(BATCH))
    for _ in range(ROUNDS):
        due = sweeping.due(BATCH)
        moved += sum(_look_at(engine, instance_id, tick) for instance_id in due)
        if len(due) < BATCH:
            break
    return moved


def _look_at(engine: Engine, instance_id: UUID, tick: Tick) -> bool:
    try:
        outcome = engine.loop.handle(instance_id, tick, skip_locked=True, patience=0, brief=True)
    except Exception as error:  # a bad row must not stop the pass; it waits, alone, with an event
        if isinstance(error, DBAPIError) and is_outage(error):
            raise
        told = describe(error, redact=engine.redactor(instance_id))
        logger.error("sweep failed on one saga\n%s", told.traceback, extra={"saga_id": str(instance_id)})
        engine.store.sweeping.back_off(instance_id, told.to_json())
        return False
    if outcome is None and engine.store.instances.read(instance_id) is None:
        engine.store.instances.inbox.forget(instance_id)
    return outcome is not None and outcome.moved
