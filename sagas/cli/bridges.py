"""The commands about bridges to other services: `bridge run`, `list`, `show`, `skip`, `done` and `resend`."""

import signal
import threading
from typing import Any
from uuid import UUID

import click

from sagas.bridges import Bridge, Station, bridge_named, bridges
from sagas.bridges.acting import entries_of, standing
from sagas.bridges.receiving import Receiver
from sagas.cli.columns import moment
from sagas.cli.commands import bound_sagas, bound_store, cli_errors, json_line, sagas
from sagas.cli.finding import instance_of
from sagas.cli.saying import say

NAME = click.argument("name", metavar="NAME")

AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")


@sagas.group()
def bridge() -> None:
    """Run the bridges to other services, and see how they stand."""


@bridge.command("run")
@NAME
@click.pass_context
def run_(context: click.Context, name: str) -> None:
    """Send and receive the events of a bridge until SIGTERM or SIGINT. Several processes may do so."""
    with cli_errors():
        engine, found = bound_sagas(context).engine, _known(context, name)
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        say(f"bridge {name} runs", err=True)
        Station(engine, found).run(stop)


@bridge.command("list")
@AS_JSON
@click.pass_context
def list_(context: click.Context, as_json: bool) -> None:
    """List the bridges: what leaves, what waits, what was refused, and whether the broker is away."""
    with cli_errors():
        store = bound_store(context)
        context.obj.app.loader.import_default_modules()
        found = standing(store.bridges, [one.name for one in bridges()])
    for one in found:
        say(json_line(one) if as_json else _in_short(one))
    if not found:
        say("no bridge is declared in the modules that this app imports", err=True)


@bridge.command()
@NAME
@click.option("--limit", default=100, show_default=True, help="How many.")
@AS_JSON
@click.pass_context
def show(context: click.Context, name: str, limit: int, as_json: bool) -> None:
    """Show what came by a bridge and was refused, and what waits for an earlier one."""
    with cli_errors():
        found = entries_of(
            bound_store(context).bridges, bound_sagas(context).engine.secrecy, _known(context, name).name, limit
        )
    for entry in found:
        say(json_line(entry) if as_json else _entry_line(entry))
    if not found:
        say("nothing was refused, and nothing waits", err=True)


@bridge.command()
@NAME
@click.argument("run", metavar="RUN", type=click.UUID)
@click.pass_context
def skip(context: click.Context, name: str, run: UUID) -> None:
    """Give up a lost event of a RUN of the other side, so that the events that wait for it go on."""
    with cli_errors():
        index = Receiver(bound_sagas(context).engine, _known(context, name)).skip_missing(run)
        if index is None:
            raise click.ClickException(
                f"nothing of run {run} waits: pass the id of the other side's run, as `bridge show {name}` prints it"
            )
    say(f"index {index} of run {run} is skipped")


@bridge.command()
@NAME
@click.argument("event", metavar="EVENT", type=click.UUID)
@click.pass_context
def done(context: click.Context, name: str, event: UUID) -> None:
    """Record that a refused EVENT was dealt with."""
    with cli_errors():
        if not bound_store(context).bridges.acknowledge(_known(context, name).name, event):
            raise click.ClickException(
                f"no event {event} waits for an answer: pass the id of a refused one, as `bridge show {name}` prints it"
            )
    say(f"event {event} was dealt with")


@bridge.command()
@NAME
@click.argument("run", metavar="ID")
@click.pass_context
def resend(context: click.Context, name: str, run: str) -> None:
    """Send again all events of a run that left by a bridge. The other side ignores those that it has.

    ID may be the beginning of one, or CHOREOGRAPHY/KEY.
    """
    with cli_errors():
        store, known = bound_store(context), _known(context, name)
        handle = instance_of(bound_sagas(context), store.instances, run)
        sent = store.bridges.send_again(known.name, handle.id)
    say(f"{sent} to be sent again")


def _known(context: click.Context, name: str) -> Bridge:
    context.obj.app.loader.import_default_modules()
    return bridge_named(name)


def _in_short(one: dict[str, Any]) -> str:
    facts = [f"{one['leaving']} to leave" + (f" since {moment(one['leaving_since'])}" if one["leaving"] else "")]
    facts.append(f"{one['held']} waiting" + (f" since {moment(one['held_since'])}" if one["held"] else ""))
    facts.append(f"{one['refused']} refused")
    if one["dropped"]:
        facts.append(f"{one['dropped']} dropped, last at {moment(one['dropped_at'])}: {one['dropped_for']}")
    if one["error"]:
        facts.append(f"closed until {moment(one['closed_until'])}: {one['error']}")
    return f"{one['name']}: {'; '.join(facts)}"


def _entry_line(entry: dict[str, Any]) -> str:
    why = entry["refused"] or f"waits for index {entry['waits_for']}"
    place = "" if entry["index"] is None else f"  index {entry['index']} of run {entry['run_there']}"
    return f"{entry['event']}  {moment(entry['received_at'])}{place}  {why}"
