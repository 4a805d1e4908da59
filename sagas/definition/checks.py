"""What can be refused when a saga is declared is refused then, with an error that names the step and the cure."""

import inspect
from collections.abc import Sequence
from typing import Any

from sagas.definition.parallel import Parallel
from sagas.definition.part import Part
from sagas.definition.step import Step
from sagas.engine import TaskFace, required
from sagas.errors import DefinitionError
from sagas.model import StepKind

#: The names that are there for certain, and those that may be; None: nobody has said.
Known = tuple[frozenset[str], frozenset[str]] | None


def check_steps(saga: str, steps: Sequence[Any]) -> None:
    """Kinds in their order, names that are unique. Raises DefinitionError."""
    if not steps:
        raise DefinitionError(f"saga {saga!r} has no steps: pass steps=[Step(…), …]")
    names: set[str] = set()
    past_pivot = False
    for item in steps:
        if not isinstance(item, Part | Parallel):
            raise DefinitionError(
                f"saga {saga!r}: {item!r} is no step; wrap the task in Step(…), Pivot(…) or Retriable(…), and steps "
                "that run side by side in parallel(…)"
            )
        for part in parts_of(item):
            if part.name in names:
                raise DefinitionError(
                    f"saga {saga!r} has two steps named {part.name!r}: pass name=… to one, since the idempotency keys "
                    "are made of it"
                )
            names.add(part.name)
            check_kind(saga, part, past_pivot=past_pivot)
            past_pivot = past_pivot or part.kind is StepKind.PIVOT


def check_kind(saga: str, part: Part, *, past_pivot: bool) -> None:
    if part.kind is StepKind.RETRIABLE and not past_pivot:
        raise DefinitionError(
            f"saga {saga!r}: Retriable {part.name!r} stands before any Pivot. Make the last step that may say no a "
            "Pivot"
        )
    if part.kind in (StepKind.COMPENSATABLE, StepKind.PIVOT) and past_pivot:
        raise DefinitionError(
            f"saga {saga!r}: step {part.name!r} stands after the pivot, where nothing can be undone: make it a "
            "Retriable, or move it before the pivot"
        )
    if part.kind is None and past_pivot and getattr(part, "compensation", None) is not None:
        raise DefinitionError(
            f"saga {saga!r}: {part.name!r} stands after the pivot, where nothing is undone: its compensation would "
            "never run. Leave it out, or move the step before the pivot"
        )


def parts_of(item: Part | Parallel) -> list[Part]:
    return [part for lane in item.lanes for part in lane] if isinstance(item, Parallel) else [item]


def check_parameters(
    saga: str,
    steps: Sequence[Part | Parallel],
    given: frozenset[str] | None,
    error: type[Exception] = DefinitionError,
) -> None:
    """Refuse a required parameter that nothing can provide, as far as input and returns are declared."""
    known: Known = None if given is None else (given, frozenset())
    for item in steps:
        lanes = item.lanes if isinstance(item, Parallel) else ((item,),)
        ends = []
        for lane in lanes:
            within = known
            for part in lane:
                check_part(saga, part, within, error)
                within = with_results(within, part)
            ends.append(within)
        if len(lanes) > 1:
            check_keys(saga, lanes)
        known = joined(ends)


def with_results(known: Known, part: Part) -> Known:
    own = part.gives()
    if known is None or own is None:
        return None
    certain, perhaps = known
    uncertain = part.may_give()
    return certain | (own - uncertain), perhaps | uncertain


def joined(ends: Sequence[Known]) -> Known:
    """What the steps after the branches can count on."""
    known = [end for end in ends if end is not None]
    if len(known) < len(ends):
        return None
    return frozenset().union(*(end[0] for end in known)), frozenset().union(*(end[1] for end in known))


def check_keys(saga: str, lanes: Sequence[Sequence[Part]]) -> None:
    """Two branches that return the same name would race for it."""
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


def check_part(saga: str, part: Part, known: Known, error: type[Exception]) -> None:
    if known is None:
        return
    if isinstance(part, Step) and part.when is not None and error is DefinitionError:
        there = ", ".join(sorted(known[0] | known[1])) or "nothing"
        if part.when not in known[0] | known[1]:
            raise error(
                f"saga {saga!r}: step {part.name!r} asks for {part.when!r} with when=, and there is only {there}"
            )
    lacking = part.lacks(known[0] | known[1])
    if lacking is not None and error is DefinitionError:
        there = ", ".join(sorted(known[0] | known[1])) or "nothing"
        raise error(
            f"saga {saga!r}: the child saga {part.name!r} is to be given {lacking!r}, and there is only {there}"
        )
    for who, face, own in part.needs():
        check_task(saga, who, face, known, own, error)


def check_task(
    saga: str,
    who: str,
    face: TaskFace,
    known: tuple[frozenset[str], frozenset[str]],
    own: frozenset[str] | None,
    error: type[Exception],
) -> None:
    if face.function is None:
        return
    wanted = required(face.function)
    if face.bound:
        wanted -= {next(iter(inspect.signature(face.function).parameters), "")}
    certain, perhaps = known
    for name in sorted(wanted - certain):
        if own and name in own:
            raise error(
                f"saga {saga!r}: the {who} requires {name!r}, which only its action's result gives. An action in doubt "
                "has no result: give the parameter a default"
            )
        if name in perhaps:
            raise error(
                f"saga {saga!r}: the {who} requires {name!r}, which only a step gives that may be skipped or fail: "
                "give the parameter a default"
            )
        there = ", ".join(sorted(certain)) or "nothing"
        raise error(
            f"saga {saga!r}: the {who} requires {name!r}, and there is only {there}: add it to the input, let an "
            "earlier step return it, or give it a default"
        )
