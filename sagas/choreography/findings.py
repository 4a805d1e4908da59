"""The findings of `check` on the graph of a choreography: what never happens, and what is never undone."""

from collections.abc import Collection, Iterator
from itertools import combinations, product

from sagas.choreography.choreography import Choreography
from sagas.choreography.ways import Ways
from sagas.engine import START_TASK, Engine
from sagas.model.choreography import HandlerPlan


def graph_findings(choreography: Choreography, engine: Engine) -> list[str]:
    """Return one line per finding on a choreography that compiles: what, why, and the cure."""
    ways = Ways(choreography.plan(engine))
    excused = {handler.name for handler in choreography.handlers.values() if handler.says_nothing_to_undo}
    # A saga that started on an event is cancelled when the run turns back, and by nothing else.
    excused |= {handler.name for handler in ways.plan.handlers if handler.step.task == START_TASK}
    found = [
        *unheard(ways),
        *never_coming(ways),
        *not_undone(ways, excused),
        *without_end(ways),
        *closed_and_fed(ways),
        *endless(ways),
        *contradicting(ways),
    ]
    return [f"{choreography.who}: {finding}" for finding in found]


def graph_notes(choreography: Choreography, engine: Engine) -> list[str]:
    """Return one line per note: what is right for some choreographies, and surprising in others."""
    return [f"{choreography.who}: {note}" for note in closed_to_the_outside(Ways(choreography.plan(engine)))]


def unheard(ways: Ways) -> Iterator[str]:
    """Yield the events that come and change nothing."""
    plan = ways.plan
    for type_ in sorted(ways.coming):
        if ways.is_heard(type_):
            continue
        if type_ == plan.starts:
            yield f"the event {type_} starts its runs, and no handler hears it: declare one with on({type_}, …)"
        elif type_ == plan.on_cancel:
            yield (
                f"the event {type_} is published when a run turns back, and no handler hears it: declare one, or leave "
                "on_cancel= out"
            )
        elif type_ in dict(plan.awaits):
            yield f"the event {type_} is awaited, and no handler hears it: declare one, or leave it out of awaits="
        elif by := [bridge.name for bridge in plan.bridges if type_ in bridge.accepts]:
            yield (
                f"the event {type_} may come by the bridge {by[0]}, and no handler hears it: declare one, or leave it "
                "out of accepts="
            )
        else:
            yield (
                f"the event {type_}, which {listed(ways.publishers(type_))} may publish, is heard by no handler, "
                "undoes none and ends no run: declare a handler, name it in ends= or refuses=, or do not publish it"
            )


def never_coming(ways: Ways) -> Iterator[str]:
    """Yield the handlers and undos that wait for an event which never comes."""
    for handler in ways.plan.handlers:
        for type_ in handler.hears:
            if type_ not in ways.coming:
                yield (
                    f"the handler {handler.name!r} hears {type_}, {_why_not(ways, type_)}. Publish it, or name it in "
                    "awaits= if it comes from outside"
                )
        for type_ in handler.undo_when:
            if type_ not in ways.coming:
                yield (
                    f"the handler {handler.name!r} is undone by {type_}, {_why_not(ways, type_)}. Publish it, name it "
                    "in awaits= if it comes from outside, or leave it out of when="
                )


def _why_not(ways: Ways, type_: str) -> str:
    publishers = ways.publishers(type_)
    if not publishers:
        return "which no handler publishes"
    return f"which only {listed(publishers)} may publish, and that is never reached"


def not_undone(ways: Ways, excused: Collection[str]) -> Iterator[str]:
    """Yield what stays done after an event that undoes something else, or turns the run back."""
    plan = ways.plan
    undoing = {type_ for handler in plan.handlers for type_ in handler.undo_when} | set(plan.refuses)
    for type_ in sorted((undoing & ways.coming) - ways.outside):
        follows = ways.reachable_from([type_])
        turns_back = follows & set(plan.refuses)
        for handler in ways.before(type_):
            if handler.name in excused or follows & set(handler.undo_when):
                continue
            if not handler.is_undoable:
                does = "turns a run back" if type_ in plan.refuses else f"undoes {listed(plan.undone_by(type_))}"
                yield (
                    f"the event {type_} {does}, and the handler {handler.name!r}, which comes before it, has no undo: "
                    f"declare one with undo({handler.name}, …), or say on(…, undo=None) if there is nothing to undo"
                )
            elif not turns_back:
                yield (
                    f"the event {type_} undoes {listed(plan.undone_by(type_))}, and not {handler.name!r}, which comes "
                    f"before it: name it in when= of undo({handler.name}, …), or in refuses= if all is to be undone"
                )


def without_end(ways: Ways) -> Iterator[str]:
    """Yield the events that undo something and after which a run comes to no end."""
    for type_ in sorted(ways.coming - ways.outside):
        undone = ways.plan.undone_by(type_)
        if undone and not ways.reachable_from([type_]) & ways.ending:
            yield (
                f"after {type_}, which undoes {listed(undone)}, a run comes to no end: name it in refuses=, or let a "
                "handler of it publish an event that is in ends= or refuses="
            )


def closed_and_fed(ways: Ways) -> Iterator[str]:
    """Yield the handlers that an event closes and that hear what follows from it."""
    for handler in ways.plan.handlers:
        for type_ in handler.undo_when:
            for fed in sorted(ways.after(type_) & set(handler.hears)):
                yield (
                    f"the handler {handler.name!r} is undone by {type_} and closed from then on, and {fed}, which it "
                    "hears, may follow from that: it would be skipped. Let another handler hear it, or start a new run"
                )


def closed_to_the_outside(ways: Ways) -> Iterator[str]:
    """Yield the handlers that an event closes and that hear what comes from outside at any time."""
    for handler in ways.plan.handlers:
        fed = [type_ for type_ in handler.hears if type_ in dict(ways.plan.awaits)]
        if fed and handler.undo_when:
            yield (
                f"the handler {handler.name!r} hears {_and(fed)} from outside, and is closed once it was undone: what "
                "comes after that is skipped, and a second try is a new run"
            )


def endless(ways: Ways) -> Iterator[str]:
    """Yield the cycles from which no end is reached."""
    for cycle in ways.cycles():
        if not ways.reachable_from(cycle) & ways.ending:
            way = " → ".join((*cycle, cycle[0]))
            yield (
                f"{way} goes round without an exit: no event that follows from it ends a run. Let one of its handlers "
                "publish one that does"
            )


def contradicting(ways: Ways) -> Iterator[str]:
    """Yield each end and refusal that may both come in one run, since two handlers of one event lead to them."""
    plan = ways.plan
    reported: set[tuple[str, str]] = set()
    for type_ in sorted(ways.coming):
        for one, other in combinations(plan.hearers(type_), 2):
            for first, second in ((one, other), (other, one)):
                ends = ways.reachable_from(first.publishes) & set(plan.ends)
                refuses = ways.reachable_from(second.publishes) & set(plan.refuses)
                for end, refusal in sorted(product(ends, refuses)):
                    if (end, refusal) not in reported:
                        reported.add((end, refusal))
                        yield (
                            f"{end} ends a run and {refusal} turns it back, and both may come in one, since "
                            f"{first.name!r} and {second.name!r} both hear {type_}: the first of them counts, and the "
                            "other changes nothing. Let one handler wait for the other, or publish the end only when "
                            "both are done"
                        )


def listed(handlers: Collection[HandlerPlan]) -> str:
    return _and([repr(handler.name) for handler in handlers])


def _and(names: Collection[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
