"""Options of a saga that are checked when it is declared."""

import string
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from sagas.definition.signatures import ContinuationWord
from sagas.errors import DefinitionError, MissingInput, StartRefused
from sagas.model import Inline
from sagas.model.payload import is_storable
from sagas.store import LIMIT_PREFIX

LONGEST_RESOURCE = 512


def choice(given: str, allowed: Sequence[str], what: str) -> str:
    """Return a word that must be one of a few."""
    if given not in allowed:
        words = " or ".join(repr(str(word)) for word in allowed)
        raise DefinitionError(f"{what}={given!r} must be {words}")
    return given


def inline(given: ContinuationWord | Inline, what: str) -> Inline | None:
    """Return how far one message goes on; None: each step has its own message."""
    if isinstance(given, Inline):
        return given
    if not isinstance(given, str):
        raise DefinitionError(f"{what}={given!r} must be 'chain', 'inline' or sagas.Inline(seconds=…, steps=…)")
    return Inline() if choice(given, get_args(ContinuationWord), what) == "inline" else None


def whole(given: int | None, least: int, most: int, what: str) -> int | None:
    """Return a whole number within limits, or None."""
    if given is None:
        return None
    if not isinstance(given, int) or isinstance(given, bool) or not least <= given <= most:
        raise DefinitionError(f"{what}={given!r} must be a whole number from {least} to {most}")
    return given


def checked_locks(templates: Sequence[str], known: frozenset[str] | None, saga: str) -> tuple[str, ...]:
    """Return templates of resource names: text with names of the input in braces."""
    if isinstance(templates, str):
        raise DefinitionError(f"saga {saga!r}: locks={templates!r} must be a list of names, as in ['account:{{id}}']")
    for template in templates:
        for name in names_in(template, saga):
            if known is not None and name not in known:
                known_names = ", ".join(sorted(known)) or "nothing"
                raise DefinitionError(
                    f"saga {saga!r}: the lock {template!r} needs {name!r}, but the input has {known_names}"
                )
    return tuple(templates)


def names_in(template: str, saga: str) -> list[str]:
    """Return the names in braces."""
    try:
        if not template or template.startswith(LIMIT_PREFIX):
            raise ValueError(f"it must be text that does not begin with {LIMIT_PREFIX!r}")
        found = [field for field in string.Formatter().parse(template) if field[1] is not None]
        fields = [str(name) for _, name, _, _ in found]
        if not all(
            name.isidentifier() and not form and not how for (_, _, form, how), name in zip(found, fields, strict=True)
        ):
            raise ValueError("only plain names can stand in braces")
    except (AttributeError, TypeError, ValueError) as error:
        raise DefinitionError(f"saga {saga!r}: {template!r} cannot name a resource: {error}") from None
    return fields


def refuse_secrets(templates: Sequence[str], secrets: frozenset[str], saga: str) -> None:
    """Refuse secrets in resource names, which are stored, shown and compared as they are."""
    for template in templates:
        for name in sorted(secrets.intersection(names_in(template, saga))):
            raise StartRefused(
                f"saga {saga!r}: the lock {template!r} would reveal the secret {name!r}: name it after something else, "
                "such as a hash of it"
            )


def resource_name(template: str, data: Mapping[str, Any], saga: str) -> str:
    """Return the resource that an instance with this input locks."""
    for name in names_in(template, saga):
        if data.get(name) is None:
            raise MissingInput(f"saga {saga!r}: the lock {template!r} needs {name!r}, but the data has no such value")
    resource = template.format_map({name: str(data[name]) for name in names_in(template, saga)})
    if len(resource) > LONGEST_RESOURCE or not is_storable(resource):
        raise StartRefused(
            f"saga {saga!r}: {resource[:80]!r}… is not a valid resource name: 1 to {LONGEST_RESOURCE} characters"
        )
    return resource
