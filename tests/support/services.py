"""Shared by tests of the example services: many callers at one moment, damage, and the books' verdict on it."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import text

from config.demo import faults
from config.demo.books import Violation
from tasks.services.database import transaction

faults.install()


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Make each call in its own thread, all at one moment; return errors instead of raising them."""
    start = threading.Barrier(len(calls))

    def make(call: Callable[[], Any]) -> Any:
        start.wait()
        try:
            return call()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(make, calls))


def execute(*statements: str) -> None:
    """Change the tables past the services."""
    with transaction() as connection:
        for statement in statements:
            connection.execute(text(statement))


def kinds(violations: Iterable[Violation]) -> set[str]:
    """Return the kinds of violations."""
    return {violation.kind for violation in violations}
