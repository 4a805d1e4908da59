"""The operators' side of bridges: how they stand, and what was refused."""

from typing import Any

from sagas.model import Secrecy
from sagas.store.bridges import Bridges


def standing(bridges: Bridges, names: list[str]) -> list[dict[str, Any]]:
    """Return how some bridges stand: how much leaves, waits, was refused and was dropped, and since when."""
    return [dict(row._mapping) for row in bridges.standing(names)]


def entries_of(bridges: Bridges, secrecy: Secrecy, bridge: str, limit: int) -> list[dict[str, Any]]:
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
            "message": None if row.message is None else _shown(secrecy, bytes(row.message)),
        }
        for row in bridges.entries(bridge, limit)
    ]


def _shown(secrecy: Secrecy, message: bytes) -> str:
    return "•••" if secrecy.is_wanted else message.decode(errors="replace")
