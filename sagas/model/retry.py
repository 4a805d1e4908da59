"""When to try again and how long to wait: arithmetic over plain values, no clock and no dice of its own."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

#: Answers of a remote service whose outcome is unknown, or which ask to come again later.
RETRYABLE_HTTP = frozenset({408, 425, 429, *range(500, 600)})

#: In a policy's ``on``: every error of `UNKNOWN_OUTCOME`, and every answer of `RETRYABLE_HTTP`.
CONNECTION, HTTP = "connection", "http"

#: Errors that do not say whether the other side acted: lost connections and timeouts, as the common clients call
#: them (those of requests, urllib, ssl, redis' sockets and aiohttp's connector are OSErrors).
UNKNOWN_OUTCOME = frozenset(
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
        "psycopg.OperationalError",
        "psycopg2.OperationalError",
        "pymongo.errors.AutoReconnect",
        "redis.exceptions.ConnectionError",
        "redis.exceptions.TimeoutError",
        "sqlalchemy.exc.OperationalError",
        "urllib3.exceptions.HTTPError",
    }
)

ANY_ERROR = "builtins.Exception"
PERMANENT = "sagas.errors.PermanentError"


class Verdict(StrEnum):
    """What one failed execution says about its effect."""

    CLEAN_NO = "clean_no"  # raised before any effect; not done, no retry
    RETRYABLE = "retryable"  # the policy tries again; until then the effect may exist: in doubt
    UNKNOWN = "unknown"  # connection, timeout, 5xx that the policy does not try again: in doubt, final
    TIMEOUT = "timeout"  # over its time limit: in doubt
    INTERRUPTED = "interrupted"  # the process was told to stop; in doubt, counts as a loss, not as a failure
    UNUSABLE = "unusable"  # the body returned, its result cannot be kept: done, never run again


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """A retry policy as it is stored in the plan: error types by qualified name, times in seconds."""

    max_attempts: int = 3
    on: tuple[str, ...] = (CONNECTION, HTTP)
    never_on: tuple[str, ...] = ()
    backoff: float = 1.0
    factor: float = 2.0
    max_backoff: float = 60.0
    jitter: float = 0.5

    def delay(self, failures: int, dice: float) -> float:
        """Seconds to wait after the ``failures``-th failure (counted from 1).

        ``dice`` in [0, 1) is the caller's random number. ``jitter`` is the share of the delay that it may
        take away: 0 is none, 1 is AWS's "full jitter".
        """
        exponent = min(max(failures, 1) - 1, 64)
        capped = min(self.max_backoff, self.backoff * self.factor**exponent)
        return capped * (1.0 - self.jitter * dice)

    def classify(self, lineage: Iterable[str], http_status: int | None) -> Verdict:
        """Judge an exception by the qualified names of its classes (its MRO) and its HTTP status, if any.

        Two questions, kept apart: is it worth another try (``never_on`` wins over ``on``; a ``PermanentError`` is not,
        unless ``on`` names it), and is its outcome unknown. Whatever the policy says, a timeout is no clean no.
        """
        names = set(lineage)
        if PERMANENT in names and not names & (set(self.on) - {ANY_ERROR}):
            return Verdict.CLEAN_NO
        if http_status is None:
            unknown = bool(names & UNKNOWN_OUTCOME)
            wanted = CONNECTION in self.on and unknown
        else:  # the other side answered: its answer decides, not the class that a client wraps it in
            unknown = http_status in RETRYABLE_HTTP
            wanted = HTTP in self.on and unknown
        if (wanted or names & set(self.on)) and not names & set(self.never_on):
            return Verdict.RETRYABLE
        return Verdict.UNKNOWN if unknown else Verdict.CLEAN_NO

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        known = {name: value for name, value in stored.items() if name in cls.__dataclass_fields__}
        return cls(**{**known, "on": tuple(stored["on"]), "never_on": tuple(stored["never_on"])})
