"""How long one execution may take, as its step or its task's own limits say; pure arithmetic."""

from dataclasses import dataclass
from typing import Any

#: The timeout of a step that declares none: then the task's own limits apply, or this if it has none; in seconds.
UNSAID = 3600.0
#: Celery's hard limit ends the process this much later than the soft limit asks the body to stop, in seconds.
HARD_LIMIT_GRACE = 5.0
#: A task that has only a hard limit is asked to stop before it: by a tenth of it, within these bounds, in seconds.
SHORTEST_WARNING, LONGEST_WARNING = 1.0, 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one execution, as its row keeps them; in seconds.

    ``timeout`` is when its time is over. ``soft`` is when the body is asked to stop, if that is earlier.
    """

    timeout: float
    soft: float | None = None

    @property
    def for_body(self) -> float:
        """When Celery's ``SoftTimeLimitExceeded`` is raised in the body."""
        return self.timeout if self.soft is None else self.soft

    @property
    def for_process(self) -> float:
        """When the worker ends the process. A body that is asked to stop only now gets a moment to do so."""
        return self.timeout + HARD_LIMIT_GRACE if self.soft is None else self.timeout


def own_limits(soft: Any, hard: Any) -> Limits:
    """Return the limits of a task, or of its app, for a step that declares none.

    A limit that is missing has its default: an hour, and a soft limit before every hard one.

    Args:
        soft: Celery's ``soft_time_limit``, in seconds; a value that is not a number above 0 counts as missing.
        hard: Celery's ``time_limit``.
    """
    soft, hard = _seconds(soft), _seconds(hard)
    if hard is None:
        if soft is None or soft + HARD_LIMIT_GRACE > UNSAID:
            return Limits(soft or UNSAID)
        return Limits(UNSAID, soft)
    if soft is None or soft >= hard:
        soft = hard - min(max(hard / 10, SHORTEST_WARNING), LONGEST_WARNING, hard / 2)
    return Limits(hard, soft)


def _seconds(declared: Any) -> float | None:
    if isinstance(declared, bool) or not isinstance(declared, int | float) or not 0 < declared < float("inf"):
        return None
    return float(declared)
