"""How a choreography's events become rows and come back: those that are published, returned and read."""

from collections.abc import Mapping, Sequence
from typing import Any

from sagas.choreography.events import EventType, Written, type_of
from sagas.errors import DefinitionError, PayloadError
from sagas.model import Secrecy, payload
from sagas.model.choreography import FieldPlan
from sagas.model.choreography.unreadable import EventUnreadable

#: How many events one execution may return, and their size in bytes.
MOST_RETURNED = 100
LARGEST_RETURN = payload.MAX_BYTES
#: The field of an event that the library publishes, with the reason why a run turned back.
REASON = "reason"


class Exchange:
    """Writes and reads the events of one choreography."""

    def __init__(self, who: str, types: Mapping[str, EventType]) -> None:
        self._who = who
        self._types = types

    def write(self, value: Any, secrecy: Secrecy) -> Written:
        """Return an event that a caller publishes, as it is stored.

        Raises:
            PayloadError: it is not an event, none of this choreography, too large, or its fields do not fit.
        """
        type_ = type_of(value, f"{self._who}: publish")
        if self._types.get(type_.type) is not type_:
            known = ", ".join(sorted(self._types))
            raise PayloadError(
                f"{self._who} names no event {type_.type!r}, so that nothing would hear it; its events: {known}"
            )
        return type_.write(value, secrecy)

    def returned(self, value: Any, may: Sequence[str], who: str, secrecy: Secrecy) -> list[Written]:
        """Return what an execution publishes by its return value: an event, a list of events, or None.

        Args:
            may: the types that it declares.
            who: the execution, for errors.

        Raises:
            PayloadError: it returned something else, an event that it does not declare, or too many.
        """
        if value is None:
            return []
        several = list(value) if isinstance(value, list | tuple) and not hasattr(value, "_fields") else [value]
        if len(several) > MOST_RETURNED:
            raise PayloadError(f"{who} returned {len(several)} events; the most is {MOST_RETURNED}")
        written = []
        for one in several:
            type_ = type_of(one, f"{who} returned something other than its events")
            if type_.type not in may:
                declared = ", ".join(may) or "none"
                raise PayloadError(
                    f"{who} returned the event {type_.type}, and publishes= names {declared}: add it there"
                )
            written.append(self.write(one, secrecy))
        size = sum(len(one.text.encode()) for one in written)
        if size > LARGEST_RETURN:
            raise PayloadError(
                f"{who} returned events of {size} bytes; the limit is {LARGEST_RETURN}: store the data elsewhere, and "
                "publish a reference"
            )
        return written

    def edited(self, type_: str, version: int, given: Any, secrecy: Secrecy) -> str:
        """Return another payload for a stored event, as it is stored, in the event's own version.

        Raises:
            PayloadError: its handlers could not read it; the message names each field that does not fit.
        """
        what = f"event {type_!r}"
        fields = payload.fields_of(given, what)
        text = secrecy.dumps(fields, what)
        try:
            self.read(type_, version, payload.loads(payload.dumps(secrecy.open(fields), what)), secrecy)
        except EventUnreadable as error:
            raise PayloadError(
                f"{self._who}: this payload cannot be delivered: {error}. Pass all fields as `dead show` prints them"
            ) from error
        return text

    def read(self, type_: str, version: int, fields: Any, secrecy: Secrecy) -> Any:
        """Return an event made of what is stored, raised to the version that this process knows.

        Raises:
            EventUnreadable: its type is not known here, or its version or fields cannot be read.
            SecretUnreadable: no key in this process decrypts a field.
        """
        known = self._types.get(type_)
        if known is None:
            raise EventUnreadable(
                f"{self._who} names no event {payload.excerpt(type_)} in the code at hand: it waits for a worker with "
                "the code that does"
            )
        return known.read(version, secrecy.open(fields))


def check_filled(start: EventType, filled: EventType) -> None:
    """Check that the library can fill an event that it publishes: with the first event's fields, and the reason.

    Raises:
        DefinitionError: a field has no source; the message names it.
    """
    sources = {field.name: field.type for field in start.plan.fields} | {REASON: "str"}  # which is always the turn's
    for field in filled.plan.fields:
        if field.name not in sources and field.required:
            raise DefinitionError(
                f"on_cancel={filled.type} requires the field {field.name!r}, which nothing fills: it gets the fields "
                f"of {start.type} and {REASON!r}. Give it a default, or leave it out"
            )
        if field.name in sources and not _takes(field, sources[field.name]):
            source = "why the run turned back" if field.name == REASON else start.type
            raise DefinitionError(
                f"on_cancel={filled.type}: the field {field.name!r} is {field.type}, and is filled from {source}, "
                f"where it is {sources[field.name]}: make them one type"
            )


def _takes(field: FieldPlan, given: str) -> bool:
    """Return whether a field takes values of a type: the same, or one of its union."""
    return field.type in (given, "Any") or set(given.split(" | ")) <= set(field.type.split(" | "))
