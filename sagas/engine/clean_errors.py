"""The errors that a step names as clean, as classes if this process has them."""

from functools import lru_cache
from importlib import import_module

from sagas.engine.registry import Choreographed, Declared, choreographies, declared
from sagas.model import PlanStep


def clean_errors(saga: str, step: PlanStep) -> list[str | type]:
    """Return what to compare a step's exception with: the stored names, and every class that they lead to here.

    A client may move a class between two releases, so that its qualified name differs from the plan's: so the
    definition's own classes are used too, and the names are looked up.
    """
    found: list[str | type] = list(step.clean)
    definitions: list[Declared | Choreographed] = [*declared(), *choreographies()] if step.clean else []
    for definition in definitions:
        if definition.name == saga:
            found += definition.clean_errors(step.name)
    found += [kind for kind in map(error_class, step.clean) if kind is not None]
    return found


@lru_cache(maxsize=1024)
def error_class(name: str) -> type | None:
    """Return the exception class with a dotted name; None if this process cannot import one."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found: object = import_module(".".join(parts[:cut]))
        except Exception:  # any error of a foreign module's import: without the class, the error is in doubt
            continue
        for part in parts[cut:]:
            found = getattr(found, part, None)
        if isinstance(found, type) and issubclass(found, BaseException):
            return found
    return None
