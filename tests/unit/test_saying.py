"""What the command line prints, whatever the data holds and wherever it goes."""

import io
from contextlib import redirect_stdout

import pytest

from sagas.cli.saying import say


def printed(text: str, encoding: str) -> str:
    raw = io.BytesIO()
    with redirect_stdout(io.TextIOWrapper(raw, encoding)) as stream:
        say(text)
        stream.flush()
    return raw.getvalue().decode(encoding)


def test_lines_stay_lines() -> None:
    assert printed("one\ntwo", "utf-8") == "one\ntwo\n"


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("utf-8", "3 € to Zoë"), ("latin-1", r"3 \u20ac to Zoë"), ("ascii", r"3 \u20ac to Zo\u00eb")],
)
def test_a_sign_that_the_encoding_lacks_is_an_escape(encoding: str, shown: str) -> None:
    assert printed("3 € to Zoë", encoding) == shown + "\n"


def test_what_a_terminal_would_obey_is_an_escape() -> None:
    assert printed("\x1b[2J", "utf-8") == "\\u001b[2J\n"


def test_a_stream_without_an_encoding_takes_all_signs() -> None:
    stream = io.StringIO()

    with redirect_stdout(stream):
        say("3 €")

    assert stream.getvalue() == "3 €\n"
