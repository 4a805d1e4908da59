"""The command that counts, from the history, attempts that were in doubt or would be by today's rule."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import click
from sqlalchemy import Row

from sagas.cli.columns import moment
from sagas.cli.commands import bound_store, cli_errors, duration, json_line, sagas
from sagas.cli.saying import say
from sagas.definition import Saga
from sagas.definition.clean import loaded
from sagas.engine import declared
from sagas.errors import PermanentError


@sagas.command()
@click.option(
    "--since", default="30d", show_default=True, callback=duration, help="How far to look back: 30d, 12h, 8w."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.pass_context
def doubtful(context: click.Context, since: timedelta, as_json: bool) -> None:
    """Count the failed attempts of actions that left them in doubt, by step and error; pivots first.

    Attempts judged by an older release, which took every unknown error for a clean no, are counted by today's rule,
    unless the error is a PermanentError or the step now names it as clean. Name the errors by which a service refuses
    with clean=(…).
    """
    with cli_errors():
        rows = bound_store(context).doubts.count(since)
    found = list(counted(rows))
    if not found:
        say("no failed attempt has left an action in doubt", err=True)
    for row in found:
        if as_json:
            entry = dict(row._mapping) | {"doubt": "would be" if row.is_former else "is"}
            del entry["is_former"]
            say(json_line(entry))
        else:
            say(
                f"{row.kind or '-':<13}  {row.saga}/{row.step}  {row.type} ({row.verdict})  {row.failures} "
                f"failure{'s' if row.failures > 1 else ''} in {row.instances} saga{'s' if row.instances > 1 else ''}, "
                f"the last {moment(row.last_at)}  {'would be' if row.is_former else 'is'} in doubt"
            )


def counted(rows: Any) -> Iterator[Row[Any]]:
    """Leave out the errors that an older release called clean and that still are."""
    return (row for row in rows if not (row.is_former and is_named(row.saga, row.step, row.type)))


def is_named(saga: str, step: str, name: str) -> bool:
    """Return whether an error is clean by its class, as far as this process has it; nothing is imported for this."""
    named: list[str | type] = [PermanentError]
    for definition in declared():
        if isinstance(definition, Saga) and definition.name == saga:
            named += definition.clean_errors(step)
    kind = loaded(name)
    known = tuple(one for one in (loaded(one) if isinstance(one, str) else one for one in named) if one is not None)
    return name in named or (kind is not None and issubclass(kind, known))
