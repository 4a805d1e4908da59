"""`Saga(starts_on=…, key=…)`: a saga that starts on an event of a choreography."""

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sagas.definition.keys import declared_keys
from sagas.engine import event_kind
from sagas.errors import DefinitionError, PermanentError
from sagas.model.payload import excerpt


@dataclass(frozen=True, slots=True)
class StartsOn:
    """The event on which a saga starts, and the template of the business key that it then has."""

    kind: type
    type: str
    key: str
    fields: frozenset[str]

    def key_for(self, data: Mapping[str, Any], saga: str) -> str:
        """Return the business key for an event with these fields. Raises PermanentError if a field is None."""
        values = {name: data.get(name) for name in names_in(self.key)}
        for name, value in values.items():
            if value is None:
                raise PermanentError(
                    f"saga {saga!r}: key={self.key!r} needs {name!r}, and in this {self.type} it is None"
                )
        return self.key.format_map({name: str(value) for name, value in values.items()})


def checked_starts_on(kind: Any, key: Any, saga: str) -> StartsOn | None:
    """Return what ``starts_on=`` and ``key=`` say. Raises DefinitionError with the culprit and the cure."""
    who = f"saga {saga!r}"
    if kind is None:
        if key is not None:
            raise DefinitionError(f"{who}: key={excerpt(key)} belongs to starts_on=…; start(…, key=…) takes other keys")
        return None
    event = event_kind(kind)
    if event is None:
        raise DefinitionError(f"{who}: starts_on={excerpt(kind)} is not an event: pass a class with @event")
    fields = declared_keys(kind) or frozenset()
    example = f"{saga}-{{{min(fields, default='id')}}}"
    if not isinstance(key, str):
        raise DefinitionError(
            f"{who}: starts_on={event.type} needs key=, by which a second event starts nothing, as in key={example!r}"
        )
    try:
        names = names_in(key)
    except ValueError as error:
        raise DefinitionError(f"{who}: key={key!r} cannot name a key: {error}, as in {example!r}") from None
    unknown = sorted(names - fields)
    if unknown:
        field_names = ", ".join(sorted(fields)) or "none"
        raise DefinitionError(
            f"{who}: key={key!r} names {', '.join(unknown)}; the fields of {event.type}: {field_names}"
        )
    if not names:
        raise DefinitionError(f"{who}: key={key!r} is the same for every event: name a field, as in {example!r}")
    return StartsOn(kind, event.type, key, fields)


def names_in(template: str) -> frozenset[str]:
    """Return the names in braces. Raises ValueError if something else than plain names stands there."""
    found = [field for field in string.Formatter().parse(template) if field[1] is not None]
    for _, name, form, how in found:
        if not str(name).isidentifier() or form or how:
            raise ValueError("only plain names of fields can stand in braces")
    return frozenset(str(name) for _, name, _, _ in found)


def check_start_input(starts_on: StartsOn, given: frozenset[str] | None, saga: str) -> None:
    """Check that an event has what the saga's declared input asks for. Raises DefinitionError."""
    lacking = sorted((given or frozenset()) - starts_on.fields)
    if lacking:
        raise DefinitionError(
            f"saga {saga!r}: its input needs {', '.join(lacking)}, and starts_on={starts_on.type} has "
            f"{', '.join(sorted(starts_on.fields)) or 'no field'}: add them to the event, or leave them out of input="
        )
