"""What the application itself asks beat to do; the library adds its sweep by itself."""

from datetime import timedelta
from typing import Any, Final

AUDIT_EVERY: Final = timedelta(minutes=5)

BEAT_SCHEDULE: Final[dict[str, dict[str, Any]]] = {
    name: {
        "task": task,
        "schedule": AUDIT_EVERY,
        # After a worker's absence one audit is as good as twenty. (Never give a saga's step an expiry.)
        "options": {"expires": AUDIT_EVERY.total_seconds()},
    }
    for name, task in (("audit-books", "tasks.orders.audit_books"), ("audit-trips", "tasks.travel.audit_trips"))
}
