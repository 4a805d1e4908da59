"""The commands about dead letters of choreographies: `dead list`, `show`, `replay`, `edit`, `skip` and `resume`."""

import dataclasses
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, TextIO

import click

from sagas.cli.acting import REASON, who
from sagas.cli.columns import indented, moment
from sagas.cli.commands import bound_sagas, cli_errors, json_line, optional_duration, sagas
from sagas.cli.lists import print_remainder
from sagas.cli.saying import say
from sagas.errors import SagaError
from sagas.handle import DeadLetter, DeadLetters, LetterAnswer, LetterKind, LetterOutcome
from sagas.handle.dead_letters import MOST_LETTERS
from sagas.model import payload
from sagas.store import MOST_COUNTED

LETTERS = click.argument("letters", metavar="ID…", nargs=-1, required=True)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")


@sagas.group()
def dead() -> None:
    """List and answer dead letters of choreographies."""


def filtered(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which letters are meant."""
    for option in (
        click.option("--older-than", callback=optional_duration, help="Only those given up longer ago: 30m, 12h, 8w."),
        click.option("--error", help="Only those with an error of this type."),
        click.option("--handler", help="Only those of this handler."),
        click.option("--choreography", help="Only those of this choreography."),
    ):
        command = option(command)
    return command


@dead.command("list")
@filtered
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, MOST_LETTERS), help="How many.")
@click.option("--after", help="Where the previous page ended, as printed there.")
@AS_JSON
@click.pass_context
def list_(context: click.Context, /, as_json: bool, limit: int, after: str | None, **asked: Any) -> None:
    """List dead letters, the oldest first: deliveries that were given up, and events that came too late."""
    with cli_errors():
        letters = bound_sagas(context).dead_letters
        page = letters.list(limit=limit, after=after, **asked)
        left = letters.left_after(page, most=MOST_COUNTED + 1, **asked)
    for letter in page:
        say(json_line(dataclasses.asdict(letter)) if as_json else _in_short(letter))
    print_remainder("there are no dead letters", page, left, page.after)


@dead.command()
@click.argument("letter", metavar="ID")
@AS_JSON
@click.pass_context
def show(context: click.Context, letter: str, as_json: bool) -> None:
    """Show one dead letter with its event."""
    with cli_errors():
        found = bound_sagas(context).dead_letters.get(letter)
    if as_json:
        say(json_line(dataclasses.asdict(found)))
        return
    say(_in_short(found))
    say(indented(f"event {found.event}, version {found.version}"))
    say(f"    {payload.dumps(found.payload, found.id)}")  # in one line, as `dead edit` takes it
    if found.error is not None:
        say(textwrap.indent((found.error.traceback or str(found.error)).rstrip(), "    "))


@dead.command()
@click.argument("letters", metavar="[ID…]", nargs=-1)
@filtered
@click.option("--to", metavar="HANDLER", help="For late events: the handler that gets each of them, once.")
@REASON
@AS_JSON
@click.pass_context
def replay(
    context: click.Context, /, letters: Sequence[str], to: str | None, reason: str, as_json: bool, **asked: Any
) -> None:
    """Deliver again, under the same key; later events of the run follow in their order.

    An event that came after the end of its run is delivered to the handler that --to names, and the run stays as it is.

    Name letters by their ids, or all that some filters find now: letters that are added meanwhile are not touched.
    """
    if bool(letters) == any(asked.values()):
        raise click.UsageError("pass ids, or filters such as --handler, and not both")
    with cli_errors():
        answers = bound_sagas(context).dead_letters
        sets = [letters] if letters else pages(answers, asked)
        outcomes = [outcome for some in sets for outcome in answers.replay(some, to=to, reason=reason, by=who())]
    _tell(outcomes, as_json)


def pages(letters: DeadLetters, asked: dict[str, Any]) -> list[Sequence[DeadLetter]]:
    """Return all letters that the filters find now."""
    found = [letters.list(limit=MOST_LETTERS, **asked)]
    while found[-1].after is not None:
        found.append(letters.list(limit=MOST_LETTERS, after=found[-1].after, **asked))
    return [*found]


@dead.command()
@click.argument("letter", metavar="ID")
@click.option("--payload", "given", help="The event's fields as JSON, as `dead show` prints them.")
@click.option("--payload-file", "file", type=click.File("r", encoding="utf-8"), help="The same in a file; - for stdin.")
@click.option("--vouch", is_flag=True, help="You know that a delivery in doubt did not happen, or was undone by hand.")
@REASON
@AS_JSON
@click.pass_context
def edit(
    context: click.Context,
    letter: str,
    given: str | None,
    file: TextIO | None,
    vouch: bool,
    reason: str,
    as_json: bool,
) -> None:
    """Deliver again with another payload, under a key of its own; the event stays as it is."""
    if (given is None) == (file is None):
        raise click.UsageError("pass --payload or --payload-file")
    text = given if file is None else read_text(file)
    with cli_errors():
        outcome = bound_sagas(context).dead_letters.edit(
            letter, _fields(text or ""), reason=reason, vouch="not done" if vouch else None, by=who()
        )
    _tell([outcome], as_json)


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


@dead.command()
@click.argument("handler", metavar="CHOREOGRAPHY/HANDLER")
@REASON
@AS_JSON
@click.pass_context
def resume(context: click.Context, handler: str, reason: str, as_json: bool) -> None:
    """Let a paused handler go on, with the deliveries that wait for it."""
    choreography, slash, name = handler.partition("/")
    if not (choreography and slash and name):
        raise click.BadParameter(f"{handler!r} is not CHOREOGRAPHY/HANDLER, as `sagas standing` prints it")
    with cli_errors():
        was_paused = bound_sagas(context).dead_letters.resume(choreography, name, reason=reason, by=who())
    say(json_line({"resumed": was_paused}) if as_json else "resumed" if was_paused else f"{handler} is not paused")
    if not was_paused:
        raise SystemExit(1)


def read_text(file: TextIO) -> str:
    try:
        return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{file.name}: {error}", param_hint="'--payload-file'") from error


def _fields(text: str) -> Any:
    """Return what `dead show` prints, with the types that JSON lacks."""
    try:
        return payload.loads(text)
    except (ValueError, ArithmeticError, AttributeError, TypeError, LookupError, RecursionError, SagaError) as error:
        raise click.BadParameter(f"not valid JSON: {error}", param_hint="'--payload'") from error


def _tell(outcomes: Sequence[LetterOutcome], as_json: bool) -> None:
    for outcome in outcomes:
        if as_json:
            say(json_line(dataclasses.asdict(outcome)))
        else:
            say(f"{outcome.id}  {outcome.answer.value}{': ' if outcome.reason else ''}{outcome.reason}")
    if any(outcome.answer is not LetterAnswer.DONE for outcome in outcomes):
        raise SystemExit(1)


def _in_short(letter: DeadLetter) -> str:
    what = "no handler" if letter.handler is None else f"{'undo of ' if letter.undo else ''}{letter.handler}"
    facts = [f"{letter.kind.value}: {letter.choreography}/{what}, event {letter.number or ''} {letter.type}"]
    if letter.kind is LetterKind.EARLY:
        facts = [f"early: {letter.type} for {letter.choreography}/{letter.key or letter.run}, no such run"]
    facts.append(f"since {moment(letter.dead_at)}")
    if letter.in_doubt:
        facts.append("in doubt")
    if letter.edits:
        facts.append(f"edited {letter.edits} time{'s' if letter.edits > 1 else ''}")
    if letter.held:
        facts.append(f"holds {letter.held} later event{'s' if letter.held > 1 else ''}")
    lines = [letter.id, indented(", ".join(facts))]
    if letter.error is not None:
        lines.append(indented(str(letter.error)))
    return "\n".join(lines)
