"""A plugin that says in a run which `sagas` it was about: the copy's, or it proves nothing."""

from typing import Any

import sagas

SAYS = "these tests were about "


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_line(f"{SAYS}{sagas.__file__}")
