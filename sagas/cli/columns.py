"""The layout of lists on a terminal: in 80 columns, broken at words, with time zones in times."""

import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from sagas.model.payload import escaped
from sagas.store import MOST_COUNTED

WIDTH = 80
#: The shortest beginning of an id that lists show: its milliseconds, and some of its random part.
SHORT = 18


def short_ids(ids: Sequence[UUID]) -> dict[UUID, str]:
    """Return the beginnings of ids that tell them apart."""
    known = {*ids}
    for length in range(SHORT, 36):
        short = {id_: str(id_)[:length].rstrip("-") for id_ in known}
        if len({*short.values()}) == len(known):
            return short
    return {id_: str(id_) for id_ in known}


def moment(at: datetime | None) -> str:
    return "-" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def cut(text: str, width: int) -> str:
    """Return as much of a text as fits in a line, up to the end of a word."""
    text = escaped(text)
    if len(text) <= width:
        return text
    head = text[: width - 1]
    ends = [place for place, sign in enumerate(head) if not sign.isalnum()]
    return f"{head[: ends[-1]] if ends and ends[-1] >= width // 2 else head}…"


def indented(text: str, most: int = 3) -> str:
    """Indent a text below its entry, in a few lines at most."""
    return textwrap.fill(text, WIDTH, initial_indent="    ", subsequent_indent="    ", max_lines=most, placeholder=" …")


def more(count: int, after: str) -> str:
    """Return a line that says how many follow a page, and how to see them."""
    number = f"more than {MOST_COUNTED}" if count > MOST_COUNTED else str(count)
    return f"{number} more: --after={after}"
