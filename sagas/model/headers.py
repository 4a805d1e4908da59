"""The caller's context that a saga's messages carry: which headers are kept, and how they are merged into a message.

Kept headers never change, and always come from the instance's row: headers taken from the message at hand would grow
with every receiver that appends.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sagas.model import tracing

_CELERYS = (
    "lang task id shadow eta expires group group_index retries timelimit root_id parent_id argsrepr kwargsrepr origin "
    "ignore_result replaced_task_nesting stamped_headers stamps headers compression args kwargs callbacks errbacks "
    "chain chord called_directly correlation_id delivery_info hostname is_eager logfile loglevel properties reply_to "
    "taskset utc time_limit soft_time_limit as_execution_options children clear get update"
)
#: Names that a message uses for Celery itself, and the attributes of a task's request in the worker, which headers of
#: these names would replace: another message's id, task and limits.
CELERYS = frozenset(_CELERYS.split())
#: The library's own names, the broker's, and those that describe the moment or the message rather than the caller.
NEVER = re.compile(
    r"saga_|x-(first-|last-)?death|x-delivery-count|sentry-monitor-|.*timestamp|.*enqueued"
    r"|(.*[-_])?(queued|published|sent)[-_](at|time)$|(.*[-_])?parent[-_](task[-_])?id$",
    re.IGNORECASE,
)
#: Names that usually carry tokens.
TOKENS = re.compile(
    r"auth(?!or(s|ed|ity)?([^a-z]|$))|cookie|token|secret|passw|session|api[-_]?key|credential|bearer|jwt",
    re.IGNORECASE,
)
#: How much may be kept, in bytes of JSON: every message of the saga carries it.
MOST_BYTES = 2048

#: The header that says which saga's headers a message carries.
DIGEST_HEADER = "saga_headers"
#: The header of a message that begins a trace: the traces that led to it.
LINKS_HEADER = "saga_links"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """The headers that an instance's messages carry.

    Attributes:
        at: when it was captured, in seconds since the epoch.
        top: the headers of the message.
        nested: those entries of the message's ``headers`` header, which some integrations read first, that differ from
            ``top``; None: it has no such header.
        secret: headers that are never put on a message, stored as the secrets of the data are.
        digest: identifies these headers; None if a message without them does no harm, since they are only a trace.
    """

    at: float
    top: Mapping[str, Any]
    nested: Mapping[str, Any] | None = None
    secret: Mapping[str, Any] = field(default_factory=dict)
    digest: str | None = None

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted({*self.top, *(self.nested or ()), *self.secret})

    def without(self, names: re.Pattern[str]) -> "Kept":
        """Return the same headers without a part of their trace."""

        def left(headers: Mapping[str, Any]) -> dict[str, Any]:
            return {name: value for name, value in headers.items() if not names.match(name)}

        return replace(self, top=left(self.top), nested=None if self.nested is None else left(self.nested))


def digest_of(top: Mapping[str, Any], nested: Mapping[str, Any] | None) -> str | None:
    """Return the digest of headers whose values are JSON."""
    identifying = [tracing.rest(top), tracing.rest(nested or {})]
    return (
        hashlib.sha256(json.dumps(identifying, sort_keys=True).encode()).hexdigest()[:16] if any(identifying) else None
    )


class Choice:
    """A choice of the headers to keep.

    Args:
        listed: names that are kept although they look like those of tokens.
        secrets: names that are never put on a message.
        keeps_secrets: whether secret headers are kept, which they are if they are encrypted.
    """

    def __init__(self, listed: Iterable[str] = (), secrets: Iterable[str] = (), *, keeps_secrets: bool = False) -> None:
        self._listed = frozenset(name.lower() for name in listed)
        self._secrets = frozenset(secrets)
        self._keeps_secrets = keeps_secrets

    def of(self, headers: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any]]:
        """Return the headers to keep: on top, nested, and secret."""
        stamps = frozenset(headers.get("stamped_headers") or ())
        inner = headers.get("headers")
        top = dict(self._kept(headers, stamps))
        nested = dict(self._kept(inner, stamps)) if isinstance(inner, Mapping) else None
        secret = {name: value for name, value in ((nested or {}) | top).items() if name in self._secrets}
        top = {name: value for name, value in top.items() if name not in secret}
        if nested is not None:
            differs = {name for name, value in nested.items() if name not in top or top[name] != value}
            nested = {name: nested[name] for name in nested if name in differs - secret.keys()}
        return top, nested, secret if self._keeps_secrets else {}

    def looks_like_a_token(self, headers: Mapping[str, Any]) -> set[str]:
        """Return the names that are left out because they look like those of tokens."""
        left_out: set[str] = set()
        for name, value in headers.items():
            if name == "headers" or not _is_celerys(name):
                if isinstance(value, Mapping):
                    left_out |= self.looks_like_a_token(value)
                if not self._may_keep(name):
                    left_out.add(name)
        return left_out

    def _kept(self, headers: Mapping[str, Any], stamps: frozenset[str]) -> Iterator[tuple[str, Any]]:
        for name, value in headers.items():
            if not _is_celerys(name) and name not in stamps and self._may_keep(name):
                yield name, self._within(value)

    def _within(self, value: Any) -> Any:
        """Return a value without its tokens: a context of several values may contain one."""
        if not isinstance(value, Mapping):
            return value
        return {name: self._within(item) for name, item in value.items() if self._may_keep(name)}

    def _may_keep(self, name: Any) -> bool:
        return name in self._secrets or str(name).lower() in self._listed or not TOKENS.search(str(name))


def _is_celerys(name: Any) -> bool:
    return not isinstance(name, str) or name in CELERYS or NEVER.match(name) is not None


def without(headers: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Return a message's headers without some names, on top and nested."""
    left = {name: value for name, value in headers.items() if name not in names}
    if isinstance(left.get("headers"), Mapping):
        left["headers"] = {name: value for name, value in left["headers"].items() if name not in names}
    return left


def laid_over(headers: Mapping[str, Any], kept: Kept, *, within: bool, now: float) -> dict[str, Any]:
    """Return a message's headers merged with those that its saga keeps.

    Args:
        headers: the headers that Celery and all receivers made.
        within: whether a task of this very saga sends it; the trace of that task is the saga's.
        now: seconds since the epoch.
    """
    given = headers.get("headers")
    inner: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    own, nested = kept.top, kept.nested or {}
    trace, links = tracing.choose(
        tracing.only({**nested, **own}), tracing.only({**inner, **headers}), within=within, age=now - kept.at
    )
    plain = tracing.rest(own)
    laid = tracing.rest(headers) | plain | dict(trace)
    if isinstance(given, Mapping) or kept.nested is not None:
        laid["headers"] = tracing.rest(inner) | plain | tracing.rest(nested) | dict(trace)
    if kept.digest is not None:
        laid[DIGEST_HEADER] = kept.digest
    if links:
        laid[LINKS_HEADER] = links
    return laid
