"""Sources of a task's parameters other than the data's values of the same names: other names, and constants."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sagas.definition.part import NAME
from sagas.engine import TaskFace
from sagas.errors import DefinitionError, PayloadError
from sagas.model import Inputs, Source


@dataclass(frozen=True, slots=True)
class Const:
    """A constant for a parameter of a task: ``Step(move, inputs={"account": "source", "sign": Const(-1)}, …)``.

    It is stored in the plan, so it may be any data of up to 16 KiB, and must not be a secret.
    """

    value: Any


def checked_inputs(given: Any, face: TaskFace, who: str, option: str = "inputs") -> Inputs:
    """Return the sources given by ``inputs=`` or ``undo_inputs=``. Raises DefinitionError."""
    if not isinstance(given, Mapping):
        raise DefinitionError(
            f"{who}: {option}={given!r} must map parameters to names of the data or constants, as in "
            f"{option}={{'account': 'source', 'sign': Const(-1)}}"
        )
    parameters = {parameter.name: parameter for parameter in face.parameters}
    takes_any = face.function is None or any(
        parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()
    )
    for name in given:
        if not isinstance(name, str) or not (takes_any or name in parameters):
            parameter_names = ", ".join(sorted(parameters)) or "none"
            raise DefinitionError(f"{who}: {option} names the parameter {name!r}, but its task has {parameter_names}")
    return tuple((name, _source(given[name], f"{who}: {option}[{name!r}]")) for name in sorted(given))


def _source(given: Any, what: str) -> Source:
    if isinstance(given, Const):
        try:
            return Source.constant(given.value)
        except PayloadError as error:
            raise DefinitionError(f"{what} cannot be stored: {error}") from error
    if isinstance(given, str) and given:
        return Source(name=given)
    raise DefinitionError(f"{what} must be a name in the data, or a constant: Const(…)")


def checked_output(given: Any, who: str) -> str | None:
    """Return the name given by ``output=``. Raises DefinitionError."""
    if given is not None and not (isinstance(given, str) and NAME.fullmatch(given)):
        raise DefinitionError(
            f"{who}: output={given!r} must be the name in the data under which the result is kept: letters, digits, "
            "'_', '.' or '-'"
        )
    return given


def inherited(inputs: Inputs, face: TaskFace) -> Inputs:
    """Return the action's sources that apply to its compensation, which need not have the same parameters."""
    names = {parameter.name for parameter in face.parameters}
    return tuple((name, source) for name, source in inputs if name in names)


def refuse_secret_constants(inputs: Inputs, secrets: frozenset[str], who: str) -> None:
    """Refuse constants that hold secrets: a plan is stored and shown as it is. Raises DefinitionError."""
    for name, source in inputs:
        if source.const is not None:
            for secret in sorted(secrets.intersection([name, *_keys(source.value)])):
                raise DefinitionError(
                    f"{who}: the constant for {name!r} would store the secret {secret!r} in the plan, where everyone "
                    "can read it: let the input or a step provide it, or let the task look it up"
                )


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from _keys(item)
