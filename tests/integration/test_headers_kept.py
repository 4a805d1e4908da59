"""What may be kept of a caller's headers, how much, how it lies in the row, and to whom it is shown."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from celery import shared_task
from cryptography.fernet import Fernet

from sagas import (
    ConfigurationError,
    PayloadError,
    Saga,
    SagaHandle,
    Sagas,
    SagaStatus,
    StartRefused,
    Step,
    current_step,
)
from sagas.cli.checks import findings
from sagas.cli.commands import _as_dict
from sagas.model.headers import MOST_BYTES
from tests.support import journal, queues, tenants
from tests.support.bench import Bench
from tests.support.inline import run_messages
from tests.support.long_ended import grow_old

seen: list[dict[str, Any]] = []


@shared_task
def look() -> None:
    seen.append(dict(current_step.headers))


one = Saga("headers-kept", steps=[Step(look, compensation=None)])


@contextmanager
def sending(**more: Any) -> Iterator[None]:
    """A receiver adds these."""

    def put(headers: dict[str, Any], **_: Any) -> None:
        headers.update(more)

    with tenants.connected(put):
        yield


Make = Callable[..., Sagas]


@pytest.fixture
def make(database_url: str, broker_url: str) -> Iterator[Make]:
    made: list[Sagas] = []

    def sagas(**options: Any) -> Sagas:
        made.append(tenants.make(broker_url, database_url, **options))
        made[-1].migrate()
        seen.clear()
        return made[-1]

    yield sagas
    for each in made:
        each.engine.store.database.dispose()


def started(sagas: Sagas, **headers: Any) -> tuple[SagaHandle, dict[str, Any]]:
    """One, and the headers of its first message."""
    with sending(**headers):
        run = sagas.start(one, {})
    (message,) = queues.queued(sagas)
    return run, message


def stored(database_url: str, run: SagaHandle) -> str:
    ((row,),) = journal.query(database_url, "SELECT headers::text FROM sagas.saga_instance WHERE id = %s", str(run.id))
    return str(row)


# -- D21: tokens


def test_d21_a_token_is_not_kept_and_that_is_told_once(
    make: Make, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    sagas = make()
    with caplog.at_level(logging.WARNING, "sagas"):
        run, _ = started(sagas, tenant="acme", authorization="Bearer x")
        with sending(authorization="Bearer x"):
            sagas.start(one, {})

    assert "Bearer" not in stored(database_url, run)
    (told,) = [record.getMessage() for record in caplog.records if "authorization" in record.getMessage()]
    assert "list it in Sagas(headers=['authorization'])" in told


def test_d21_a_token_that_is_listed_is_kept(make: Make) -> None:
    sagas = make(headers=["Authorization"])
    run, _ = started(sagas, tenant="acme", authorization="Bearer x")
    run_messages(sagas.app)

    assert seen == [{"tenant": "acme", "authorization": "Bearer x"}]
    assert run.status is SagaStatus.COMPLETED


def test_d21_check_tells_what_is_left_out(make: Make) -> None:
    sagas = make()
    with sending(session_cookie="x"):
        told = [line for line in findings(sagas) if "session_cookie" in line]

    assert len(told) == 1
    assert queues.queued(sagas) == []


def test_d21_a_secret_is_encrypted_in_the_row_on_no_message_and_open_to_the_step(make: Make, database_url: str) -> None:
    sagas = make(secrets=["user_token"], codec=Fernet(Fernet.generate_key()))
    run, message = started(sagas, tenant="acme", user_token="very secret")
    run_messages(sagas.app)

    assert "very secret" not in stored(database_url, run)
    assert "user_token" not in message
    assert message["tenant"] == "acme"
    assert seen == [{"tenant": "acme", "user_token": "very secret"}]


def test_d21_a_secret_that_nothing_encrypts_is_not_kept(make: Make, database_url: str) -> None:
    sagas = make(secrets=["user_token"])
    run, message = started(sagas, tenant="acme", user_token="very secret")

    assert "very secret" not in stored(database_url, run) + json.dumps(message)


def test_d21_people_are_shown_names_alone(make: Make) -> None:
    run, _ = started(make(), tenant="acme", locale="de-AT")

    assert run.snapshot().headers == _as_dict(run)["headers"] == ["locale", "tenant"]
    assert "carries the headers locale, tenant" in run.timeline()
    assert "acme" not in json.dumps(_as_dict(run), default=str) + run.timeline()


def test_d21_they_are_gone_with_a_purge_that_keeps_the_key(make: Make, database_url: str) -> None:
    sagas = make()
    with sending(tenant="acme"):
        run = sagas.start(one, {}, key="k")
    run_messages(sagas.app)
    grow_old(Bench(database_url, sagas.engine.store), run)

    assert sagas.purge(timedelta(hours=1), keep_keys=True) == 1
    assert sagas.find(saga=one.name, key="k") is not None
    assert stored(database_url, run) == "None"


# -- D22: too big


TRACEPARENT = f"00-{'a' * 32}-{'1' * 16}-01"


def test_d22_baggage_goes_first_and_is_told(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "sagas"):
        run, _ = started(make(), tenant="acme", traceparent=TRACEPARENT, baggage="x" * MOST_BYTES)

    assert run.snapshot().headers == ["tenant", "traceparent"]
    assert f"over {MOST_BYTES} bytes" in caplog.text


def test_d22_then_the_trace(make: Make) -> None:
    run, _ = started(make(), tenant="x" * (MOST_BYTES - 80), traceparent=TRACEPARENT, baggage="x")

    assert run.snapshot().headers == ["tenant"]


def test_d22_then_the_start_is_refused(make: Make) -> None:
    sagas = make()
    with sending(tenant="x" * MOST_BYTES), pytest.raises(StartRefused, match=r"bytes of headers from here \(tenant\)"):
        sagas.start(one, {}, key="k")

    assert sagas.find(saga=one.name, key="k") is None


@pytest.mark.parametrize(
    ("value", "complaint"),
    [(object(), "the header 'tenant' is a object"), ("a\x00b", r"\['tenant'\] contains a NUL"), (float("nan"), "nan")],
)
def test_what_no_message_or_row_can_hold_is_refused_by_name(make: Make, value: Any, complaint: str) -> None:
    with sending(tenant=value), pytest.raises(PayloadError, match=complaint):
        make().start(one, {})


def test_values_come_as_the_broker_would_give_them(make: Make) -> None:
    context = {"user": 7, "roles": ["a"], "rate": 1e30, "none": None}
    _, message = started(make(), context=context, large=2**70)
    assert (message["context"], message["large"]) == (context, 2**70)


@pytest.mark.parametrize("headers", ["tenant", 7])
def test_headers_that_are_no_names_are_refused(database_url: str, headers: Any) -> None:
    with pytest.raises(ConfigurationError, match="headers="):
        tenants.make("memory://", database_url, headers=headers)


def test_outside_of_a_saga_that_keeps_any_there_are_none(make: Make) -> None:
    sagas = make(headers=None)
    started(sagas, tenant="acme")
    run_messages(sagas.app)

    assert seen == [{}]
