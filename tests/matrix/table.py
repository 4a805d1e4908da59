"""The table that a run of the matrix prints, and the list of its rows."""

from collections.abc import Sequence

from tests.matrix.rows import LOCKED, Row
from tests.matrix.running import Result

AXES = ("Python", "Celery", "kombu", "SQLAlchemy", "Django", "driver", "PostgreSQL")


def table(results: Sequence[Result], parts: Sequence[str]) -> str:
    """Return what became of the rows, as Markdown."""
    head = ["row", *AXES, *parts, "seconds"]
    lines = [head, *(_line(result, parts) for result in results)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(head))]
    written = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    absent = [f"{result.row.name} is not here: {result.absent}." for result in results if result.absent is not None]
    return "\n".join([written[0], rule, *written[1:], *(["", *absent] if absent else [])])


def listing(rows: Sequence[Row]) -> str:
    """Return the rows with their pins, one each."""
    width = max(len(row.name) for row in rows)
    return "\n".join(
        f"{row.name:<{width}}  {row.why}\n"
        f"{'':<{width}}  Python {row.python}, PostgreSQL {row.postgres}, {row.driver}: "
        f"{' '.join(row.pins) or 'requirements.lock'}"
        for row in rows
    )


def _line(result: Result, parts: Sequence[str]) -> list[str]:
    row, found = result.row, result.versions
    package = {"psycopg2": "psycopg2-binary"}.get(row.driver, row.driver)
    axes = [row.python]
    for name in ("celery", "kombu", "sqlalchemy", "django"):
        pinned = getattr(row, name)
        axes.append(found.get(name) or ("newest" if pinned == LOCKED else pinned))
    axes += [f"{row.driver} {found[package]}" if package in found else row.driver, row.postgres]
    said = ["not here" if result.absent is not None else result.parts.get(name, "–") for name in parts]
    return [row.name, *axes, *said, f"{result.seconds:.0f}"]
