"""The commands; each does what a handle does and prints it. They exit with 1 when what was asked is refused."""

import getpass
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TextIO
from uuid import UUID

import click
from sqlalchemy.exc import OperationalError

from sagas.cli.checks import findings
from sagas.definition import Saga
from sagas.engine import declared
from sagas.errors import InstanceNotFound, SagaError
from sagas.extension import Sagas
from sagas.handle import SagaHandle
from sagas.model import SagaStatus


@contextmanager
def told() -> Iterator[None]:
    """An error of ours is one line for the operator, not a traceback."""
    try:
        yield
    except SagaError as error:
        raise click.ClickException(str(error)) from error
    except OperationalError as error:
        raise click.ClickException(f"the database cannot be reached: {str(error.orig).strip()}") from error


def bound(context: click.Context) -> Sagas:
    """The Sagas of the app that ``celery -A`` named, or the one that a framework's command gives as ``obj``."""
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


def _given(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if not value.strip():
        raise click.BadParameter("it needs a reason, which is kept in the history for whoever asks why")
    return value


def _mapping(context: click.Context, parameter: click.Parameter, value: str | None) -> dict[str, Any] | None:
    if value is None:
        return None
    try:
        found = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"it is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise click.BadParameter('it must be a JSON object, as in {"shipment_id": "4711"}')
    return found


#: What ``--older-than`` may end with.
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _duration(context: click.Context, parameter: click.Parameter, value: str) -> timedelta:
    found = re.fullmatch(r"([0-9]{1,6})([mhdw])", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is no time; write 30d, or a number of {', '.join(UNITS.values())}")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


@click.group()
def sagas() -> None:
    """Sagas: migrate the tables, look at instances, act on them, draw them."""


@sagas.command()
@click.pass_context
def migrate(context: click.Context) -> None:
    """Create or update the tables; safe to run twice and at once."""
    with told():
        found = bound(context)
        applied = found.migrate()
        schema = found.engine.store.schema
    click.echo("\n".join(f"applied {name}" for name in applied) or f"schema {schema!r} is up to date")


@sagas.command(name="list")
@click.option("--saga", help="Only instances of this saga.")
@click.option("--status", type=click.Choice([status.value for status in SagaStatus]), help="Only this status.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def list_instances(context: click.Context, saga: str | None, status: str | None, limit: int, as_json: bool) -> None:
    """List the newest instances."""
    with told():
        rows = bound(context).engine.store.instances.newest(saga=saga, status=status, limit=limit)
    for row in rows:
        if as_json:
            click.echo(
                _json(
                    {
                        name: getattr(row, name)
                        for name in ("id", "saga", "version", "key", "status", "created_at", "finished_at")
                    }
                )
            )
        else:
            click.echo(f"{row.id}  {row.status:<12}  {row.saga}  {row.key or '-'}  {row.created_at:%Y-%m-%d %H:%M:%S}")


@sagas.command()
@click.argument("instance", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_context
def show(context: click.Context, instance: str, as_json: bool) -> None:
    """Show an instance: its steps and its history."""
    with told():
        handle = bound(context).get(instance)
        click.echo(_json(_as_dict(handle)) if as_json else handle.timeline())


@sagas.command()
@click.argument("instance", metavar="NAME_OR_ID")
@click.option("--svg", is_flag=True, help="As SVG, not as Mermaid text.")
@click.option("--output", type=click.File("w", encoding="utf-8", lazy=True), help="Write it to this file.")
@click.pass_context
def graph(context: click.Context, instance: str, svg: bool, output: TextIO | None) -> None:
    """Draw a saga by its name, or an instance with the way it went by its ID."""
    with told():
        found = bound(context)
        drawn = found.graph(meant(found, instance), format="svg" if svg else "mermaid")
    click.echo(drawn, file=output, nl=False)


@sagas.command()
@click.argument("instance", metavar="ID")
@click.option("--reason", required=True, callback=_given, help="Why; kept in the history.")
@click.pass_context
def retry(context: click.Context, instance: str, reason: str) -> None:
    """Let a failed instance go on; only what is missing runs again."""
    _act(context, instance, lambda handle: handle.retry(reason, by=_who()))


@sagas.command()
@click.argument("instance", metavar="ID")
@click.option("--reason", required=True, callback=_given, help="Why; kept in the history.")
@click.pass_context
def cancel(context: click.Context, instance: str, reason: str) -> None:
    """Stop forward work and undo what was done."""
    _act(context, instance, lambda handle: handle.cancel(reason, by=_who()))


@sagas.command()
@click.argument("instance", metavar="ID")
@click.option("--reason", required=True, callback=_given, help="Why; kept in the history.")
@click.option("--step", help="What it is stuck at, where there are several.")
@click.option("--result", callback=_mapping, help="JSON object that the step would have returned, if others need it.")
@click.pass_context
def skip(context: click.Context, instance: str, reason: str, step: str | None, result: dict[str, Any] | None) -> None:
    """Let a failed instance go on past what it is stuck at: you vouch for it, it is not run again."""
    _act(context, instance, lambda handle: handle.skip(reason, step=step, result=result, by=_who()))


@sagas.command()
@click.argument("instance", metavar="ID")
@click.option("--reason", required=True, callback=_given, help="Why; kept in the history.")
@click.option("--step", help="Whose compensation, where several failed.")
@click.pass_context
def resolve(context: click.Context, instance: str, reason: str, step: str | None) -> None:
    """Let a failed instance go on past a compensation that you have done by hand."""
    _act(context, instance, lambda handle: handle.resolve(reason, step=step, by=_who()))


@sagas.command()
@click.argument("instance", metavar="ID")
@click.argument("name")
@click.option("--payload", callback=_mapping, help="JSON object that is merged into the saga's data.")
@click.option("--key", help="What tells it apart: a second one with the same key does nothing.")
@click.pass_context
def signal(context: click.Context, instance: str, name: str, payload: dict[str, Any] | None, key: str | None) -> None:
    """Send an instance the signal that it waits for, or will wait for."""
    _act(context, instance, lambda handle: handle.signal(name, payload, key=key, by=_who()))


@sagas.command()
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def manual(context: click.Context, limit: int, as_json: bool) -> None:
    """List what waits for a person: which instance, at which step or compensation, and why."""
    with told():
        found = bound(context)
        rows = found.engine.store.instances.newest(saga=None, status=SagaStatus.FAILED.value, limit=limit)
        for row in rows:
            for entry in _waiting_for_a_person(found.get(row.id)):
                if as_json:
                    click.echo(_json(entry))
                else:
                    click.echo("  ".join(str(value) for value in entry.values()))


def _waiting_for_a_person(handle: SagaHandle) -> Iterator[dict[str, Any]]:
    seen = handle.snapshot()
    for step in seen.needs_a_person:
        undo = step.compensation
        error = undo.error if undo else step.error
        yield {
            "id": seen.id,
            "saga": seen.saga,
            "key": seen.key or "-",
            "since": seen.finished_at and f"{seen.finished_at:%Y-%m-%d %H:%M:%S}",
            "what": f"compensation of {step.name}" if undo else f"step {step.name}",
            "error": f"{error.type}: {error.message}" if error else "-",
        }


@sagas.command()
@click.pass_context
def sweep(context: click.Context) -> None:
    """Run one pass of the sweep, now."""
    with told():
        click.echo(f"moved {bound(context).sweep()}")


@sagas.command()
@click.option("--older-than", required=True, callback=_duration, help="How long ago they ended: 30d, 12h, 8w.")
@click.option("--keep-keys", is_flag=True, help="Keep the mere rows that have business keys, which are not free then.")
@click.pass_context
def purge(context: click.Context, older_than: timedelta, keep_keys: bool) -> None:
    """Delete instances that ended completed or compensated long ago.

    Their business keys are free then: started again, they run again. Failed ones stay.
    """
    with told():
        click.echo(f"purged {bound(context).purge(older_than, keep_keys=keep_keys)}")


@sagas.command()
@click.pass_context
def check(context: click.Context) -> None:
    """Say what is dangerous in the app's settings and definitions, and why."""
    with told():
        found = findings(bound(context))
    for line in found:
        click.echo(line)
    if found:
        raise SystemExit(1)
    click.echo("nothing to say")


def meant(sagas: Sagas, name_or_id: str) -> Saga | SagaHandle:
    """The saga of the app that is called so, in its highest version; else the instance with this id.

    Raises:
        InstanceNotFound: there is neither; names the sagas that there are.
    """
    known = [saga for saga in declared() if isinstance(saga, Saga)]
    named = [saga for saga in known if saga.name == name_or_id]
    if named:
        return max(named, key=lambda saga: (_belongs(saga, sagas), saga.version))
    try:
        UUID(name_or_id)
    except ValueError:
        names = ", ".join(sorted({saga.name for saga in known if _belongs(saga, sagas)})) or "none"
        raise InstanceNotFound(
            f"{name_or_id!r} is neither the id of an instance nor a saga of this app; its sagas: {names}"
        ) from None
    return sagas.get(name_or_id)


def _belongs(saga: Saga, sagas: Sagas) -> bool:
    """A process may have several apps, each with sagas of its own."""
    try:
        saga.plan(sagas.engine)
    except SagaError:
        return False
    return True


def _act(context: click.Context, instance: str, do: Any) -> None:
    with told():
        handle = bound(context).get(instance)
        do(handle)
        click.echo(f"{handle.id} is {handle.status.value}")


def _as_dict(handle: SagaHandle) -> dict[str, Any]:
    seen = handle.snapshot(history=True)
    return {
        "id": seen.id,
        "saga": seen.saga,
        "version": seen.version,
        "key": seen.key,
        "status": seen.status,
        "data": seen.shown_data,
        "error": seen.error.to_json() if seen.error else None,
        "steps": [
            {
                "name": step.name,
                "status": step.status,
                "attempts": step.attempts,
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


def _json(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


def _who() -> str:
    try:
        # The environment may name somebody in another encoding.
        return getpass.getuser().encode(errors="replace").decode() or "operator"
    except (KeyError, OSError):
        return "operator"
