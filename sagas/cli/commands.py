"""The commands that inspect and those that maintain. They exit with 1 if a request is refused."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TextIO

import click
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from sagas.choreography import Choreography
from sagas.cli.checks import belongs, findings, notes
from sagas.cli.finding import instance_of, may_be_instance
from sagas.cli.fleet import (
    fleet_findings,
    neighbour_findings,
    neighbour_notes,
    neighbours_in_schema,
    stuck_notes,
    workers_on_broker,
)
from sagas.cli.run_notes import run_notes
from sagas.cli.saying import say
from sagas.cli.stored_events import stored_event_findings
from sagas.definition import Saga
from sagas.engine import choreographies, declared
from sagas.errors import InstanceNotFound, SagaError, SchemaMissing
from sagas.extension import Sagas
from sagas.handle import SagaHandle, Snapshot
from sagas.handle.timeline import timeline
from sagas.store import Instances, Store


@contextmanager
def cli_errors() -> Iterator[None]:
    """Show our own errors as one line for the operator, without a traceback."""
    try:
        yield
    except SagaError as error:
        raise click.ClickException(str(error)) from error
    except OperationalError as error:
        raise click.ClickException(f"the database cannot be reached: {str(error.orig).strip()}") from error


def bound_sagas(context: click.Context) -> Sagas:
    """Return the Sagas of the app that ``celery -A`` named, or that a framework's command gives as ``obj``."""
    app = context.obj.app  # both have one
    # In this order: a framework may bind its Sagas only when the modules are imported.
    app.loader.import_default_modules()
    app.finalize()
    found = getattr(app, "sagas", None)
    if not isinstance(found, Sagas):
        raise click.ClickException(
            f"the app {app.main!r} has no Sagas: add `sagas = Sagas(app, database=…)` to its module"
        )
    return found


def bound_store(context: click.Context) -> Store:
    """Return the store of `bound_sagas`, for its parts."""
    return bound_sagas(context).engine.store


