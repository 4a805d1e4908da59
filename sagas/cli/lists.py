"""The commands that list: the newest instances, and those that wait for a person."""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import click

from sagas.cli.columns import cut, indented, moment, more, short_ids
from sagas.cli.commands import bound_sagas, bound_store, cli_errors, json_line, optional_duration, sagas
from sagas.cli.saying import say
from sagas.errors import RowDamaged
from sagas.extension import Sagas
from sagas.handle import InstanceView, SagaHandle, left_after
from sagas.model import SagaStatus
from sagas.store import MOST_COUNTED


@sagas.command(name="list")
@click.option("--saga", help="Only instances of this saga.")
@click.option("--status", type=click.Choice([status.value for status in SagaStatus]), help="Only this status.")
@click.option("--key", help="Only instances with this business key.")
@click.option("--step", help="Only those at this step: they wait there, run it, or failed with it.")
@click.option("--text", help="Only those whose key begins with this, or whose error has words that do.")
@click.option("--older-than", callback=optional_duration, help="Only those started longer ago than this: 30d, 12h.")
@click.option("--quiet", is_flag=True, help="Only choreographed runs that stand still.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--after", help="Where the previous page ended, as printed there.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.pass_context
def list_instances(context: click.Context, /, as_json: bool, limit: int, after: str | None, **asked: Any) -> None:
    """List the newest instances. The other commands take the beginnings of their ids."""
    with cli_errors():
        found = bound_sagas(context)
        page = found.list(limit=limit, after=after, **asked)
        left = left_after(bound_store(context).listing, page, most=MOST_COUNTED + 1, **asked)
    short = short_ids([run.id for run in page])
    for run in page:
        say(json_line(_as_row(run)) if as_json else _as_line(run, short))
    print_remainder("no instance" + (" fits" if any(asked.values()) else ""), page, left, page.after)


@sagas.command()
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--after", help="Where the previous page ended, as printed there.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.pass_context
def manual(context: click.Context, limit: int, after: str | None, as_json: bool) -> None:
    """List what waits for a person: the instance, the step or compensation, and why."""
    with cli_errors():
        found = bound_sagas(context)
        page = found.list(needs_person=True, limit=limit, after=after)
        left = left_after(bound_store(context).listing, page, most=MOST_COUNTED + 1, needs_person=True)
        entries = [entry for run in page for entry in _waiting_for_a_person(found, run)]
    short = short_ids([entry["id"] for entry in entries])
    for entry in entries:
        say(json_line(entry) if as_json else _in_words(entry, short))
    print_remainder("nothing waits for a person", entries, left, page.after)


def print_remainder(nothing: str, shown: Sequence[Any], left: int, after: str | None) -> None:
    """Say how to go on, on stderr: the list itself stays a list."""
    if after is not None:
        say(more(left, after), err=True)
    elif not shown:
        say(nothing, err=True)


def _as_row(run: InstanceView) -> dict[str, Any]:
    return {
        "id": run.id,
        "saga": run.saga,
        "version": run.version,
        "key": run.key,
        "status": run.status,
        "created_at": run.started_at,
        "finished_at": run.finished_at,
    }


def _as_line(run: InstanceView, short: dict[UUID, str]) -> str:
    what = cut(f"{run.saga}/{run.key}" if run.key else run.saga, 21)
    return f"{short[run.id]:<18}  {run.status:<12}  {what:<21}  {moment(run.started_at)}"


def _waiting_for_a_person(sagas: Sagas, run: InstanceView) -> Iterator[dict[str, Any]]:
    """Yield what a person has to look at in an instance, and the reason why it cannot be read, if it cannot."""
    try:
        entries = list(_steps_that_wait(SagaHandle(sagas.engine, run.id)))
        why = run.unreadable  # perhaps only to a worker of another release
    except RowDamaged as error:
        entries, why = [], str(error)
    yield from entries
    if why is not None:
        yield {
            "id": run.id,
            "saga": run.saga,
            "key": run.key,
            "since": run.unreadable_at or run.finished_at,
            "what": "its rows",
            "error": why,
            "in_doubt": False,
        }


def _steps_that_wait(handle: SagaHandle) -> Iterator[dict[str, Any]]:
    seen = handle.snapshot()
    for step in seen.needs_a_person:
        child_note = f"its child saga waits for a person: {', '.join(map(str, seen.waits_below))}"
        yield {
            "id": seen.id,
            "saga": seen.saga,
            "key": seen.key,
            "since": seen.finished_at,
            "what": step.called,
            "error": child_note if seen.waits_below else str(step.last_error) if step.last_error else None,
            "in_doubt": step.in_doubt,
        }


def _in_words(entry: dict[str, Any], short: dict[UUID, str]) -> str:
    what = f"{entry['saga']}/{entry['key']}" if entry["key"] else entry["saga"]
    since = f"since {moment(entry['since'])}" if entry["since"] else "still runs"
    doubt = " (in doubt)" if entry["in_doubt"] else ""
    why = f": {entry['error']}" if entry["error"] else ""
    head = f"{short[entry['id']]:<18}  {cut(what, 29):<29}  {since}"
    return f"{head}\n{indented(entry['what'] + doubt + why)}"
