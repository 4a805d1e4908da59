"""Branches that run in parallel, at one position of a saga."""

from collections.abc import Sequence
from typing import get_args

from sagas.definition.options import choice
from sagas.definition.part import Part
from sagas.definition.signatures import IfOneFailsWord, UndoWord
from sagas.errors import DefinitionError
from sagas.model import StepKind

FEWEST, MOST = 2, 50


class Parallel:
    """Parallel branches; made by `parallel`."""

    def __init__(self, branches: Sequence[Part | Sequence[Part]], undo: UndoWord, if_one_fails: IfOneFailsWord) -> None:
        self.lanes: tuple[tuple[Part, ...], ...] = tuple(_lane(branch) for branch in branches)
        if not FEWEST <= len(self.lanes) <= MOST:
            raise DefinitionError(f"parallel(…) takes {FEWEST} to {MOST} branches, not {len(self.lanes)}")
        self.undo_at_once = choice(undo, get_args(UndoWord), "parallel(…): undo") == "parallel"
        self.cancels_siblings = choice(if_one_fails, get_args(IfOneFailsWord), "parallel(…): if_one_fails") == "cancel"

    def __repr__(self) -> str:
        return f"parallel({', '.join(repr(lane[0]) if len(lane) == 1 else repr(list(lane)) for lane in self.lanes)})"


def parallel(
    *branches: Part | Sequence[Part], undo: UndoWord = "reverse", if_one_fails: IfOneFailsWord = "finish"
) -> Parallel:
    """Run branches in parallel, on as many workers as there are; the saga goes on when all of them are done::

        parallel(
            Step(reserve_flight, compensation=cancel_flight),
            Step(reserve_hotel, compensation=cancel_hotel),
            [Step(find_car, compensation=None), Step(reserve_car, compensation=cancel_car)],
        )

    Args:
        branches: 2 to 50, each a step or a list of consecutive steps. A branch sees the data from before the position
            and the results of its own steps; two branches that return the same name are an error.
        undo: ``"reverse"`` undoes all of their steps one by one, last begun first; ``"parallel"`` undoes the branches
            in parallel.
        if_one_fails: when a branch fails for good, no further step begins, and running ones are waited for before
            anything is undone. ``"finish"`` lets them finish; ``"cancel"`` tells them to stop, by Celery's soft time
            limit in a prefork worker, and by ``current_step.cancelled`` everywhere.

    Raises:
        DefinitionError: too few or too many branches, or an item that is not a step.
    """
    return Parallel(branches, undo, if_one_fails)


def _lane(branch: Part | Sequence[Part]) -> tuple[Part, ...]:
    lane = (branch,) if isinstance(branch, Part) else tuple(branch) if isinstance(branch, list | tuple) else ()
    for part in lane:
        if not isinstance(part, Part):
            raise DefinitionError(f"parallel(…): {part!r} is not a step; wrap the task in Step(…) or Retriable(…)")
        if part.kind is StepKind.PIVOT:
            raise DefinitionError(
                f"parallel(…): the Pivot {part.name!r} cannot run beside others, which may still say no: give it a "
                "position of its own"
            )
    if not lane:
        raise DefinitionError(f"parallel(…): {branch!r} is not a branch; pass a step, or a list of steps")
    return lane
