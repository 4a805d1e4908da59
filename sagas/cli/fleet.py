"""What `check` asks the database and the broker: are workers alive that do not fit this app or release?"""

from sagas.engine import CONTROL_QUEUE, left_in
from sagas.extension import Sagas
from sagas.model.neighbours import Neighbour, clashes, other_brokers
from sagas.recovery import itself, left_in_words, over_the_broker
from sagas.store import RELEASE


def fleet_findings(sagas: Sagas) -> list[str]:
    """One line a finding: what, why, and the cure. Raises SQLAlchemyError where there is nobody to ask."""
    return [
        f"worker {worker.hostname} (pid {worker.pid}) runs {worker.release or 'an older release'}, and this is "
        f"{RELEASE}: it judges failures by its own rules, and leaves alone what it does not know. Start sagas that use "
        "what is new once it is gone"
        for worker in sagas.engine.store.sweeping.of_other_releases()
    ]


def stuck_notes(sagas: Sagas) -> list[str]:
    """Tell which messages wait for a worker that is not there, or that does not know them; as `fleet_findings`."""
    fleet = sagas.engine.store.fleet
    return [*fleet.unheard(), *fleet.parked()]


def in_the_schema(sagas: Sagas) -> list[Neighbour]:
    """The workers that are alive there. Raises SQLAlchemyError where there is nobody to ask."""
    control = sagas.engine.control
    control.known_home = sagas.engine.store.fleet.home()
    return sagas.engine.store.fleet.alive(control.known_home)


def on_the_broker(sagas: Sagas) -> tuple[list[Neighbour], list[str]]:
    """The workers with sagas that answer there, and what is left in the former control queue. Raises what it raises."""
    found = over_the_broker(sagas.engine)
    left = 0 if sagas.control_queue == CONTROL_QUEUE else left_in(CONTROL_QUEUE, sagas.engine.messages)
    return found, [left_in_words(left)] if left else []


def neighbour_findings(sagas: Sagas, others: list[Neighbour]) -> list[str]:
    """The clashes with other applications; none where the database was not asked for this one's mark."""
    return clashes(itself(sagas.engine), others) if sagas.engine.control.known_home else []


def neighbour_notes(sagas: Sagas, others: list[Neighbour]) -> list[str]:
    """What may be a clash."""
    return other_brokers(itself(sagas.engine), others)
