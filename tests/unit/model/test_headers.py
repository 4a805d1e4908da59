"""Which headers are kept, and how they lie over a message."""

from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context

from sagas.model import tracing
from sagas.model.headers import CELERYS, DIGEST_HEADER, LINKS_HEADER, Choice, Kept, digest_of, laid_over, without

A, B, C = "a" * 32, "b" * 32, "c" * 32


def w3c(trace: str, span: str = "1" * 16) -> str:
    return f"00-{trace}-{span}-01"


def kept_by(headers: dict[str, Any], **choice: Any) -> dict[str, Any]:
    return Choice(**choice).of(headers)[0]


# -- D10: what is never kept


def test_d10_every_name_of_celerys_own_message_and_of_a_tasks_request_is_celerys() -> None:
    message = Celery("names", set_as_current=False).amqp.as_task_v2("id", "task")
    of_requests = {name for name in vars(Context) if not name.startswith("_")}

    assert set(message.headers) | of_requests <= CELERYS
    assert kept_by(message.headers) == {}
    assert Choice().of({"headers": message.headers})[1] == {}


@pytest.mark.parametrize(
    "name",
    [
        "saga_step",
        "saga_headers",
        "x-death",
        "x-first-death-queue",
        "compression",
        "headers",
        "sentry-task-enqueued-time",
        "sentry-monitor-start-timestamp-s",
        "CELERY_PARENT_ID",
        "parent-task-id",
        "published_at",
    ],
)
def test_d10_what_tells_the_message_or_the_moment_is_not_kept(name: str) -> None:
    assert kept_by({name: "x", "tenant": "acme"}) == {"tenant": "acme"}


def test_d10_stamps_are_the_messages_own() -> None:
    assert kept_by({"stamped_headers": ["batch"], "batch": 7, "stamps": {}, "tenant": "acme"}) == {"tenant": "acme"}


# -- D21: tokens


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "X-Auth-Token",
        "cookie",
        "set-cookie",
        "sessionid",
        "api-key",
        "X_API_KEY",
        "password",
        "secret",
    ],
)
def test_d21_what_looks_like_a_token_is_left_out_unless_it_is_listed(name: str) -> None:
    assert kept_by({name: "x", "tenant": "acme"}) == {"tenant": "acme"}
    assert Choice().looks_like_a_token({name: "x", "headers": {"Token": "y"}}) == {name, "Token"}
    assert kept_by({name: "x"}, listed=[name.upper()]) == {name: "x"}


@pytest.mark.parametrize("name", ["_schema_name", "tenant", "author", "authors", "locale", "CORRELATION_ID", "region"])
def test_d21_others_are_kept(name: str) -> None:
    assert kept_by({name: "x"}) == {name: "x"}


def test_d21_a_token_within_a_context_of_several_values_is_left_out() -> None:
    context = {"request_id": "1", "user": {"id": 7, "session": "s"}}

    assert kept_by({"context": context}) == {"context": {"request_id": "1", "user": {"id": 7}}}


def test_d21_secrets_are_kept_apart_and_only_where_that_encrypts_them() -> None:
    headers = {"user_token": "t", "tenant": "acme", "headers": {"user_token": "t", "tenant": "acme"}}

    encrypting = Choice(secrets=["user_token"], keeps_secrets=True)
    assert encrypting.of(headers) == ({"tenant": "acme"}, {}, {"user_token": "t"})
    assert Choice(secrets=["user_token"]).of(headers) == ({"tenant": "acme"}, {}, {})
    assert without(headers, frozenset({"user_token"})) == {"tenant": "acme", "headers": {"tenant": "acme"}}


# -- D7: how they lie


def kept(top: dict[str, Any], nested: dict[str, Any] | None = None, at: float = 0.0) -> Kept:
    return Kept(at=at, top=top, nested=nested, digest=digest_of(top, nested))


def test_d7_what_is_kept_replaces_what_receivers_say_and_leaves_the_rest() -> None:
    laid = laid_over({"id": "1", "tenant": "thief", "own": 1}, kept({"tenant": "acme"}), within=False, now=0)

    assert laid == {"id": "1", "tenant": "acme", "own": 1, DIGEST_HEADER: digest_of({"tenant": "acme"}, None)}


