"""The audits that beat starts: ordinary periodic tasks, and no steps."""

import logging
from collections.abc import Iterable
from datetime import timedelta

from celery import shared_task

from config.demo import books, travel_books
from config.demo.books import Violation
from tasks.services.database import engine

logger = logging.getLogger(__name__)

#: Orders and trips that have not moved for this long should have ended.
QUIET = timedelta(minutes=15)


@shared_task
def audit_books() -> int:
    """Log what does not add up in the shop's books; return how many things do not."""
    return _logged(books.audit(engine(), quiet=QUIET).violations)


@shared_task
def audit_trips() -> int:
    """Log what does not add up in the trips' books; return how many things do not."""
    return _logged(travel_books.audit(engine(), quiet=QUIET).violations)


def _logged(violations: Iterable[Violation]) -> int:
    found = list(violations)
    for violation in found:
        logger.error("books.violation", extra={"kind": violation.kind, "subject": violation.subject})
    return len(found)
