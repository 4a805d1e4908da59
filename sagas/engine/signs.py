"""Signs of an exception's kind: a lost connection, a timeout, an answer that asks to come again.

The exception is not trusted: only stored attributes are read, and nothing is computed to read them. A sign can only add
another try; its absence proves nothing, since doubt is the default.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from types import MemberDescriptorType
from typing import Any, TypeVar

from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from sagas.model import Signs
from sagas.model.retry import RETRYABLE_HTTP

T = TypeVar("T")

#: How far causes and the members of groups are followed.
DEPTH = 8
#: A service may ask for patience, but not retire a saga; in seconds.
LONGEST_RETRY_AFTER = 3600.0

#: Errors that do not say whether the other side acted, by the qualified names of their classes. The errors of requests,
#: urllib, ssl, redis' sockets and aiohttp's connector are OSErrors.
LOST_CLASSES = frozenset(
    {
        "builtins.OSError",
        "builtins.EOFError",
        "aiohttp.client_exceptions.ClientError",
        "amqp.exceptions.RecoverableConnectionError",
        "botocore.exceptions.HTTPClientError",
        "grpc.RpcError",
        "http.client.HTTPException",
        "httpcore.NetworkError",
        "httpcore.TimeoutException",
        "httpx.TransportError",
        "kombu.exceptions.OperationalError",
        "pymongo.errors.AutoReconnect",
        "redis.exceptions.ConnectionError",
        "redis.exceptions.TimeoutError",
        "urllib3.exceptions.HTTPError",
    }
)
#: The same by name, for other clients: DB-API 2.0's two errors of a lost connection, whatever wraps them, and the usual
#: endings of such names.
LOST_NAME = re.compile(
    r"(^(Operational|Interface)Error"
    r"|Connection(Error|Lost|Closed|Reset|Refused|Aborted|Dropped)?(Error|Exception)?"
    r"|Connect(Error|Exception)|Disconnected(Error)?|Time[dD]?[oO]ut(Error|Expired|Exception)?|StreamLostError"
    r"|Unreachable(Error)?|NoBrokersAvailable)$"
)
REFUSED_NAME = re.compile(
    r"(ServiceUnavailable|Thrott(led|ling)|TooManyRequests|RateLimit(ed|Exceeded)?|Unavailable)(Error|Exception)?$"
)
#: Codes of AWS's services in the dictionary that botocore sets on its errors.
REFUSED_CODE = re.compile(
    r"Thrott|TooManyRequests|RequestLimitExceeded|LimitExceededException|SlowDown|Unavailable|Internal(Server)?(Error|Fail)"
    r"|RequestTimeout|ThroughputExceeded|BandwidthLimit|PriorRequestNotComplete|TransactionInProgress"
)
#: Attributes by which a client describes its own error. Only True counts.
ASKS_AGAIN = ("should_retry", "retriable", "retryable", "is_retryable")
#: Clients that keep an HTTP status under `code`, which elsewhere may be any number.
KEEP_STATUS_IN_CODE = frozenset(
    {"urllib.error.HTTPError", "google.api_core.exceptions.GoogleAPICallError", "werkzeug.exceptions.HTTPException"}
)


# -- classes


def lineage(error: BaseException) -> list[str]:
    """Return the qualified names of the exception's classes, most derived first."""
    return [qualified(kind) for kind in classes_of(error)]


def classes_of(error: BaseException) -> tuple[type, ...]:
    """Return the method resolution order, whatever a metaclass says."""
    return type.__dict__["__mro__"].__get__(type(error))  # type: ignore[no-any-return]


def qualified(kind: type) -> str:
    """Return the name of a class in plans and histories, whatever its metaclass says."""
    of_type = type.__dict__
    return f"{of_type['__module__'].__get__(kind)}.{of_type['__qualname__'].__get__(kind)}"


def is_lost_by_name(name: str) -> bool:
    """Return whether a qualified name looks like a lost connection or a timeout."""
    return LOST_NAME.search(name.rpartition(".")[2]) is not None


def is_refused_by_name(name: str) -> bool:
    """Return whether a qualified name looks like an answer that asks to come again."""
    return REFUSED_NAME.search(name.rpartition(".")[2]) is not None


# -- one exception


