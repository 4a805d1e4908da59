"""Judge an exception: is it worth another try, and is it certain that nothing was done?

These are two separate questions. Doubt is the default: only a `PermanentError`, or an error that the step names as
clean, says that nothing was done, and only if there is no evidence against it.
"""

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace

from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from celery.exceptions import Ignore, Reject, Retry

from sagas.engine.signs import (
    DEPTH,
    LONGEST_RETRY_AFTER,
    cause_of,
    classes_of,
    errors_behind,
    is_time_limit,
    lineage,
    members,
    qualified,
    retry_after,
    signs_of,
    unharmed,
)
from sagas.errors import NotInAStep
from sagas.model import ErrorInfo, RetryPolicy, Verdict
from sagas.model.retry import PERMANENT
from sagas.model.secrecy import Redact

LONGEST_TRACEBACK = 20_000
LONGEST_MESSAGE = 4_000


@dataclass(frozen=True, slots=True)
class Judgement:
    error: ErrorInfo
    verdict: Verdict
    retry_after: float = 0.0
    by_place_alone: bool = False  # clean only because it was raised before the body

    @property
    def is_answer(self) -> bool:
        """Whether the error itself says that nothing was done: a clean no, which is not a mistake."""
        return self.verdict.is_clean and not self.by_place_alone

    def by_place(self) -> "Judgement":
        """Return the judgement of an error raised before the body: nothing was done, whatever its class."""
        clean = Verdict.of(again=self.verdict.is_again, clean=True)
        return replace(self, verdict=clean, by_place_alone=not self.is_answer)

    def in_doubt(self) -> "Judgement":
        """Return the judgement of a body that recorded an effect: it is not clean, whatever it raised afterwards."""
        if not self.verdict.is_clean:
            return self
        return replace(self, verdict=Verdict.of(again=self.verdict.is_again, clean=False))


def judge(
    error: BaseException,
    policy: RetryPolicy,
    step: str,
    redact: Redact = str,
    clean: Sequence[str | type] = (),
) -> Judgement:
    """Judge an error of a body; its text and traceback are kept, without the secrets in them.

    Judging never fails. An exception whose attributes or metaclass raise is in doubt, and not tried again; a time limit
    raised meanwhile counts as a timeout.

    Args:
        error: what the body raised.
        policy: says which errors are tried again.
        step: the step's name, for the stored error.
        redact: removes secrets from a text.
        clean: the errors that the step names as clean: qualified names, and classes if this process has them.
    """
    try:
        return _judged(error, describe(_reported_error(error), step, redact), policy, clean)
    except (SoftTimeLimitExceeded, TimeLimitExceeded) as limit:
        return Judgement(describe(limit, step, redact), Verdict.TIMEOUT)
    except BaseException as broken:
        message = f"judging it raised {qualified(type(broken))}"
        return Judgement(ErrorInfo(type=qualified(type(error)), message=message, step=step), Verdict.UNKNOWN)


def _judged(error: BaseException, info: ErrorInfo, policy: RetryPolicy, clean: Sequence[str | type]) -> Judgement:
    if isinstance(error, Retry):
        # The body called self.retry(): its request is honoured, by our counters.
        when = float(error.when) if isinstance(error.when, int | float) else 0.0
        verdict = Verdict.of(again=True, clean=is_clean(_reported_error(error), clean))
        return Judgement(info, verdict, max(0.0, min(when, LONGEST_RETRY_AFTER)))
    if is_timeout(error):
        return Judgement(info, Verdict.TIMEOUT)
    if is_interruption(error):
        return Judgement(info, Verdict.INTERRUPTED)
    if isinstance(error, Ignore | Reject | NotInAStep):
        # Not an answer: Celery would end the chain silently, and what the body did is unknown.
        return Judgement(info, Verdict.UNUSABLE)
    if isinstance(error, MemoryError):
        return Judgement(info, Verdict.RETRYABLE)
    verdict = Verdict.of(again=is_again(error, policy), clean=is_clean(error, clean))
    return Judgement(info, verdict, retry_after(error))


def _reported_error(error: BaseException) -> BaseException:
    """Return the error to report: for a body that called ``self.retry(exc=…)``, that exception."""
    return error.exc if isinstance(error, Retry) and isinstance(error.exc, BaseException) else error


def is_interruption(error: BaseException) -> bool:
    """Return whether the process or greenlet was told to end. asyncio's CancelledError is the body's own affair."""
    return isinstance(error, SystemExit | KeyboardInterrupt) or type(error).__name__ == "GreenletExit"


def is_timeout(error: BaseException, depth: int = DEPTH) -> bool:
    """Return whether a time limit was raised: it is one, was raised from one, or is a group with one in it."""
    if is_time_limit(error):
        return True
    nearest = (*members(error), *filter(None, [cause_of(error)]))
    return depth > 0 and any(is_timeout(other, depth - 1) for other in nearest)


def is_again(error: BaseException, policy: RetryPolicy, depth: int = DEPTH) -> bool:
    """Return whether it is worth another try: a group if all its members are, others by themselves or their cause."""
    if depth == 0:
        return False
    grouped = members(error)
    if grouped:
        return all(is_again(member, policy, depth - 1) for member in grouped)
    signs = signs_of(error)
    if policy.refuses(signs):
        return False
    cause = cause_of(error)
    return policy.is_again(signs) or (cause is not None and is_again(cause, policy, depth - 1))


def is_clean(error: BaseException, clean: Sequence[str | type]) -> bool:
    """Return whether it says that nothing was done, and no evidence contradicts that.

    A lost connection, a timeout or an answer that asks to come again is never clean, whichever of its bases is named,
    nor is an error raised from or during one. In a group the others may have acted.
    """
    named = _named(error, clean)
    if named is None or members(error) or signs_of(error, named=named).is_transient:
        return False
    return not any(_leaves_open(other) for other in errors_behind(error))


def _leaves_open(error: BaseException, depth: int = DEPTH) -> bool:
    if is_time_limit(error) or signs_of(error).is_transient:
        return True
    return depth > 0 and any(_leaves_open(member, depth - 1) for member in members(error))


def _named(error: BaseException, clean: Sequence[str | type]) -> int | None:
    """Return which of its classes is named as clean, counted from the most derived; None: none of them."""
    clean_names = {PERMANENT, *(name for name in clean if isinstance(name, str))}
    classes = {id(kind) for kind in clean if isinstance(kind, type)}
    for number, (kind, name) in enumerate(zip(classes_of(error), lineage(error), strict=True)):
        if name in clean_names or id(kind) in classes:
            return number
    return None


def describe(error: BaseException, step: str | None = None, redact: Redact = str) -> ErrorInfo:
    """Return type, text and traceback in a form that PostgreSQL can store, whatever they contain."""
    try:
        message = str(error)
    except (SoftTimeLimitExceeded, TimeLimitExceeded):
        raise
    except BaseException as broken:  # even SystemExit: the exception's own code raises it
        reason = broken
        message = f"(its text cannot be shown: {unharmed(lambda: repr(reason), type(reason).__name__)})"
    text = unharmed(lambda: "".join(traceback.format_exception(error)), "(its traceback cannot be shown)")
    return ErrorInfo(
        type=qualified(type(error)),
        # Cut last: half a secret would not be found.
        message=storable(redact(message))[:LONGEST_MESSAGE],
        traceback=storable(redact(text))[-LONGEST_TRACEBACK:],
        step=step,
    )


def storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
