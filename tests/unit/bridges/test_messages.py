"""What crosses a bridge: envelopes come back as they were, and whatever is not one is refused with a reason."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagas import ConfigurationError
from sagas.bridges.envelope import Envelope, Refused
from sagas.bridges.receiving import receipts_in
from sagas.bridges.signing import checked_keys, is_signed, sign
from sagas.model import payload

ID, RUN = UUID(int=7), UUID(int=8)
ENVELOPE = Envelope(
    id=ID,
    type="Paid",
    source="till",
    audience="sale",
    time=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    data={"total": {"$decimal": "9.90"}, "note": "é\n"},
    choreography="till",
    run=RUN,
    key="order-42",
    index=3,
    version=2,
    depth=1,
    correlation=RUN,
    cause="a:b",
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
KEYS = (b"k" * 32, b"f" * 32)


def test_an_envelope_is_a_cloudevent_and_comes_back_as_it_was() -> None:
    said = json.loads(ENVELOPE.to_bytes())

    assert Envelope.read(ENVELOPE.to_bytes()) == ENVELOPE
    assert {name: said[name] for name in ("specversion", "id", "source", "type", "time", "subject")} == {
        "specversion": "1.0",
        "id": str(ID),
        "source": "till",
        "type": "Paid",
        "time": "2026-01-02T03:04:05+00:00",
        "subject": "order-42",
    }
    assert all(name.isalnum() and name.islower() for name in said)


def test_its_fields_are_what_was_published() -> None:
    assert payload.dumps(ENVELOPE.fields, "data") == payload.dumps(payload.restore(ENVELOPE.data), "data")


def changed(**attributes: Any) -> bytes:
    said = json.loads(ENVELOPE.to_bytes()) | attributes
    return json.dumps({name: value for name, value in said.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON: UnicodeDecodeError"),
        (b"[1]", "is not a JSON object"),
        (b"[" * 100_000, "is not valid JSON: RecursionError"),
        (b'{"index": NaN}', "is not valid JSON: ValueError"),
        (changed(specversion="0.3"), "is not a CloudEvent of version 1.0"),
        (changed(id="7"), "'id' is not a UUID"),
        (changed(runid=...), "'runid' is not text"),
        (changed(type=""), "'type' is not text"),
        (changed(subject="a\x00b"), "'subject' is not text"),
        (changed(subject="\ud800"), "'subject' is not text"),
        (changed(subject="x" * 600), "'subject' is not text"),
        (changed(time="yesterday"), "'time' is not a time"),
        (changed(time="2026-01-02T03:04:05"), "'time' has no time zone"),
        (changed(index=-1), "'index' is not a whole number"),
        (changed(index=True), "'index' is not a whole number"),
        (changed(depth=2**40), "'depth' is not a whole number"),
        (changed(dataversion=0), "'dataversion' is not a whole number from 1 on"),
        (changed(correlationid="x"), "'correlationid' is not a UUID"),
    ],
)
def test_v50_what_is_not_an_envelope_is_refused_with_a_reason(body: bytes, why: str) -> None:
    with pytest.raises(Refused, match=why):
        Envelope.read(body)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "text",
        {"total": {"$decimal": []}},
        {"card": {"$secret": "token"}},
        {"$secret": "token"},
        {"a": "\x00"},
    ],
)
def test_v50_data_that_is_not_that_of_an_event_is_refused(data: Any) -> None:
    with pytest.raises(Refused):
        _ = Envelope.read(changed(data=data)).fields


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="ignore")))
def test_v50_no_bytes_do_anything_but_be_refused(body: bytes) -> None:
    with pytest.raises(Refused):
        Envelope.read(body)


@given(st.dictionaries(st.sampled_from(sorted(json.loads(ENVELOPE.to_bytes()))), st.none() | st.integers() | st.text()))
def test_v50_an_envelope_with_other_attributes_is_read_or_refused(others: dict[str, Any]) -> None:
    with suppress(Refused):
        assert isinstance(Envelope.read(changed(**others)), Envelope)


# -- signatures


def test_v13_a_signature_is_over_the_exact_bytes_and_by_any_of_the_keys() -> None:
    body = ENVELOPE.to_bytes()

    assert is_signed(body, sign(body, KEYS), KEYS)
    assert is_signed(body, sign(body, KEYS[1:]), KEYS)
    assert is_signed(body, sign(body, KEYS).encode(), KEYS)
    assert not is_signed(body + b" ", sign(body, KEYS), KEYS)
    assert not is_signed(body, sign(body, (b"o" * 32,)), KEYS)


@pytest.mark.parametrize("signature", [None, "", "v1=", b"v1=00", "é", 1, "v2=" + "0" * 64])
def test_v13_what_is_not_a_signature_is_none(signature: Any) -> None:
    assert not is_signed(b"{}", signature, KEYS)


@pytest.mark.parametrize("keys", [None, [], "x" * 40, ["short"], [7], {"a": "b"}])
def test_keys_that_cannot_be_such_are_refused_without_being_shown(keys: Any) -> None:
    with pytest.raises(ConfigurationError, match="keys=") as refused:
        checked_keys(keys, "bridge 'till'")

    assert "short" not in str(refused.value)


def test_a_receipt_names_runs_and_indexes_and_nothing_else() -> None:
    hostile = [[str(RUN), 1], [str(RUN), 0], [str(RUN), True], ["x", 1], [1], None, "ab", [str(RUN), 2**40]]

    assert receipts_in(hostile) == [(RUN, 1)]
    assert receipts_in("x") == receipts_in(None) == receipts_in({}) == []
