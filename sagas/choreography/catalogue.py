"""The catalogue of events: which handlers publish and hear each, and which changes of it break them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from sagas.choreography.choreography import Choreography
from sagas.engine import Engine, choreographies
from sagas.errors import ConfigurationError, NotBound
from sagas.model.choreography import ChoreographyPlan, EventPlan, FieldPlan

#: The format of a stored catalogue.
FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogueEntry:
    """One type of event. Handlers are named with their choreography: ``fulfilment/reserve_stock``."""

    type: str
    version: int
    reads_from: int  # the oldest version that upcasters raise
    fields: tuple[FieldPlan, ...]
    choreographies: tuple[str, ...] = ()  # those that name it; others may have another event of its type
    published_by: tuple[str, ...] = ()
    heard_by: tuple[str, ...] = ()
    undoes: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()  # choreographies whose runs it starts, and so on
    ends: tuple[str, ...] = ()
    refuses: tuple[str, ...] = ()
    on_cancel: tuple[str, ...] = ()
    awaits: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        lists = {name: list(several) for name, several in values.items() if isinstance(several, tuple)}
        return values | lists | {"fields": [field.to_json() for field in self.fields]}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        known = {field.name for field in fields(cls)} - {"type", "version", "reads_from", "fields"}
        return cls(
            type=str(stored["type"]),
            version=int(stored["version"]),
            reads_from=int(stored["reads_from"]),
            fields=tuple(FieldPlan.from_json(field) for field in stored["fields"]),
            **{name: tuple(map(str, stored.get(name, ()))) for name in known},
        )


class Events:
    """The events of an app's choreographies: ``sagas.events``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def catalogue(self) -> list[CatalogueEntry]:
        """Return an entry for each event that this process has imported, by type.

        Two choreographies may have different events of one type: these are two entries.

        Raises:
            DefinitionError: a choreography does not compile.
        """
        found: dict[EventPlan, _Entry] = {}
        for choreography in choreographies():
            if not isinstance(choreography, Choreography):
                continue
            try:
                plan = choreography.plan(self._engine)
            except NotBound:  # of another app
                continue
            for event in plan.events:
                found.setdefault(event, _Entry(event, choreography)).add(plan)
        return sorted((entry.view() for entry in found.values()), key=lambda entry: (entry.type, entry.choreographies))

    def breaking_changes(self, baseline: str) -> list[str]:
        """Return one line for each change since a stored catalogue that breaks events which are stored or under way.

        Args:
            baseline: the text of the file that ``sagas events --write`` made.

        Raises:
            ConfigurationError: the text is not a catalogue.
        """
        return [*broken(_entries(baseline), self.catalogue())]


class _Entry:
    def __init__(self, event: EventPlan, choreography: Choreography) -> None:
        self._event = event
        self._of = choreography
        self._lists: dict[str, set[str]] = {}

    def add(self, plan: ChoreographyPlan) -> None:
        type_ = self._event.type
        self._lists.setdefault("choreographies", set()).add(plan.name)
        for handler in plan.handlers:
            name = f"{plan.name}/{handler.name}"
            for key, types in (
                ("published_by", (*handler.publishes, *handler.undo_publishes)),
                ("heard_by", handler.hears),
                ("undoes", handler.undo_when),
            ):
                self._lists.setdefault(key, set()).update({name} if type_ in types else ())
        for bridge in plan.bridges:
            for key, types in (("published_by", bridge.accepts), ("heard_by", bridge.sends)):
                if type_ in types:
                    self._lists.setdefault(key, set()).add(f"{plan.name}/bridge {bridge.name}")
        for key, types in (
            ("starts", (plan.starts,)),
            ("ends", plan.ends),
            ("refuses", plan.refuses),
            ("on_cancel", (plan.on_cancel,) if plan.on_cancel else ()),
            ("awaits", tuple(dict(plan.awaits))),
        ):
            self._lists.setdefault(key, set()).update({plan.name} if type_ in types else ())

    def view(self) -> CatalogueEntry:
        event = self._event
        return CatalogueEntry(
            type=event.type,
            version=event.version,
            reads_from=self._of.types[event.type].upcasters.oldest,
            fields=event.fields,
            **{name: tuple(sorted(several)) for name, several in self._lists.items()},
        )


