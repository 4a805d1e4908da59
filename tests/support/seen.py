"""States of which a load would have found something else."""

from dataclasses import replace
from typing import Any


def seen(state: Any, **found: Any) -> Any:
    """The same execution or instance with other evidence; also with another column of it, such as `dispatched_at`."""
    columns = {name: found.pop(name) for name in list(found) if not hasattr(state.evidence, name)}
    return replace(state, **columns, evidence=replace(state.evidence, **found))
