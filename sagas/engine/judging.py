"""What an exception says about the effect of the body that raised it."""

import traceback
from dataclasses import dataclass
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from celery.exceptions import Ignore, Reject, Retry

from sagas.model import ErrorInfo, RetryPolicy, Verdict
from sagas.model.secrecy import Redact

LONGEST_TRACEBACK = 20_000
LONGEST_MESSAGE = 4_000
#: A service may ask for patience, not for a saga's retirement; seconds.
LONGEST_RETRY_AFTER = 3600.0


@dataclass(frozen=True, slots=True)
class Judgement:
    error: ErrorInfo
    verdict: Verdict
    retry_after: float = 0.0


def judge(error: BaseException, policy: RetryPolicy, step: str, redact: Redact = str) -> Judgement:
    """Classify what a body raised, by the policy; the text and the traceback are kept, without the secrets in them."""
    if isinstance(error, Retry):
        # The body called self.retry(): its wish is honoured, by our counters.
        cause = error.exc if isinstance(error.exc, BaseException) else error
        when = error.when if isinstance(error.when, int | float) else 0.0
        return Judgement(
            describe(cause, step, redact), Verdict.RETRYABLE, max(0.0, min(float(when), LONGEST_RETRY_AFTER))
        )
    info = describe(error, step, redact)
    if isinstance(error, SoftTimeLimitExceeded | TimeLimitExceeded):
        return Judgement(info, Verdict.TIMEOUT)
    if not isinstance(error, Exception):
        # SystemExit, KeyboardInterrupt, a greenlet's exit; gevent's time limit is a BaseException too.
        return Judgement(info, Verdict.TIMEOUT if type(error).__name__ == "Timeout" else Verdict.INTERRUPTED)
    if isinstance(error, Ignore | Reject):
        # Not an answer: Celery would end the chain without a word, and nobody knows what the body did.
        return Judgement(info, Verdict.UNUSABLE)
    if isinstance(error, MemoryError):
        return Judgement(info, Verdict.RETRYABLE)
    return Judgement(info, policy.classify(lineage(error), http_status(error)), retry_after(error))


def describe(error: BaseException, step: str | None = None, redact: Redact = str) -> ErrorInfo:
    """Type, text and traceback, in a form that PostgreSQL can store whatever they contain."""
    text = "".join(traceback.format_exception(error))
    try:
        message = str(error)
    except Exception as broken:
        message = f"(its text cannot be shown: {broken!r})"
    return ErrorInfo(
        type=qualified(type(error)),
        # Cut last: half a secret would not be found.
        message=storable(redact(message))[:LONGEST_MESSAGE],
        traceback=storable(redact(text))[-LONGEST_TRACEBACK:],
        step=step,
    )


def qualified(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def lineage(error: BaseException) -> list[str]:
    """Qualified names of the exception's classes: what a policy's ``on`` is compared with."""
    return [qualified(kind) for kind in type(error).__mro__]


def storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


def http_status(error: BaseException) -> int | None:
    """The HTTP status that the common clients put on their exceptions (requests, httpx, aiohttp, urllib)."""
    response = _look(error, "response")
    for holder, name in (
        (response, "status_code"),
        (error, "status_code"),
        (error, "status"),
        (error, "code"),
    ):
        value = _look(holder, name)
        if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599:
            return value
    return None


def retry_after(error: BaseException) -> float:
    """Seconds that the service asked us to wait; 0 when it did not say."""
    asked = _look(error, "retry_after")
    if asked is None:
        get = _look(_look(_look(error, "response"), "headers"), "get")
        asked = get("Retry-After") if callable(get) else None
    try:
        seconds = float(asked)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return min(seconds, LONGEST_RETRY_AFTER) if seconds > 0 else 0.0


def _look(holder: Any, name: str) -> Any:
    """An attribute of somebody else's exception; a property that raises must not hide the failure itself."""
    try:
        return getattr(holder, name, None)
    except Exception:
        return None
