"""The check of `check` on stored events: a sample of every version is read by the code at hand."""

from sagas.choreography import Choreography
from sagas.choreography.exchange import Exchange
from sagas.cli.checks import belongs
from sagas.engine import choreographies
from sagas.errors import BindingError, SagaError
from sagas.extension import Sagas
from sagas.model import payload
from sagas.store import Runs


def stored_event_findings(sagas: Sagas, runs: Runs) -> tuple[list[str], list[str]]:
    """Return findings on stored events that cannot be read, and notes on those that wait for newer code.

    Raises SQLAlchemyError if the database cannot be read.
    """
    findings, notes = list[str](), list[str]()
    known = exchanges(sagas)
    for sample in runs.samples() if known else ():
        exchange = known.get(sample.choreography)
        if exchange is None:  # declared by a module that is not imported here
            continue
        try:
            exchange.read(sample.type, sample.version, payload.loads(sample.payload), sagas.engine.secrecy)
        except SagaError as error:
            finding = f"choreography {sample.choreography!r}: stored events cannot be read: {error}"
            waits = isinstance(error, BindingError) and not error.lacks_value
            (notes if waits else findings).append(finding)
    return findings, notes


def exchanges(sagas: Sagas) -> dict[str, Exchange]:
    """Return what reads the events of each choreography of this app, in its highest version."""
    return {
        one.name: one.exchange
        for one in choreographies()  # by name and version
        if isinstance(one, Choreography) and belongs(one, sagas)
    }
