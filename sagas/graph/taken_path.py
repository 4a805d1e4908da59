"""The boxes that an instance reached, forward and back."""

from collections.abc import Iterator

from sagas.graph.shape import Node, Shape, lanes
from sagas.model import SagaStatus, StepStatus

START, DONE = "start", "done"
_PASSED = frozenset({StepStatus.COMPLETED, StepStatus.SKIPPED})


def fork(position: int) -> str:
    return f"fork{position}"


def join(position: int) -> str:
    return f"join{position}"


def taken_path(shape: Shape) -> set[str]:
    """Return the ids of everything that was reached; of a saga that was not started, none."""
    if shape.status is None:
        return set()
    been = {START, *(node.undo.id for node in shape.nodes if node.undo and node.undo.status)}
    been |= set(_dispatched(shape))
    later = shape.status is SagaStatus.COMPLETED
    if later:
        been.add(DONE)
    for position, beside in reversed(list(shape.positions())):
        been |= set(_passed_by(beside, later))
        forked = len(lanes(beside)) > 1
        if forked and later:
            been.add(join(position))
        later = later or any(node.id in been for node in beside)
        if forked and later:
            been.add(fork(position))
    return been


def _dispatched(shape: Shape) -> Iterator[str]:
    open_ = shape.status is not None and shape.status.is_forward
    for _, beside in shape.positions():
        for lane in lanes(beside):
            follows = open_
            for node in lane:
                # The successor of a completed step was dispatched together with its completion.
                if node.started or node.status not in (StepStatus.PENDING, StepStatus.SKIPPED) or follows:
                    yield node.id
                follows = follows and _is_done(node)
        open_ = open_ and all(map(_is_done, beside))


def _is_done(node: Node) -> bool:
    return node.status in _PASSED or (node.best_effort and node.status is StepStatus.FAILED)


def _passed_by(nodes: tuple[Node, ...], later: bool) -> Iterator[str]:
    """Yield the steps skipped on the way because of their condition, but not those that the saga never came to."""
    for lane in lanes(nodes):
        passed = later
        for node in reversed(lane):
            if node.status is StepStatus.SKIPPED and passed:
                yield node.id
            passed = passed or node.started


def undone(shape: Shape) -> set[str]:
    """Return the ids of the compensations on the way back, including those with nothing to undo."""
    undos = [node.undo for node in shape.nodes if node.undo]
    dispatched = [place for place, undo in enumerate(undos) if undo.status]
    alone = {beside[0].undo.id for _, beside in shape.positions() if len(beside) == 1 and beside[0].undo}
    between = undos[dispatched[0] : dispatched[-1]] if dispatched else []
    return {undo.id for undo in undos if undo.status} | {undo.id for undo in between} & alone
