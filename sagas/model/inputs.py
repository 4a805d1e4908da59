"""Where a task's parameters get their values from, if not from what has their name in the data."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from sagas.model import payload

#: A constant is part of every message's plan: what is larger belongs into the input, in bytes.
LARGEST_CONSTANT = 16 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """A name in the data, or a constant."""

    name: str | None = None
    const: str | None = None  # canonical JSON: equal for equal values

    @classmethod
    def constant(cls, value: Any) -> Self:
        """A value that is always the same.

        Raises:
            PayloadError: it cannot be stored.
        """
        tagged = json.loads(payload.dumps(value, "the constant", limit=LARGEST_CONSTANT))
        return cls(const=json.dumps(tagged, sort_keys=True, separators=(",", ":")))

    @property
    def value(self) -> Any:
        """The constant; a new copy each time, since a task may change what it is given."""
        assert self.const is not None
        return payload.loads(self.const)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name} if self.const is None else {"const": json.loads(self.const)}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        return cls.constant(payload.restore(stored["const"])) if "const" in stored else cls(name=stored["name"])


def unwrapped(result: Any, output: str | None) -> Any:
    """What a step returned, from what is stored of it: under the name that its ``output`` says, if it says one."""
    return result.get(output) if output is not None and isinstance(result, Mapping) else result


def own_names(result: Any, output: str | None, recorded: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """What a compensation sees of its action: what that recorded, the oldest first, and what is stored of its result.

    A result that is kept under one name gives that name, and the names within it.
    """
    named: dict[str, Any] = {}
    for mapping in (*recorded, result, unwrapped(result, output)):
        if isinstance(mapping, Mapping):
            named |= mapping
    return named


#: Parameters with their sources, in the order of their names.
Inputs = tuple[tuple[str, Source], ...]


def inputs_to_json(inputs: Inputs) -> dict[str, Any]:
    return {parameter: source.to_json() for parameter, source in inputs}


def inputs_from_json(stored: dict[str, Any]) -> Inputs:
    return tuple((parameter, Source.from_json(source)) for parameter, source in sorted(stored.items()))
