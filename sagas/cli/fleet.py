"""Checks of `check` on the database and the broker: living workers that do not fit this app or release."""

from sagas.engine import CONTROL_QUEUE, Control, left_in
from sagas.extension import Sagas
from sagas.model.neighbours import Neighbour, clashes, other_brokers
from sagas.recovery import leftover_note, neighbours_on_broker, own_description_of
from sagas.store import RELEASE, Fleet, Sweeping


def fleet_findings(sweeping: Sweeping) -> list[str]:
    """Return one line per finding: what, why, and the cure. Raises SQLAlchemyError if the database cannot be read."""
    return [
        f"worker {worker.hostname} (pid {worker.pid}) runs {worker.release or 'an older release'}, and this is "
        f"{RELEASE}: it judges failures by its own rules, and leaves alone what it does not know. Start sagas that use "
        "what is new once it is gone"
        for worker in sweeping.of_other_releases()
    ]


def stuck_notes(fleet: Fleet) -> list[str]:
    """Return notes on steps that wait for a worker that is missing, or that does not know them; as `fleet_findings`."""
    return [*fleet.unheard(), *fleet.parked()]


def neighbours_in_schema(control: Control, fleet: Fleet) -> list[Neighbour]:
    """Return the living workers of the schema. Raises SQLAlchemyError if the database cannot be read."""
    control.known_home = fleet.home()
    return fleet.alive(control.known_home)


def workers_on_broker(sagas: Sagas) -> tuple[list[Neighbour], list[str]]:
    """Return the workers with sagas that answer there, and a note on messages in the former control queue.

    Raises the broker's errors.
    """
    found = neighbours_on_broker(sagas.engine)
    left = 0 if sagas.control_queue == CONTROL_QUEUE else left_in(CONTROL_QUEUE, sagas.engine.messages)
    return found, [leftover_note(left)] if left else []


def neighbour_findings(sagas: Sagas, others: list[Neighbour]) -> list[str]:
    """Return the clashes with other applications; none if the database was not asked for this one's mark."""
    return clashes(own_description_of(sagas.engine), others) if sagas.engine.control.known_home else []


def neighbour_notes(sagas: Sagas, others: list[Neighbour]) -> list[str]:
    """Return notes on possible clashes."""
    return other_brokers(own_description_of(sagas.engine), others)
