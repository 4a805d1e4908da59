"""Failed attempts that left their actions in doubt, counted from the history."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Row

from sagas.model.retry import PERMANENT, Verdict
from sagas.store import neighbour_statements
from sagas.store.book import InSchema


class Doubts(InSchema):
    """Statements about actions in doubt."""

    def count(self, since: timedelta) -> Sequence[Row[Any]]:
        """Count failures of actions in a recent time that were not clean, or that a former release took for clean.

        Each row has ``saga``, ``step``, its ``kind``, ``verdict``, ``type`` (of the error), ``is_former``,
        ``failures``, ``instances`` and ``last_at``; pivots come first.
        """
        given = {"since": since, "clean_no": Verdict.CLEAN_NO.value, "permanent": PERMANENT}
        with self._database.autocommit() as connection:
            return connection.execute(self._sql(neighbour_statements.COUNT_DOUBTS), given).all()