#: The units of ``--older-than``.
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def duration(context: click.Context, parameter: click.Parameter, value: str) -> timedelta:
    found = re.fullmatch(r"([0-9]{1,6})([mhdw])", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not a duration; write 30d, or a number of {', '.join(UNITS.values())}")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


def optional_duration(context: click.Context, parameter: click.Parameter, value: str | None) -> timedelta | None:
    return None if value is None else duration(context, parameter, value)


@click.group()
def sagas() -> None:
    """Sagas: migrate the tables, look at instances, act on them, draw them."""


@sagas.command()
@click.pass_context
def migrate(context: click.Context) -> None:
    """Create or update the tables; safe to run twice and at once."""
    with cli_errors():
        applied = bound_sagas(context).migrate()
        schema = bound_store(context).schema
    say("\n".join(f"applied {name}" for name in applied) or f"schema {schema!r} is up to date")


@sagas.command()
@click.argument("instance", metavar="ID")
@click.option("--related", is_flag=True, help="Also show what it began, and what it belongs to.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, or one a line with --related.")
@click.pass_context
def show(context: click.Context, instance: str, related: bool, as_json: bool) -> None:
    """Show an instance: its steps and its history. ID may be the beginning of one, or SAGA/KEY."""
    with cli_errors():
        found, store = bound_sagas(context), bound_store(context)
        handle = instance_of(found, store.instances, instance)
        several = handle.related() if related else [handle]
        shown = [_shown(one, store.fleet.unheard(one.id), as_json) for one in several]
        say(("\n" if as_json else "\n\n").join(shown))


@sagas.command()
@click.argument("instance", metavar="NAME_OR_ID")
@click.option("--svg", is_flag=True, help="Draw SVG instead of Mermaid text.")
@click.option("--output", type=click.File("w", encoding="utf-8", lazy=True), help="Write to this file.")
@click.pass_context
def graph(context: click.Context, instance: str, svg: bool, output: TextIO | None) -> None:
    """Draw a saga or a choreography by its name, or an instance with the path it took by its ID."""
    with cli_errors():
        found = bound_sagas(context)
        what = saga_or_handle(found, bound_store(context).instances, instance)
        drawn = found.graph(what, format="svg" if svg else "mermaid")
    click.echo(drawn, file=output, nl=False)


@sagas.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_context
def sweep(context: click.Context, as_json: bool) -> None:
    """Run one pass of the sweep, now."""
    with cli_errors():
        moved = bound_sagas(context).sweep()
    say(json_line({"moved": moved}) if as_json else f"moved {moved}")


@sagas.command()
@click.option("--older-than", required=True, callback=duration, help="How long ago they ended: 30d, 12h, 8w.")
@click.option("--keep-keys", is_flag=True, help="Keep the rows that have business keys, so that the keys stay taken.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_context
def purge(context: click.Context, older_than: timedelta, keep_keys: bool, as_json: bool) -> None:
    """Delete instances that ended completed or compensated long ago.

    Their business keys are then free: started again, they run again. Failed ones stay.
    """
    with cli_errors():
        purged = bound_sagas(context).purge(older_than, keep_keys=keep_keys)
    say(json_line({"purged": purged}) if as_json else f"purged {purged}")


@sagas.command()
@click.pass_context
def check(context: click.Context) -> None:
    """Say what is dangerous in the app's settings, its definitions and its workers, and why."""
    with cli_errors():
        sagas, store = bound_sagas(context), bound_store(context)
        found, noted = findings(sagas), notes(sagas)
        others = []
        try:
            found += fleet_findings(store.sweeping)
            broken, waiting = stored_event_findings(sagas, store.runs)
            found += broken
            noted += waiting
            noted += run_notes(sagas)
            noted += stuck_notes(store.fleet)  # in the middle of a deploy this is not a problem
            others += neighbours_in_schema(sagas.engine.control, store.fleet)
        except (SQLAlchemyError, SchemaMissing) as error:  # a build has none; before a deploy it is not migrated
            reason = str(getattr(error, "orig", error)).partition("\n")[0]
            say(f"the database could not be asked about its workers: {reason}", err=True)
        try:
            answered, left = workers_on_broker(sagas)
        except Exception as error:  # a build has no broker either
            say(f"the broker could not be asked about its workers: {error}", err=True)
        else:
            others += answered
            noted += left
        found += neighbour_findings(sagas, others)
        noted += neighbour_notes(sagas, others)
    for line in (*found, *noted):
        say(line)
    if found:
        raise SystemExit(1)
    if not noted:
        say("no problems found")


def saga_or_handle(sagas: Sagas, instances: Instances, name_or_id: str) -> Saga | Choreography | SagaHandle:
    """Return the app's saga or choreography with this name, in its highest version; otherwise the instance with an id.

    Raises:
        InstanceNotFound: there is neither; the message names the existing sagas and choreographies.
    """
    known = [saga for saga in (*declared(), *choreographies()) if isinstance(saga, Saga | Choreography)]
    named = [saga for saga in known if saga.name == name_or_id]
    if named:
        return max(named, key=lambda saga: (belongs(saga, sagas), saga.version))
    if not may_be_instance(name_or_id):
        own = [saga for saga in known if belongs(saga, sagas)]
        names = ", ".join(sorted({saga.name for saga in own if isinstance(saga, Saga)})) or "none"
        others = ", ".join(sorted({saga.name for saga in own if isinstance(saga, Choreography)}))
        all_names = f"{names}; its choreographies: {others}" if others else names
        raise InstanceNotFound(
            f"{name_or_id!r} is neither the id of an instance nor a saga or choreography of this app; its sagas: "
            f"{all_names}"
        )
    return instance_of(sagas, instances, name_or_id)


def in_short(seen: Snapshot) -> dict[str, Any]:
    """Return the summary of an instance, by the names of `show --json`."""
    return {
        "id": seen.id,
        "saga": seen.saga,
        "version": seen.version,
        "key": seen.key,
        "status": seen.status,
        "headline": seen.headline,
        "error": seen.error.to_json() if seen.error else None,
    }


def _shown(handle: SagaHandle, unheard: Sequence[str], as_json: bool) -> str:
    return json_line(_as_dict(handle, unheard)) if as_json else timeline(handle.snapshot(history=True), unheard)


def _as_dict(handle: SagaHandle, unheard: Sequence[str] = ()) -> dict[str, Any]:
    seen = handle.snapshot(history=True)
    return in_short(seen) | {
        "headline": [*seen.headline, *unheard],
        "caused_by": seen.caused_by,
        "headers": seen.headers,
        "data": seen.shown_data,
        "steps": [
            {
                "name": step.name,
                "status": step.status,
                "attempts": step.attempts,
                "in_doubt": step.in_doubt,
                "waits": step.waits,
                "nothing_to_undo": step.nothing_to_undo,
                "records": step.records,
                "result": step.result,
                "error": step.error.to_json() if step.error else None,
                "compensation": step.compensation_status,
            }
            for step in seen.steps
        ],
        "history": [
            {"at": entry.at, "event": entry.event, "step": entry.step, "detail": dict(entry.detail)}
            for entry in seen.history
        ],
    }


def json_line(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)
