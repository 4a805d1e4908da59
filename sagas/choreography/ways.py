"""The ways of events through a choreography: which may come, and which follow from which."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property

from sagas.model.choreography import ChoreographyPlan, HandlerPlan


class Ways:
    """The graph of a plan: an edge from an event that a handler hears to each that it may publish."""

    def __init__(self, plan: ChoreographyPlan) -> None:
        self.plan = plan
        self.ending = frozenset({*plan.ends, *plan.refuses})
        #: The events that come without a handler: the start, what is awaited from outside, and what a cancel publishes.
        self.outside = frozenset({plan.starts, *dict(plan.awaits), *([plan.on_cancel] if plan.on_cancel else [])})
        self.outside = self.outside.union(*(bridge.accepts for bridge in plan.bridges))

    # -- one step

    @cached_property
    def _next(self) -> dict[str, set[str]]:
        following = defaultdict[str, set[str]](set)
        for handler in self.plan.handlers:
            for type_ in handler.hears:
                following[type_] |= set(handler.publishes)
            for type_ in handler.undo_when:
                following[type_] |= set(handler.undo_publishes)
        return following

    def publishers(self, type_: str) -> tuple[HandlerPlan, ...]:
        """Return the handlers that may publish an event, or whose undo may."""
        return tuple(one for one in self.plan.handlers if type_ in one.publishes or type_ in one.undo_publishes)

    def is_heard(self, type_: str) -> bool:
        """Return whether an event changes anything: it is heard or leaves, it undoes something, or it ends the run."""
        return (
            type_ in self.ending
            or type_ in self.plan.leaving
            or bool(self.plan.hearers(type_) or self.plan.undone_by(type_))
        )

    # -- all steps

    def reachable_from(self, types: Iterable[str]) -> frozenset[str]:
        """Return some events and everything that may follow from them."""
        found: set[str] = set()
        waiting = [*types]
        while waiting:
            type_ = waiting.pop()
            if type_ not in found:
                found.add(type_)
                waiting += self._next[type_]
        return frozenset(found)

    def after(self, type_: str) -> frozenset[str]:
        """Return what may follow from an event; the event itself only if it is on a cycle."""
        return self.reachable_from(self._next[type_])

    @cached_property
    def coming(self) -> frozenset[str]:
        """The events that may come in a run."""
        come = self.reachable_from(self.outside)
        while True:
            # Everything that was done may be undone, since any run may turn back.
            undone = {type_ for one in self.plan.handlers if come & set(one.hears) for type_ in one.undo_publishes}
            if undone <= come:
                return come
            come = self.reachable_from(come | undone)

    def is_reached(self, handler: HandlerPlan) -> bool:
        return not self.coming.isdisjoint(handler.hears)

    def before(self, type_: str) -> Iterator[HandlerPlan]:
        """Yield the handlers that may have acted before an event came, without those that publish it instead."""
        for handler in self.plan.handlers:
            others = set(handler.publishes) - {type_}
            if self.is_reached(handler) and type_ in self.reachable_from(others):
                yield handler

    def cycles(self) -> Iterator[tuple[str, ...]]:
        """Yield each set of events that follow from one another, as one way round, from its first name."""
        known: set[str] = set()
        for type_ in sorted(self.coming):
            if type_ in known or type_ not in self.after(type_):
                continue
            known |= {other for other in self.after(type_) if type_ in self.after(other)}
            yield self._round(type_)

    def _round(self, start: str) -> tuple[str, ...]:
        """Return the shortest way from an event back to itself, without its end."""
        ways: list[tuple[str, ...]] = [(start,)]
        while True:
            longer = []
            for way in ways:
                for type_ in sorted(self._next[way[-1]]):
                    if type_ == start:
                        return way
                    if type_ not in way:
                        longer.append((*way, type_))
            ways = longer