def signs_of(error: BaseException, *, named: int | None = None) -> Signs:
    """Return the signs of one exception by itself.

    Args:
        named: the class, counted from the most derived, that the application itself names. From there on a class's name
            alone is not a sign: the application knows better.
    """
    names = lineage(error)
    called = names if named is None else names[:named]
    status = http_status(error)
    # An answer decides, and not the class that a client wraps it in: a 404 in requests is an OSError.
    by_class = status is None and not LOST_CLASSES.isdisjoint(names)
    is_lost = by_class or any(map(is_lost_by_name, called)) or plain(error, "connection_invalidated") is True
    asks_again = (
        any(plain(error, word) is True for word in ASKS_AGAIN)
        or REFUSED_CODE.search(aws_code(error)) is not None
        or retry_after(error) > 0
    )
    return Signs(
        names=frozenset(names),
        is_lost=is_lost,
        is_refused_for_now=status in RETRYABLE_HTTP or any(map(is_refused_by_name, called)),
        asks_again=asks_again,
    )


def is_time_limit(error: BaseException) -> bool:
    """Return whether it is a time limit of Celery or of gevent."""
    is_gevents = not isinstance(error, Exception) and type(error).__name__ == "Timeout"
    return isinstance(error, SoftTimeLimitExceeded | TimeLimitExceeded) or is_gevents


def http_status(error: BaseException) -> int | None:
    """Return the HTTP status that common clients set on their exceptions (requests, httpx, urllib, stripe, AWS)."""
    response = plain(error, "response")
    candidates = [
        _item(_item(response, "ResponseMetadata"), "HTTPStatusCode"),
        plain(response, "status_code"),
        plain(error, "status_code"),
        plain(error, "status"),
        plain(error, "http_status"),
        plain(plain(error, "meta"), "status"),
    ]
    if response is not None or not KEEP_STATUS_IN_CODE.isdisjoint(lineage(error)):
        candidates.append(plain(error, "code"))
    for value in candidates:
        if isinstance(value, int) and not isinstance(value, bool) and 100 <= (status := int.__int__(value)) <= 599:
            return status
    return None


def aws_code(error: BaseException) -> str:
    """Return the error code of an answer from AWS; empty if there is none."""
    code = _item(_item(plain(error, "response"), "Error"), "Code")
    return code if isinstance(code, str) else ""


def retry_after(error: BaseException) -> float:
    """Return the seconds that the service asked us to wait; 0 if it did not say."""
    response = plain(error, "response")
    asked = plain(error, "retry_after")
    for headers in (
        plain(response, "headers"),
        plain(error, "headers"),
        plain(error, "hdrs"),
        _item(_item(response, "ResponseMetadata"), "HTTPHeaders"),
    ):
        get = getattr(type(headers), "get", None)
        if asked is None and get is not None:
            asked = unharmed(lambda get=get, headers=headers: get(headers, "Retry-After"), None)  # type: ignore[misc]
            asked = asked or _item(headers, "retry-after")
    if isinstance(asked, bool) or not isinstance(asked, int | float | str):
        return 0.0
    try:
        seconds = float(asked)
    except (ValueError, OverflowError):
        return 0.0
    return min(seconds, LONGEST_RETRY_AFTER) if seconds > 0 else 0.0


# -- its causes


def cause_of(error: BaseException) -> BaseException | None:
    """Return the exception that it was explicitly raised from."""
    cause: BaseException | None = BaseException.__dict__["__cause__"].__get__(error)
    return cause


def errors_behind(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions that it was raised from or during, nearest first; ``raise … from None`` ends them."""
    context = BaseException.__dict__["__context__"]
    suppressed = BaseException.__dict__["__suppress_context__"]
    for _ in range(DEPTH):
        follow = cause_of(error)
        if follow is None and not suppressed.__get__(error):
            follow = context.__get__(error)
        if follow is None:
            return
        yield (error := follow)


def members(error: BaseException) -> tuple[BaseException, ...]:
    """Return the members of a group; nothing for any other exception."""
    if not isinstance(error, BaseExceptionGroup):
        return ()
    return BaseExceptionGroup.__dict__["exceptions"].__get__(error)  # type: ignore[no-any-return]


# -- reading without harm


def plain(holder: Any, name: str) -> Any:
    """Return an attribute that is stored as it is; None if it would have to be computed, or is missing.

    A property of a foreign exception may query the network, raise, or never return.
    """

    def look() -> Any:
        found = inspect.getattr_static(holder, name, None)
        if isinstance(found, MemberDescriptorType):  # a slot
            return found.__get__(holder, type(holder))
        return None if hasattr(type(found), "__get__") else found

    return unharmed(look, None)


def _item(holder: Any, name: str) -> Any:
    return holder.get(name) if type(holder) is dict else None


def unharmed(look: Callable[[], T], otherwise: T) -> T:
    """Return what reading a foreign object gives, or ``otherwise`` if it raises; a time limit passes through."""
    try:
        return look()
    except (SoftTimeLimitExceeded, TimeLimitExceeded):
        raise
    except BaseException:  # even SystemExit: the exception's own code raises it, and it is not this process's end
        return otherwise
