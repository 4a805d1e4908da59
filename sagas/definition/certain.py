"""The data that a compensation can rely on if its action is in doubt, and so has no result."""

from collections.abc import Iterator

from sagas.definition.parallel import Parallel
from sagas.definition.part import Need, Part
from sagas.definition.saga import Saga
from sagas.definition.step import Step


def uncertain_undos(saga: Saga) -> Iterator[tuple[str, str]]:
    """Yield each step with a name that its compensation requires and that is not certain to be provided.

    The declared input, the declared returns of earlier steps, and the names that its own action and earlier ones
    required are certain: those actions were called with them.
    """
    certain = saga.input or frozenset()
    for item in saga.steps:
        lanes: tuple[tuple[Part, ...], ...] = item.lanes if isinstance(item, Parallel) else ((item,),)
        ends = []
        for lane in lanes:
            within = certain
            for part in lane:
                called_with = within
                if isinstance(part, Step):
                    action, *undo = part.needs()
                    called_with = within | required(action)
                    yield from ((part.name, name) for need in undo for name in sorted(required(need) - called_with))
                gives = (part.gives() or frozenset()) - part.may_give()
                within = (called_with if part.is_certain else within) | gives
            ends.append(within)
        certain = frozenset().union(*ends)


def required(need: Need) -> frozenset[str]:
    """Return the names of the data that a task cannot be called without."""
    sources = dict(need.inputs)
    names = (sources[one].name if one in sources else one for one in need.face.required)
    return frozenset(name for name in names if name is not None)
