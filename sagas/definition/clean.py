"""The errors that a step may name as clean, and the names that its body records."""

import re
import sys
from collections.abc import Iterable
from typing import Any

from sagas.engine import qualified
from sagas.engine.signs import LOST_CLASSES
from sagas.errors import DefinitionError

DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def checked_clean(given: Any, who: str) -> tuple[type[BaseException] | str, ...]:
    """Return the errors which say that nothing was done. Raises DefinitionError for any that cannot."""
    named = (given,) if isinstance(given, type | str) else given
    if not isinstance(named, Iterable):
        raise DefinitionError(f"{who}: clean={given!r} must be a tuple of exception classes")
    errors = tuple(named)
    for error in errors:
        if isinstance(error, str):
            check_name(error, who)
        elif isinstance(error, type) and issubclass(error, BaseException):
            check_class(error, who)
        else:
            raise DefinitionError(f"{who}: clean=… contains {error!r}, which is not an exception class")
    return errors


def check_name(name: str, who: str) -> None:
    if not DOTTED.fullmatch(name):
        raise DefinitionError(
            f"{who}: clean=… contains {name!r}: an error by name is written with its module, as in 'stripe.CardError'"
        )
    if name.startswith("builtins.") or name in LOST_CLASSES:
        raise too_wide(name, who)


def check_class(kind: type[BaseException], who: str) -> None:
    lost = [known for known in map(loaded, LOST_CLASSES) if known is not None]
    if kind.__module__ == "builtins" or any(issubclass(known, kind) for known in lost):
        raise too_wide(qualified(kind), who)


def too_wide(name: str, who: str) -> DefinitionError:
    return DefinitionError(
        f"{who}: clean=… contains {name}, which may be raised after the action took effect, as a lost connection "
        "or a slip in reading the answer is. Name the errors by which the service refuses, or raise PermanentError"
    )


def loaded(name: str) -> type[BaseException] | None:
    """Return the class with a qualified name, if its module has been imported."""
    module, _, attribute = name.rpartition(".")
    kind = getattr(sys.modules.get(module), attribute, None)
    return kind if isinstance(kind, type) and issubclass(kind, BaseException) else None


def names_of(errors: Iterable[type[BaseException] | str]) -> tuple[str, ...]:
    """Return the names that the plan stores."""
    return tuple(error if isinstance(error, str) else qualified(error) for error in errors)


def checked_records(given: Any, who: str) -> frozenset[str]:
    """Return the names that a body records. Raises DefinitionError for anything else."""
    names = frozenset(given) if isinstance(given, list | tuple | set | frozenset) else None
    if names is None or not all(isinstance(name, str) and name.isidentifier() for name in names):
        raise DefinitionError(f"{who}: records={given!r} must be a tuple of names, as in ('charge_id',)")
    return names
