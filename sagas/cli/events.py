"""The command `events`: the catalogue, and what a change of it breaks."""

import json
from typing import TextIO

import click

from sagas.choreography.catalogue import CatalogueEntry, stored
from sagas.cli.columns import indented
from sagas.cli.commands import bound_sagas, cli_errors, json_line, sagas
from sagas.cli.saying import say


@sagas.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--write", "written", type=click.File("w", encoding="utf-8", lazy=True), help="Write it to this file.")
@click.option(
    "--check",
    "baseline",
    type=click.File(encoding="utf-8"),
    help="Exit with 1 if a change breaks the one in this file.",
)
@click.pass_context
def events(context: click.Context, as_json: bool, written: TextIO | None, baseline: TextIO | None) -> None:
    """List the events of all choreographies: which handlers publish, hear and are undone by each.

    A catalogue that was written can be checked later: a field that was removed or has another type without an upcaster,
    a version that is gone, and a handler that no longer hears an event are breaking changes.
    """
    with cli_errors():
        found = bound_sagas(context).events
        entries = found.catalogue()
        changes = found.breaking_changes(baseline.read()) if baseline else []
    if written:
        written.write(json.dumps(stored(entries), indent=2, ensure_ascii=False) + "\n")
    if baseline:
        for change in changes:
            say(change)
        if changes:
            raise SystemExit(1)
        say("no breaking changes")
    elif as_json:
        say(json_line(stored(entries)))
    elif not written:
        for entry in entries:
            say(_in_words(entry))
        if not entries:
            say("no choreography names an event", err=True)


def _in_words(entry: CatalogueEntry) -> str:
    versions = (
        f"v{entry.version}" if entry.reads_from == entry.version else f"v{entry.version}, reads v{entry.reads_from} on"
    )
    roles = (
        ("starts", entry.starts),
        ("ends", entry.ends),
        ("turns back", entry.refuses),
        ("awaited by", entry.awaits),
        ("published at a cancel of", entry.on_cancel),
        ("published by", entry.published_by),
        ("heard by", entry.heard_by),
        ("undoes", entry.undoes),
    )
    lines = [f"{entry.type} ({versions})"]
    lines += [indented(f"{role} {', '.join(names)}", most=20) for role, names in roles if names]
    return "\n".join(lines)
