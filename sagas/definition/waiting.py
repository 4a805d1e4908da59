"""Steps that no worker runs: they wait for time, a signal or another saga, and hold neither a worker nor a message."""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, get_args

from sagas.definition.keys import declared_keys
from sagas.definition.options import choice
from sagas.definition.part import Compiler, Part, Slot
from sagas.definition.retry import number
from sagas.definition.signatures import Fields, OnTimeoutWord
from sagas.errors import DefinitionError
from sagas.model import OnTimeout, PlanStep, StepKind, StepRole

if TYPE_CHECKING:
    from sagas.definition.saga import Saga

LONGEST_WAIT = 10 * 365 * 24 * 3600.0
SIGNAL = re.compile(r"[A-Za-z_][A-Za-z0-9_.:\-]{0,199}")


class Sleep(Part):
    """Let time pass before the next step: ``Sleep(hours=1)``, ``Sleep(timedelta(days=3))``, ``Sleep(90)`` seconds.

    Args:
        duration: a timedelta, or seconds; the keyword arguments are added to it.
        name: the step's name; ``sleep`` by default.
    """

    def __init__(
        self,
        duration: timedelta | float = 0,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        name: str = "sleep",
    ) -> None:
        super().__init__(name)
        parts = ((duration, 1), (days, 86_400), (hours, 3_600), (minutes, 60), (seconds, 1))
        whole = sum(number(part, _who(name), 0, 1e12) * unit for part, unit in parts)
        self.seconds = number(whole, _who(name), 0.001, LONGEST_WAIT)

    def compile(self, place: Slot, compiler: Compiler) -> PlanStep:
        return PlanStep(
            **place.fields(), name=self.name, task=None, compensation=None, role=StepRole.SLEEP, seconds=self.seconds
        )


class WaitFor(Part):
    """Wait for a signal from outside: ``handle.signal("approved", {"by": "maria"}, key="…")``.

    The signal's payload is merged into the data. A signal that comes before the wait is kept for it.

    Args:
        signal: the signal's name.
        timeout: how long to wait at most: a timedelta, or seconds.
        on_timeout: ``"compensate"`` turns the saga back, ``"continue"`` goes on without a payload.
        payload: the names in the payload, if later parameters are to be checked: a TypedDict, a dataclass, or names.
        name: the step's name; the signal's name by default.
    """

    def __init__(
        self,
        signal: str,
        *,
        timeout: timedelta | float,
        on_timeout: OnTimeoutWord = "compensate",
        payload: Fields | None = None,
        name: str | None = None,
    ) -> None:
        if not isinstance(signal, str) or not SIGNAL.fullmatch(signal):
            raise DefinitionError(f"WaitFor({signal!r}): a signal's name is letters, digits, '_', '.', ':' or '-'")
        super().__init__(name or signal.replace(":", "."))
        self.signal = signal
        self.seconds = number(timeout, f"WaitFor({signal!r}): timeout", 0.001, LONGEST_WAIT)
        word = choice(on_timeout, get_args(OnTimeoutWord), f"WaitFor({signal!r}): on_timeout")
        self.on_timeout = OnTimeout(word)
        self._payload = declared_keys(payload)

    @property
    def is_certain(self) -> bool:
        return self.on_timeout is OnTimeout.COMPENSATE

    def gives(self) -> frozenset[str] | None:
        return self._payload

    def check_place(self, place: Slot, saga: str) -> None:
        if place.kind is StepKind.RETRIABLE and self.on_timeout is OnTimeout.COMPENSATE:
            raise DefinitionError(
                f"saga {saga!r}: WaitFor {self.name!r} is after the pivot, where nothing can be undone: pass "
                "on_timeout='continue', or move it before the pivot"
            )

    def compile(self, place: Slot, compiler: Compiler) -> PlanStep:
        return PlanStep(
            **place.fields(),
            name=self.name,
            task=None,
            compensation=None,
            role=StepRole.WAIT,
            seconds=self.seconds,
            signal=self.signal,
            on_timeout=self.on_timeout,
        )


class Child(Part):
    """A step that starts another saga and completes when that does; its results are merged into the data.

    If the child is compensated, this step fails and the saga turns back. If this saga turns back later, the completed
    child is undone as a unit, in its own reverse order. While a child waits for a person, so does its parent.

    Args:
        saga: the other saga.
        input: the names of the data that it gets; all of it by default.
        output: the names of its results that are merged into the data; all of them by default. Two parallel children of
            the same saga return the same names, so pass ``output=()`` for at least one of them.
        name: the step's name; the other saga's name by default.
    """

    def __init__(
        self,
        saga: "Saga",
        *,
        input: Sequence[str] | None = None,
        output: Sequence[str] | None = None,
        name: str | None = None,
    ) -> None:
        if not callable(getattr(saga, "start_on", None)):
            raise DefinitionError(f"Child({saga!r}): pass the Saga that the step is to start")
        super().__init__(name or saga.name)
        if saga.is_limited:
            raise DefinitionError(
                f"Child({saga.name!r}): it has locks or max_concurrent, and two parents that wait for each other's "
                "children would wait for ever: move the locks to the saga that starts it"
            )
        self.saga = saga
        self._input, self._output = _names(input), _names(output)

    def gives(self) -> frozenset[str] | None:
        given = [part.gives() for part in self.saga.parts]
        known = [names for names in given if names is not None]
        if len(known) < len(given):
            return None if self._output is None else frozenset(self._output)
        whole = frozenset[str]().union(*known)
        return whole if self._output is None else whole & frozenset(self._output)

    def may_give(self) -> frozenset[str]:
        certain = [(part.gives() or frozenset()) - part.may_give() for part in self.saga.parts]
        return (self.gives() or frozenset()) - frozenset[str]().union(*certain)

    def lacks(self, known: frozenset[str]) -> str | None:
        required = (self.saga.input or frozenset()) if self._input is None else frozenset(self._input)
        return min(required - known, default=None)

    def check_place(self, place: Slot, saga: str) -> None:
        has_pivot = any(part.kind is StepKind.PIVOT for part in self.saga.parts)
        if has_pivot and place.kind is StepKind.COMPENSATABLE:
            raise DefinitionError(
                f"saga {saga!r}: the child saga {self.saga.name!r} has a pivot, so it could not be undone once it is "
                "done: move it after this saga's own pivot, or remove its pivot"
            )

    def compile(self, place: Slot, compiler: Compiler) -> PlanStep:
        return PlanStep(
            **place.fields(),
            name=self.name,
            task=None,
            compensation=None,
            role=StepRole.CHILD,
            child=compiler.plan(self.saga),
            child_input=self._input,
            child_output=self._output,
        )


def _names(given: Sequence[str] | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    if isinstance(given, str):
        raise DefinitionError(f"Child(…): {given!r} must be a list of names, as in [{given!r}]")
    return tuple(sorted(declared_keys(list(given)) or ()))


def _who(name: str) -> str:
    return f"Sleep {name!r}"
