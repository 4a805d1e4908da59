"""Notes of `check` on choreographed runs: quiet ones, dead letters, paused handlers, and runs that grow too long."""

from collections.abc import Iterator

from sagas.cli.columns import moment
from sagas.extension import Sagas
from sagas.handle import Standing
from sagas.handle.standing import MANY_EVENTS


def run_notes(sagas: Sagas) -> list[str]:
    """Return notes on what a person should see. Raises SQLAlchemyError if the database cannot be read."""
    return [note for each in sagas.standing() for note in _notes(each)]


def _notes(each: Standing) -> Iterator[str]:
    name = each.choreography
    if each.quiet:
        yield (
            f"{_counted(each.quiet, 'run')} of {name} {'is' if each.quiet == 1 else 'are'} quiet: nothing is open, "
            f"and no end has come. List them with `sagas list --quiet --saga {name}`"
        )
    if each.dead_letters:
        letters = _counted(each.dead_letters, "dead letter")
        yield f"{letters} of {name}: list them with `sagas dead list --choreography {name}`"
    for paused in each.paused:
        yield (
            f"handler {name}/{paused.handler} is paused, since it gave up many deliveries in a row for {paused.error}; "
            f"one is tried at {moment(paused.until)}. Mend it, and run `sagas dead resume {name}/{paused.handler} "
            "--reason …`"
        )
    if each.long_runs:
        yield (
            f"{_counted(each.long_runs, 'run')} of {name} in flight {'has' if each.long_runs == 1 else 'have'} "
            f"{MANY_EVENTS:,} events or more: a run is a business transaction, and not a log"
        )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
