"""Checks that run when a saga is declared; their errors name the step and the cure."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sagas.definition.parallel import Parallel
from sagas.definition.part import Need, Part
from sagas.definition.step import Step
from sagas.errors import DefinitionError, SagaError
from sagas.model import StepKind

#: The names that are certain to exist, and those that may; None: not declared.
Known = tuple[frozenset[str], frozenset[str]] | None


class Problems:
    """Everything that is wrong with a saga, reported at once, so that a worker need not be started for each problem."""

    def __init__(self, kind: type[SagaError] = DefinitionError) -> None:
        self.kind = kind
        self._found: dict[str, SagaError] = {}

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Collect an error of the block, so that the rest is still checked."""
        try:
            yield
        except self.kind as error:
            self._found.setdefault(str(error), error)

    def refuse(self, what: str) -> None:
        """Raise one error about everything that was found, if anything was."""
        if len(self._found) > 1:
            lines = "".join(f"\n- {problem}" for problem in self._found)
            raise self.kind(f"{what} cannot work, for {len(self._found)} reasons:{lines}")
        for error in self._found.values():
            raise error


def check_steps(saga: str, steps: Sequence[Any], problems: Problems) -> None:
    """Check the order of kinds and the uniqueness of names. Raises DefinitionError for items that are not steps."""
    if not steps:
        raise DefinitionError(f"saga {saga!r} has no steps: pass steps=[Step(…), …]")
    names: set[str] = set()
    past_pivot = False
    for item in steps:
        if not isinstance(item, Part | Parallel):
            raise DefinitionError(
                f"saga {saga!r}: {item!r} is not a step; wrap the task in Step(…), Pivot(…) or Retriable(…), and steps "
                "that run side by side in parallel(…)"
            )
        for part in parts_of(item):
            with problems.noted():
                check_name(saga, part, names)
            names.add(part.name)
            with problems.noted():
                check_kind(saga, part, past_pivot=past_pivot)
            past_pivot = past_pivot or part.kind is StepKind.PIVOT


def check_name(saga: str, part: Part, names: Collection[str]) -> None:
    if part.name in names:
        raise DefinitionError(
            f"saga {saga!r} has two steps named {part.name!r}: pass name=… to one, since the idempotency keys "
            "are made of it"
        )


def check_kind(saga: str, part: Part, *, past_pivot: bool) -> None:
    if part.kind is StepKind.RETRIABLE and not past_pivot:
        raise DefinitionError(
            f"saga {saga!r}: Retriable {part.name!r} is before any Pivot. Make the last step that may say no a Pivot"
        )
    if part.kind in (StepKind.COMPENSATABLE, StepKind.PIVOT) and past_pivot:
        raise DefinitionError(
            f"saga {saga!r}: step {part.name!r} is after the pivot, where nothing can be undone: make it a "
            "Retriable, or move it before the pivot"
        )
    if part.kind is None and past_pivot and getattr(part, "compensation", None) is not None:
        raise DefinitionError(
            f"saga {saga!r}: {part.name!r} is after the pivot, where nothing is undone: its compensation would "
            "never run. Leave it out, or move the step before the pivot"
        )


def parts_of(item: Part | Parallel) -> list[Part]:
    return [part for lane in item.lanes for part in lane] if isinstance(item, Parallel) else [item]


def check_parameters(
    saga: str, steps: Sequence[Part | Parallel], given: frozenset[str] | None, error: type[SagaError] = DefinitionError
) -> None:
    """Refuse a required parameter that nothing can provide. Raises ``error``."""
    problems = Problems(error)
    note_parameters(saga, steps, given, problems)
    problems.refuse(f"saga {saga!r}")


