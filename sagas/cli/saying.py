"""Print for people and programs, whatever the data holds and whatever the terminal can show."""

import codecs
import json
import sys

import click

from sagas.model.payload import escaped

#: An error handler of codecs: what an encoding lacks becomes JSON's escape, valid in a line of JSON too.
_AS_ESCAPES = "sagas.as_escapes"


def say(text: str, *, err: bool = False) -> None:
    """Print lines. What a terminal would obey, or cannot show in its encoding, is printed as an escape."""
    encoding = (sys.stderr if err else sys.stdout).encoding or "utf-8"  # a StringIO has none
    lines = "\n".join(map(escaped, text.split("\n")))
    click.echo(lines.encode(encoding, _AS_ESCAPES).decode(encoding), err=err)


def _escapes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error(_AS_ESCAPES, _escapes)
