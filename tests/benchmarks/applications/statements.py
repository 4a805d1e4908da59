"""How many statements a process has sent, in a file of its own that outlives it, however it ends.

For servers that cannot tell: pg_stat_statements is an extension that many lack.
"""

import mmap
import os
import struct
from itertools import count
from pathlib import Path
from typing import Any

from psycopg2.extensions import cursor

from sagas.store.database import CONNECT

#: The directory of the files.
VARIABLE = "SAGAS_BENCH_STATEMENTS"
NUMBER = struct.Struct("<Q")


class Counter:
    """Counts what this process sends; a child of a fork counts anew."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pid = 0

    def note(self) -> None:
        if self._pid != os.getpid():
            self._begin()
        NUMBER.pack_into(self._kept, 0, next(self._sent))

    def _begin(self) -> None:
        self._pid, self._sent = os.getpid(), count(1)
        path = self._directory / f"{self._pid}.statements"
        path.write_bytes(bytes(NUMBER.size))
        with path.open("r+b") as file:
            self._kept = mmap.mmap(file.fileno(), NUMBER.size)


def sent(directory: Path) -> int:
    """What all processes together have sent so far."""
    return sum(NUMBER.unpack(path.read_bytes())[0] for path in directory.glob("*.statements"))


def count_what_is_sent() -> None:
    """By this process and its children, if anybody wants to know.

    The driver counts: a listener of SQLAlchemy's would make the hot statements pass through it.
    """
    if VARIABLE not in os.environ:
        return
    counter = Counter(Path(os.environ[VARIABLE]))

    class CountedCursor(cursor):
        def execute(self, *given: Any) -> None:
            counter.note()
            super().execute(*given)

    CONNECT["cursor_factory"] = CountedCursor