def note_parameters(
    saga: str, steps: Sequence[Part | Parallel], given: frozenset[str] | None, problems: Problems
) -> None:
    """Note required parameters that nothing can provide, as far as input and returns are declared."""
    known: Known = None if given is None else (given, frozenset())
    for item in steps:
        lanes = item.lanes if isinstance(item, Parallel) else ((item,),)
        ends = []
        for lane in lanes:
            within = known
            for part in lane:
                check_part(saga, part, within, problems)
                within = with_results(within, part)
            ends.append(within)
        if len(lanes) > 1:
            with problems.noted():
                check_keys(saga, lanes)
        known = known_after_branches(ends)


def with_results(known: Known, part: Part) -> Known:
    own = part.gives()
    if known is None or own is None:
        return None
    certain, perhaps = known
    uncertain = part.may_give()
    return certain | (own - uncertain), perhaps | uncertain


def known_after_branches(ends: Sequence[Known]) -> Known:
    """Return what the steps after the branches can rely on."""
    known = [end for end in ends if end is not None]
    if len(known) < len(ends):
        return None
    return frozenset().union(*(end[0] for end in known)), frozenset().union(*(end[1] for end in known))


def check_keys(saga: str, lanes: Sequence[Sequence[Part]]) -> None:
    """Refuse two branches that return the same name: they would race for it."""
    whose: dict[str, tuple[int, str]] = {}
    for number, lane in enumerate(lanes):
        for part in lane:
            for name in sorted(part.gives() or ()):
                before = whose.setdefault(name, (number, part.name))
                if before[0] != number:
                    raise DefinitionError(
                        f"saga {saga!r}: the branches {before[1]!r} and {part.name!r} both return {name!r}: give it "
                        "two names"
                    )


def check_part(saga: str, part: Part, known: Known, problems: Problems) -> None:
    if known is None:
        return
    if problems.kind is DefinitionError:
        with problems.noted():
            check_condition(saga, part, known[0] | known[1])
        with problems.noted():
            check_passing_on(saga, part, known[0] | known[1])
    for need in part.needs():
        sources = dict(need.inputs)
        for parameter in sorted(need.face.required | sources.keys()):
            name = sources[parameter].name if parameter in sources else parameter
            if name is None or name in known[0]:
                continue
            with problems.noted():
                check_parameter(saga, need, parameter, name, known, problems.kind)


def check_condition(saga: str, part: Part, present: frozenset[str]) -> None:
    if isinstance(part, Step) and part.when is not None and part.when not in present:
        raise DefinitionError(
            f"saga {saga!r}: step {part.name!r} asks for {part.when!r} with when=, and there is only {listed(present)}"
        )


def check_passing_on(saga: str, part: Part, names: frozenset[str]) -> None:
    lacking = part.lacks(names)
    if lacking is not None:
        raise DefinitionError(
            f"saga {saga!r}: the child saga {part.name!r} is to be given {lacking!r}, and there is only {listed(names)}"
        )


def check_parameter(
    saga: str,
    need: Need,
    parameter: str,
    name: str,
    known: tuple[frozenset[str], frozenset[str]],
    error: type[SagaError],
) -> None:
    """Check a parameter that is filled from a name which is not certain to exist."""
    certain, perhaps = known
    asked = f"the {need.who} requires {name!r}" + ("" if name == parameter else f" for its parameter {parameter!r}")
    may_come = name in perhaps or name in (need.own or ())
    if parameter not in need.face.required and (may_come or error is not DefinitionError):
        return
    if need.own and name in need.own:
        raise error(
            f"saga {saga!r}: {asked}, which only its action's result gives. An action in doubt has no result: give the "
            "parameter a default"
        )
    if name in perhaps:
        raise error(
            f"saga {saga!r}: {asked}, which only a step gives that may be skipped or fail: give the parameter a "
            "default (one whose annotation says `| None` or NotRequired may leave it out, too)"
        )
    # Its own action may well return it, without saying so.
    own = "; what its own action returns is missing where that is in doubt, so undo by current_step.action_key"
    raise error(
        f"saga {saga!r}: {asked}, and there is only {listed(certain)}: add it to the input, let an earlier step return "
        f"it, or give it a default{own if need.is_undo and need.own is None else ''}"
    )


def listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"
