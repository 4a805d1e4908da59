"""How long one execution may take: as long as its step says, or as its task's own limits say; pure arithmetic."""

from dataclasses import dataclass
from typing import Any

#: What a plan has for a step that says nothing. Then the task's own limits hold, or this where it has none; seconds.
UNSAID = 3600.0
#: Celery's hard limit ends the process this much after the soft one asked the body to stop, in seconds.
HARD_LIMIT_GRACE = 5.0
#: A task with a hard limit alone is asked to stop before it: by a tenth of it, within these bounds, in seconds.
SHORTEST_WARNING, LONGEST_WARNING = 1.0, 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one execution, as its row keeps them; in seconds.

    ``timeout`` is when its time is over. ``soft`` is when the body is asked to stop, where that is earlier.
    """

    timeout: float
    soft: float | None = None

    @property
    def for_body(self) -> float:
        """When Celery's ``SoftTimeLimitExceeded`` is raised in the body."""
        return self.timeout if self.soft is None else self.soft

    @property
    def for_process(self) -> float:
        """When the worker ends the process. A body that was asked to stop only now is given a moment to do so."""
        return self.timeout + HARD_LIMIT_GRACE if self.soft is None else self.timeout


def own_limits(soft: Any, hard: Any) -> Limits:
    """Those of a task, or of its app, for a step that does not say how long it may take.

    What they leave open is as it is without them: an hour, and a soft limit before every hard one.

    Args:
        soft: Celery's ``soft_time_limit``, in seconds; what is not a number above 0 is as good as none.
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
