"""The sources of a task's parameters that do not take the data's value of the same name."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from sagas.model import payload

#: In bytes. A constant is part of every message's plan: larger values belong in the input.
LARGEST_CONSTANT = 16 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """A name in the data, or a constant."""

    name: str | None = None
    const: str | None = None  # canonical JSON: equal for equal values

    @classmethod
    def constant(cls, value: Any) -> Self:
        """Return a source that always gives the same value.

        Raises:
            PayloadError: the value cannot be stored.
        """
        tagged = json.loads(payload.dumps(value, "the constant", limit=LARGEST_CONSTANT))
        return cls(const=json.dumps(tagged, sort_keys=True, separators=(",", ":")))

    @property
    def value(self) -> Any:
        """The constant; a new copy each time, since a task may change its arguments."""
        assert self.const is not None
        return payload.loads(self.const)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name} if self.const is None else {"const": json.loads(self.const)}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        return cls.constant(payload.restore(stored["const"])) if "const" in stored else cls(name=stored["name"])


def unwrapped(result: Any, output: str | None) -> Any:
    """Return a step's return value from its stored result, which has it under the name ``output``, if there is one."""
    return result.get(output) if output is not None and isinstance(result, Mapping) else result


def own_names(result: Any, output: str | None, recorded: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Return the names that a compensation gets from its action: recorded ones, oldest first, then the result's.

    A result that is kept under one name provides that name and the names within it.
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
