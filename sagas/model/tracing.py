"""Traces in a message's headers: the one that it is part of, and those that it is only linked to."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

#: How to read a trace's id off its header.
IDS = {
    "traceparent": re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-"),
    "sentry-trace": re.compile(r"\s*([0-9a-f]{32})-"),
    "b3": re.compile(r"([0-9a-f]{16,32})-"),
    "x-b3-traceid": re.compile(r"([0-9a-f]+)$"),
    "x-datadog-trace-id": re.compile(r"(\d+)$"),
    "uber-trace-id": re.compile(r"([0-9a-f]+)(?::|%3a)"),
}
TRACE = re.compile(
    r"(traceparent|tracestate|baggage|sentry-trace|b3|x-b3-.*|x-datadog-.*|uber-trace-id|uberctx-.*)$", re.IGNORECASE
)
#: The parts of a trace that it can do without.
BAGGAGE = re.compile(r"(baggage|tracestate|x-datadog-tags|uberctx-.*)$", re.IGNORECASE)
#: How long a saga's messages are part of the trace that started it, in seconds.
LASTS = 3600.0


def choose(
    own: Mapping[str, Any], live: Mapping[str, Any], *, within: bool, age: float
) -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
    """Return the trace of a message, and its links.

    A trace that lasts for days would have the sampling, the release and the user of its first moment; so after an hour
    the next message not sent by a step of the saga begins another one. The process that sends it (an operator's,
    a sweep's) is never the parent.

    Args:
        own: the trace of the saga's start.
        live: the trace of the process that sends the message.
        within: whether that process runs a task of this very saga.
        age: seconds since the start.
    """
    is_over = age > LASTS
    is_same = bool(ids(own) & ids(live))
    if within and live and (not own or is_same is not is_over):
        # Spans of the running step: in the saga's trace, or in the one that began after it was over.
        return ({**own, **live} if is_same else live), []
    led_here = ([own] if is_over else []) + ([] if is_same else [live])
    links = [_named(trace) for trace in led_here if ids(trace)]
    return ({} if is_over else own), links


def ids(headers: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return the traces that these headers name."""
    return set(_ids(headers))


def _ids(headers: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in headers.items():
        found = IDS[name.lower()].match(str(value).lower()) if name.lower() in IDS else None
        if found:
            yield name.lower(), found[1].lstrip("0")


def _named(trace: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in trace.items() if name.lower() in IDS}


def only(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers that are part of a trace."""
    return {name: value for name, value in headers.items() if isinstance(name, str) and TRACE.match(name)}


def rest(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers that are not part of a trace."""
    return {name: value for name, value in headers.items() if not isinstance(name, str) or not TRACE.match(name)}
