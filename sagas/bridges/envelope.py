"""The messages of a bridge: an event as CloudEvents 1.0 JSON, with attributes by which its run is found."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn
from uuid import UUID

from sagas.definition.options import LONGEST_RESOURCE
from sagas.model import payload

CONTENT_TYPE = "application/cloudevents+json"
#: The largest message, in bytes.
LARGEST = 128 * 1024
#: The types of the library's own messages: a receipt for what was stored, and a mark in place of an event.
RECEIPT, SKIPPED = "sagas.received", "sagas.skipped"
_LARGEST_NUMBER = 2**31 - 1
#: The forms of a trace's attributes. The second one means nothing without the first.
_TRACE = {
    "traceparent": re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"),
    "tracestate": re.compile(r"[\x20-\x7e]{1,512}"),
}
#: Stands for the run in messages that belong to none.
NOWHERE = UUID(int=0)


class Refused(Exception):
    """A message that cannot be taken; the text says why, without the values that it carries."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """One message. ``data`` is tagged JSON, decoded."""

    id: UUID
    type: str
    source: str  # the service that sends it
    audience: str  # the service that it is for
    time: datetime
    data: Any
    choreography: str = ""
    run: UUID = NOWHERE
    key: str | None = None
    index: int = 0  # its place among those of its run that leave by the bridge, from 1
    version: int = 1
    depth: int = 0
    correlation: UUID | None = None
    cause: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None

    def to_bytes(self) -> bytes:
        attributes = {
            "specversion": "1.0",
            "id": str(self.id),
            "type": self.type,
            "source": self.source,
            "time": self.time.astimezone(UTC).isoformat(),
            "datacontenttype": "application/json",
            "subject": self.key,
            "audience": self.audience,
            "choreography": self.choreography or None,
            "runid": str(self.run),
            "index": self.index,
            "dataversion": self.version,
            "depth": self.depth,
            "correlationid": str(self.correlation) if self.correlation else None,
            "causationid": self.cause,
            **self.trace,
            "data": self.data,
        }
        present = {name: value for name, value in attributes.items() if value is not None}
        return json.dumps(present, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()

    @classmethod
    def read(cls, body: bytes) -> "Envelope":
        """Return a message by its bytes. Raises Refused."""
        attributes = _decoded(body)
        if attributes.get("specversion") != "1.0":
            raise Refused("it is not a CloudEvent of version 1.0")
        return cls(
            id=_uuid(attributes, "id"),
            type=_text(attributes, "type", 200),
            source=_text(attributes, "source", 200),
            audience=_text(attributes, "audience", 200),
            time=_time(attributes, "time"),
            data=attributes.get("data"),
            choreography=_text(attributes, "choreography", 200) if "choreography" in attributes else "",
            run=_uuid(attributes, "runid"),
            key=_text(attributes, "subject", LONGEST_RESOURCE) if "subject" in attributes else None,
            index=_number(attributes, "index"),
            version=_number(attributes, "dataversion", 1),
            depth=_number(attributes, "depth"),
            correlation=_uuid(attributes, "correlationid") if "correlationid" in attributes else None,
            cause=_text(attributes, "causationid", LONGEST_RESOURCE) if "causationid" in attributes else None,
            **_trace(attributes),
        )

    @property
    def trace(self) -> dict[str, str]:
        """The headers of the trace that it is part of."""
        own = {"traceparent": self.traceparent, "tracestate": self.tracestate}
        return {name: value for name, value in own.items() if value is not None}

    @property
    def fields(self) -> dict[str, Any]:
        """The event's fields as they were published. Raises Refused if the data has no fields."""
        if not isinstance(self.data, dict):
            raise Refused(f"its data is {payload.excerpt(self.data)}, not an object with fields")
        try:
            fields = payload.restore(self.data)
            text = payload.dumps(fields, "data")
        except Exception as error:  # a tag whose value is not one: whatever its decoder raises
            raise Refused(f"its data cannot be read: {type(error).__qualname__}") from error
        if not isinstance(fields, dict) or '"$secret"' in text:
            raise Refused("its data is not an object with fields in the clear")
        return fields


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        decoded = json.loads(body.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Refused(f"it is not valid JSON: {type(error).__qualname__}") from error
    if not isinstance(decoded, dict):
        raise Refused("it is not a JSON object")
    return decoded


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


def _text(attributes: dict[str, Any], name: str, longest: int) -> str:
    value = attributes.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= longest or not payload.is_storable(value):
        raise Refused(f"its attribute {name!r} is not text of 1 to {longest} characters")
    return value


def _uuid(attributes: dict[str, Any], name: str) -> UUID:
    try:
        return UUID(_text(attributes, name, 36))
    except ValueError:
        raise Refused(f"its attribute {name!r} is not a UUID") from None


def _trace(attributes: dict[str, Any]) -> dict[str, str]:
    """Return the trace that a message names. If it does not have the W3C form, the event is taken without it."""
    found = {}
    for name, form in _TRACE.items():
        value = attributes.get(name)
        if not isinstance(value, str) or not form.fullmatch(value):
            break
        found[name] = value
    return found


def _number(attributes: dict[str, Any], name: str, least: int = 0) -> int:
    value = attributes.get(name)
    if type(value) is not int or not least <= value <= _LARGEST_NUMBER:
        raise Refused(f"its attribute {name!r} is not a whole number from {least} on")
    return value


def _time(attributes: dict[str, Any], name: str) -> datetime:
    try:
        found = datetime.fromisoformat(_text(attributes, name, 64))
    except ValueError:
        raise Refused(f"its attribute {name!r} is not a time") from None
    if found.tzinfo is None:
        raise Refused(f"its attribute {name!r} has no time zone")
    return found