# -- storing


def stored(entries: Iterable[CatalogueEntry]) -> dict[str, Any]:
    """Return a catalogue as a JSON object."""
    return {"format": FORMAT, "events": [entry.to_json() for entry in entries]}


def _entries(text: str) -> list[CatalogueEntry]:
    try:
        given = json.loads(text)
        if given["format"] != FORMAT:
            raise ConfigurationError(
                f"the catalogue has the format {given['format']!r}, and this release reads {FORMAT}: write it again"
            )
        return [CatalogueEntry.from_json(entry) for entry in given["events"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"this is not a catalogue of events ({type(error).__qualname__}: {error}): write one with sagas events "
            "--write FILE"
        ) from error


# -- comparing


def broken(before: Iterable[CatalogueEntry], after: Iterable[CatalogueEntry]) -> Iterator[str]:
    """Yield the changes that break events that are stored or under way, or that take a handler from them."""
    now = [*after]
    for former in before:
        entry = _successor(former, now)
        if entry is None:
            yield (
                f"the event {former.type} is gone: stored ones cannot be read. Keep the class, or pass @event(name="
                f"{former.type!r}) to the one that it became"
            )
            continue
        yield from (f"the event {former.type}: {what}" for what in _changes(former, entry))


def _successor(former: CatalogueEntry, now: Iterable[CatalogueEntry]) -> CatalogueEntry | None:
    """Return the entry that an event has now: one of its type, preferably one that the same choreographies name."""
    of_type = [entry for entry in now if entry.type == former.type]
    kept = [entry for entry in of_type if {*entry.choreographies} & {*former.choreographies}]
    return next(iter(kept or of_type), None)


def _changes(former: CatalogueEntry, entry: CatalogueEntry) -> Iterator[str]:
    if entry.version < former.version:
        yield f"version {former.version} was lowered to {entry.version}, and stored ones are newer: raise it again"
    elif entry.version == former.version:
        for change in _field_changes(former, entry):
            yield f"{change}, in version {entry.version} as before: raise version=, and add an upcast"
    elif entry.reads_from > former.version:
        more = "".join(f"; {change}" for change in _field_changes(former, entry))
        yield (
            f"version {former.version} can no longer be read, since upcasters begin with {entry.reads_from}{more}: add "
            f"@upcast(…, from_version={former.version})"
        )
    if former.reads_from < entry.reads_from <= former.version:
        yield (
            f"version {former.reads_from} can no longer be read, since upcasters begin with {entry.reads_from}: keep "
            f"the upcast from {former.reads_from} as long as such events are stored"
        )
    for name in sorted(set(former.heard_by) - set(entry.heard_by)):
        yield f"{name} no longer hears it: declare the handler again, or write the baseline again if that is intended"
    for name in sorted(set(former.undoes) - set(entry.undoes)):
        yield f"{name} is no longer undone by it: name it in when=, or write the baseline again if that is intended"


def _field_changes(former: CatalogueEntry, entry: CatalogueEntry) -> Iterator[str]:
    """Yield the changes of fields that keep a stored event from being read."""
    before, now = ({field.name: field for field in one.fields} for one in (former, entry))
    for name, field in before.items():
        if name not in now:
            yield f"the field {name!r} was removed"
        elif now[name].type != field.type:
            yield f"the field {name!r} was {field.type} and is {now[name].type}"
        elif now[name].required and not field.required:
            yield f"the field {name!r} had a default and has none"
    for name, field in now.items():
        if name not in before and field.required:
            yield f"the field {name!r} was added without a default"
