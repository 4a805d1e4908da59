"""The commands about dead letters of choreographies: `dead list`, `dead show`, `dead replay`, `dead skip`."""

import dataclasses
import json
from collections.abc import Sequence
from datetime import timedelta

import click

from sagas.cli.acting import REASON, who
from sagas.cli.columns import indented, moment
from sagas.cli.commands import bound_sagas, cli_errors, json_line, optional_duration, sagas
from sagas.handle import DeadLetter, LetterAnswer, LetterOutcome

LETTERS = click.argument("letters", metavar="ID…", nargs=-1, required=True)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")


@sagas.group()
def dead() -> None:
    """List and answer what was given up in choreographies."""


@dead.command("list")
@click.option("--choreography", help="Only those of this choreography.")
@click.option("--handler", help="Only those of this handler.")
@click.option("--error", help="Only those with an error of this type.")
@click.option("--older-than", callback=optional_duration, help="Only those given up so long ago: 30m, 12h, 8w.")
@click.option("--limit", default=100, show_default=True, help="How many.")
@AS_JSON
@click.pass_context
def list_(
    context: click.Context,
    choreography: str | None,
    handler: str | None,
    error: str | None,
    older_than: timedelta | None,
    limit: int,
    as_json: bool,
) -> None:
    """List dead letters, the oldest first: deliveries that were given up, and events that came too late."""
    with cli_errors():
        found = bound_sagas(context).dead_letters.list(
            choreography=choreography, handler=handler, error=error, older_than=older_than, limit=limit
        )
    for letter in found:
        click.echo(json_line(dataclasses.asdict(letter)) if as_json else _in_short(letter))
    if not found:
        click.echo("there are no dead letters", err=True)


@dead.command()
@click.argument("letter", metavar="ID")
@AS_JSON
@click.pass_context
def show(context: click.Context, letter: str, as_json: bool) -> None:
    """Show one dead letter with its event."""
    with cli_errors():
        found = bound_sagas(context).dead_letters.get(letter)
    if as_json:
        click.echo(json_line(dataclasses.asdict(found)))
        return
    click.echo(_in_short(found))
    click.echo(indented(f"event {found.event}"))
    click.echo(indented(json.dumps(found.payload, default=str, ensure_ascii=False)))
    if found.error is not None:
        click.echo(indented(found.error.traceback or str(found.error)))


@dead.command()
@LETTERS
@REASON
@AS_JSON
@click.pass_context
def replay(context: click.Context, letters: Sequence[str], reason: str, as_json: bool) -> None:
    """Deliver again, under the same key; later events of the run follow in their order."""
    with cli_errors():
        outcomes = bound_sagas(context).dead_letters.replay(letters, reason=reason, by=who())
    _tell(outcomes, as_json)


@dead.command()
@LETTERS
@REASON
@AS_JSON
@click.pass_context
def skip(context: click.Context, letters: Sequence[str], reason: str, as_json: bool) -> None:
    """Let go of letters: later events of the run pass, and an undo counts as done by hand."""
    with cli_errors():
        outcomes = bound_sagas(context).dead_letters.skip(letters, reason=reason, by=who())
    _tell(outcomes, as_json)


def _tell(outcomes: Sequence[LetterOutcome], as_json: bool) -> None:
    for outcome in outcomes:
        if as_json:
            click.echo(json_line(dataclasses.asdict(outcome)))
        else:
            click.echo(f"{outcome.id}  {outcome.answer.value}{': ' if outcome.reason else ''}{outcome.reason}")
    if any(outcome.answer is not LetterAnswer.DONE for outcome in outcomes):
        raise SystemExit(1)


def _in_short(letter: DeadLetter) -> str:
    what = "no handler" if letter.handler is None else f"{'undo of ' if letter.undo else ''}{letter.handler}"
    told = [f"{letter.kind.value}: {letter.choreography}/{what}, event {letter.number} {letter.type}"]
    told.append(f"since {moment(letter.dead_at)}")
    if letter.in_doubt:
        told.append("in doubt")
    if letter.held:
        told.append(f"holds {letter.held} later event{'s' if letter.held > 1 else ''}")
    lines = [letter.id, indented(", ".join(told))]
    if letter.error is not None:
        lines.append(indented(str(letter.error)))
    return "\n".join(lines)
