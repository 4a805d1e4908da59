"""Another payload for a delivery that was given up: checked as the handler will read it, and stored as events are."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row

from sagas.engine import choreography_of, event_kind
from sagas.errors import ConfigurationError, PayloadError
from sagas.model import Secrecy, payload
from sagas.model.choreography.events import Edit
from sagas.model.payload import HIDDEN


def edit_of(row: Row[Any], given: Any, secrecy: Secrecy, *, vouched: bool) -> Edit:
    """Return an edit of a stored delivery.

    Raises:
        PayloadError: the payload does not fit the event; the message names each field.
        ConfigurationError: this process does not know the choreography.
    """
    declared = choreography_of(row.choreography, row.choreography_version)
    if declared is None:
        raise ConfigurationError(
            f"choreography {row.choreography!r} is not declared in this process, so that a payload cannot be checked: "
            "edit where its modules are imported"
        )
    refuse_another(given, row.type, row.version)
    stored = payload.loads(row.payload)
    fields = payload.fields_of(given, f"event {row.type!r}")
    fields = kept_secrets(fields, stored, secrecy.hide(stored))
    text = declared.exchange.edited(row.type, row.version, fields, secrecy)
    return Edit(payload=text, fields=changed(stored, payload.loads(text)), vouched=vouched)


def refuse_another(given: Any, type_: str, version: int) -> None:
    """Refuse an event of another type, or of another version than the stored one. Raises PayloadError."""
    kind = event_kind(type(given))
    if kind is not None and (kind.type, kind.version) != (type_, version):
        raise PayloadError(
            f"event {type_!r} of version {version} cannot get the fields of {kind.type} of version {kind.version}: "
            f"pass a dict of the fields of {type_}, as they were in version {version}"
        )


def kept_secrets(given: Any, stored: Any, shown: Any) -> Any:
    """Return what was given, with the secrets that a person could not see, and left as they are."""
    if given == HIDDEN and shown == HIDDEN:
        return stored
    if not (isinstance(given, Mapping) and isinstance(stored, Mapping) and isinstance(shown, Mapping)):
        return given
    return {
        name: kept_secrets(item, stored[name], shown[name]) if name in stored else item for name, item in given.items()
    }


def changed(stored: Any, edited: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the fields that differ. An encrypted one that was given again counts as different."""
    former = stored if isinstance(stored, Mapping) else {}
    differ = [name for name in edited if name not in former or former[name] != edited[name]]
    return tuple(sorted({*differ, *(former.keys() - edited.keys())}))
