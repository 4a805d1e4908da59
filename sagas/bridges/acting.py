"""The operators' side of bridges: how they stand, and what is done about what was refused or lost."""

from typing import Any
from uuid import UUID, uuid4

from sagas.bridges.bridge import Bridge
from sagas.bridges.receiving import Receiver
from sagas.engine import Engine
from sagas.store.bridges import Imported

#: The reason that is kept with an index which no event takes.
SKIPPED_HERE = "skipped by a person: it was lost"


def standing(engine: Engine, names: list[str]) -> list[dict[str, Any]]:
    """Return how some bridges stand: how much leaves, waits, was refused and was dropped, and since when."""
    return [dict(row._mapping) for row in engine.store.bridges.standing(names)]


def entries_of(engine: Engine, bridge: Bridge, limit: int) -> list[dict[str, Any]]:
    """Return the events that were refused or wait for an earlier one, the oldest first. Messages are shown as text."""
    return [
        {
            "event": row.event_id,
            "run_there": row.run_there,
            "run": row.run_id,
            "index": row.place,
            "received_at": row.received_at,
            "refused": row.refused,
            "waits_for": row.waits_for,
            "message": None if row.message is None else _shown(engine, bytes(row.message)),
        }
        for row in engine.store.bridges.entries(bridge.name, limit)
    ]


def _shown(engine: Engine, message: bytes) -> str:
    return "•••" if engine.secrecy.is_wanted else message.decode(errors="replace")


def skip_missing(engine: Engine, bridge: Bridge, run_there: UUID) -> int | None:
    """Fill the index that later events of a run wait for without an event; return it. None: nothing waits."""
    with engine.store.bridges.stream(bridge.name, run_there) as connection:
        index = engine.store.bridges.missing(connection, bridge.name, run_there)
    if index is None:
        return None
    lost = Imported(
        event_id=uuid4(), run_there=run_there, run_id=run_there, index=index, message=None, refused=SKIPPED_HERE
    )
    Receiver(engine, bridge).release(run_there, lost)
    return index


def acknowledge(engine: Engine, bridge: Bridge, event_id: UUID) -> bool:
    """Record that a person has dealt with a refused event. False: there is no such entry."""
    return engine.store.bridges.acknowledge(bridge.name, event_id)


def send_again(engine: Engine, bridge: Bridge, run_id: UUID) -> int:
    """Send all events of a run that have left again, under the same ids; return how many."""
    return engine.store.bridges.send_again(bridge.name, run_id)
