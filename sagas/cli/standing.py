"""The command `standing`: how each choreography stands."""

import dataclasses

import click

from sagas.cli.columns import indented, moment
from sagas.cli.commands import bound_sagas, cli_errors, json_line, sagas
from sagas.cli.saying import say
from sagas.handle import Standing
from sagas.handle.standing import MANY_EVENTS


@sagas.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.pass_context
def standing(context: click.Context, as_json: bool) -> None:
    """Show how each choreography stands: quiet runs, dead letters, what is held and since when."""
    with cli_errors():
        found = bound_sagas(context).standing()
    for each in found:
        say(json_line(dataclasses.asdict(each)) if as_json else _in_words(each))
    if not found:
        say("no worker has registered a choreography", err=True)


def _in_words(each: Standing) -> str:
    dead = f", the oldest since {moment(each.oldest_letter)}" if each.oldest_letter else ""
    held = f", the oldest since {moment(each.oldest_held)}" if each.oldest_held else ""
    facts = [
        f"{each.quiet} quiet, {each.long_runs} with {MANY_EVENTS:,} events or more",
        f"{each.dead_letters} dead letter{'' if each.dead_letters == 1 else 's'}{dead}",
        f"{each.held} held{held}",
    ]
    facts += [
        f"{each.choreography}/{one.handler} is paused since {moment(one.since)}, for {one.error}; one delivery is "
        f"tried at {moment(one.until)}"
        for one in each.paused
    ]
    return "\n".join([each.choreography, *map(indented, facts)])