def test_d7_nested_headers_are_laid_over_where_the_message_or_the_start_had_some() -> None:
    thief = {"headers": {"tenant": "thief", "own": 1}}

    assert laid_over(thief, kept({"tenant": "acme"}), within=False, now=0)["headers"] == {"tenant": "acme", "own": 1}
    nested = kept({"tenant": "acme"}, {"locale": "de"})
    assert laid_over({}, nested, within=False, now=0)["headers"] == {"tenant": "acme", "locale": "de"}
    assert "headers" not in laid_over({}, kept({"tenant": "acme"}), within=False, now=0)


def test_d7_laying_twice_lays_the_same() -> None:
    row = kept({"tenant": "acme", "baggage": "a=1", "traceparent": w3c(A)}, {"locale": "de"})
    once = laid_over({"id": "1"}, row, within=False, now=0)

    assert laid_over(once, row, within=False, now=0) == once


def test_d8_only_what_is_not_a_trace_makes_a_message_without_it_wrong() -> None:
    assert digest_of({"traceparent": w3c(A)}, {"baggage": "x"}) is None
    assert digest_of({"tenant": "a"}, None) != digest_of({"tenant": "b"}, None)
    assert digest_of({"tenant": "a", "traceparent": w3c(A)}, None) == digest_of({"tenant": "a"}, None)


# -- D23: traces


@pytest.mark.parametrize(
    ("own", "live", "within", "age", "trace", "links"),
    [
        # A span of the running step, in the saga's trace.
        (w3c(A, "1" * 16), w3c(A, "2" * 16), True, 10, w3c(A, "2" * 16), []),
        # Elsewhere the row's, whatever trace its process has.
        (w3c(A, "1" * 16), w3c(A, "2" * 16), False, 10, w3c(A, "1" * 16), []),
        (w3c(A), w3c(B), False, 10, w3c(A), [w3c(B)]),
        # A step whose process has another trace, which is not the saga's.
        (w3c(A), w3c(B), True, 10, w3c(A), [w3c(B)]),
        # After an hour a new one, linked to the old one.
        (w3c(A), None, False, 3601, None, [w3c(A)]),
        (w3c(A), w3c(A, "2" * 16), True, 3601, None, [w3c(A)]),
        (w3c(A), w3c(B), False, 3601, None, [w3c(A), w3c(B)]),
        # Which then is the saga's.
        (w3c(A), w3c(C), True, 3601, w3c(C), []),
        # Started without any: its steps may have one, an operator's is not theirs.
        (None, w3c(B), True, 10, w3c(B), []),
        (None, w3c(B), False, 10, None, [w3c(B)]),
    ],
)
def test_d23_which_trace_a_message_is_part_of(
    own: str | None, live: str | None, within: bool, age: float, trace: str | None, links: list[str]
) -> None:
    headers = {"id": "1"} | ({"traceparent": live} if live else {})
    row = kept({"tenant": "acme"} | ({"traceparent": own} if own else {}))

    laid = laid_over(headers, row, within=within, now=age)

    assert laid.get("traceparent") == trace
    assert [link["traceparent"] for link in laid.get(LINKS_HEADER, [])] == links
    assert laid["tenant"] == "acme"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("traceparent", w3c(A)),
        ("sentry-trace", f"{A}-{'1' * 16}-1"),
        ("b3", f"{A}-{'1' * 16}-1"),
        ("X-B3-TraceId", A),
        ("x-datadog-trace-id", "1234567890"),
        ("uber-trace-id", f"{A}:1:0:1"),
    ],
)
def test_d23_every_tracers_id_is_read(name: str, value: str) -> None:
    assert len(tracing.ids({name: value})) == 1
    assert tracing.only({name: value, "tenant": "acme"}) == {name: value}
    assert tracing.rest({name: value, "tenant": "acme"}) == {"tenant": "acme"}


def test_d23_of_a_foreign_trace_nothing_stays_in_the_message() -> None:
    foreign = {"sentry-trace": f"{B}-{'1' * 16}-1", "baggage": "sentry-release=2", "headers": {"baggage": "x"}}
    row = kept({"sentry-trace": f"{A}-{'1' * 16}-1", "baggage": "sentry-release=1"}, {})

    laid = laid_over(foreign, row, within=False, now=0)

    assert laid["baggage"] == laid["headers"]["baggage"] == "sentry-release=1"
    assert laid["sentry-trace"] == laid["headers"]["sentry-trace"] == row.top["sentry-trace"]
