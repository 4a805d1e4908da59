"""The application's own beat schedule; the library adds its sweep to it."""

from datetime import timedelta
from typing import Any, Final

AUDIT_EVERY: Final = timedelta(minutes=5)

BEAT_SCHEDULE: Final[dict[str, dict[str, Any]]] = {
    name: {
        "task": task,
        "schedule": AUDIT_EVERY,
        # After the workers were away, one audit is as good as twenty. (Never give a saga's step an expiry.)
        "options": {"expires": AUDIT_EVERY.total_seconds()},
    }
    for name, task in (
        ("audit-books", "config.demo.audits.audit_books"),
        ("audit-trips", "config.demo.audits.audit_trips"),
    )
}
