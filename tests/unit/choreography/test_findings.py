"""The graph of a choreography is checked: what never happens, what is never undone, what never ends."""

import re
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from celery import shared_task
from hypothesis import given

from sagas.choreography import Choreography, event, findings
from sagas.choreography.findings import graph_findings, graph_notes
from sagas.choreography.ways import Ways
from sagas.model.choreography import ChoreographyPlan
from tests.unit.choreography.fulfilment import bound
from tests.unit.model.choreography.graphs import graphs

#: Events with the letters as their names.
A, B, C, D, E, F, X, Y = (event(type(name, (), {"__annotations__": {}, "__module__": __name__})) for name in "ABCDEFXY")
ENGINE = bound("findings").engine
_numbers = count()


@shared_task
def act(event): ...  # type: ignore[no-untyped-def]


@shared_task
def undo(event): ...  # type: ignore[no-untyped-def]


JUDGES: list[Callable[[Ways], Iterator[str]]] = [
    findings.unheard,
    findings.never_coming,
    findings.without_end,
    findings.closed_and_fed,
    findings.closed_to_the_outside,
    findings.endless,
    findings.contradicting,
]


class Graph:
    """A choreography whose runs start with A and end with E, in short."""

    def __init__(self, **options: Any) -> None:
        self.choreography = Choreography(f"graph{next(_numbers)}", **{"starts": A, "ends": E} | options)

    def on(self, name: str, *hears: type, to: Any = (), undone: Any = False, **options: Any) -> "Graph":
        """Add a handler. ``undone``: what undoes it; () is only turning back; False says nothing; None has none."""
        given = options | ({"undo": None} if undone is None else {})
        self.choreography.on(*hears, publishes=to, name=name, **given)(act)
        if undone not in (False, None):
            self.choreography.undo(name, when=undone)(undo)
        return self

    def bridged(self, name: str, accepts: Any) -> "Graph":
        self.choreography.bridged(name, (), accepts)
        return self

    def undo_publishing(self, name: str, when: Any, to: Any) -> "Graph":
        self.choreography.undo(name, when=when, publishes=to)(undo)
        return self

    def findings(self) -> list[str]:
        told = graph_findings(self.choreography, ENGINE)
        assert all(line.startswith(f"choreography {self.choreography.name!r}: ") for line in told)
        return [line.partition(": ")[2] for line in told]

    def notes(self) -> list[str]:
        return [line.partition(": ")[2] for line in graph_notes(self.choreography, ENGINE)]


def sound() -> Graph:
    """Reserve, charge, ship, with a way back from each."""
    return (
        Graph(refuses=(X, Y))
        .on("reserve", A, to=(B, X), undone=())
        .on("charge", B, to=(C, Y), undone=())
        .on("ship", C, to=(E, D), undone=None)
        .on("complain", D, to=Y, undone=None)
    )


def test_a_sound_graph_has_no_findings_and_no_notes() -> None:
    assert sound().findings() == []
    assert sound().notes() == []


def test_undos_by_events_are_sound_if_each_names_what_undoes_it_and_the_run_ends() -> None:
    graph = (
        Graph(refuses=Y, on_cancel=F, awaits={D: 60})
        .on("reserve", A, to=B, undone=(X, F))
        .on("charge", B, to=(C, X))
        .undo_publishing("charge", F, ())
        .on("ship", C, D, to=E, undone=None)
        .on("tell", X, to=Y, undone=None)
    )

    assert graph.findings() == []


def test_a_cycle_with_an_exit_is_sound() -> None:
    assert Graph().on("ask", A, B, to=C).on("answer", C, to=(B, E)).findings() == []


FINDINGS: dict[str, tuple[Callable[[], Graph], list[str]]] = {
    "an event that is heard by no handler": (
        lambda: Graph().on("a", A, to=(B, E)),
        ["the event B, which 'a' may publish, is heard by no handler, undoes none and ends no run: declare a handler"],
    ),
    "a start that is heard by no handler": (
        lambda: Graph(),
        [r"the event A starts its runs, and no handler hears it: declare one with on(A, …)"],
    ),
    "an awaited event that is heard by no handler": (
        lambda: Graph(awaits={B: 60}).on("a", A, to=E),
        ["the event B is awaited, and no handler hears it: declare one, or leave it out of awaits="],
    ),
    "an event of a bridge that is heard by no handler": (
        lambda: Graph().on("a", A, to=E).bridged("till", accepts=(B,)),
        ["the event B may come by the bridge till, and no handler hears it: declare one, or leave it out of accepts="],
    ),
    "a cancel that is heard by no handler": (
        lambda: Graph(on_cancel=B).on("a", A, to=E),
        ["the event B is published when a run turns back, and no handler hears it: declare one, or leave on_cancel="],
    ),
    "an event that an undo publishes": (
        lambda: Graph().on("a", A, to=E).undo_publishing("a", (), B),
        ["the event B, which 'a' may publish, is heard by no handler"],
    ),
    "a handler that is never reached": (
        lambda: Graph().on("a", A, to=E).on("b", B, to=C).on("c", C, to=E),
        [
            "the handler 'b' hears B, which no handler publishes. Publish it, or name it in awaits= if it comes from",
            "the handler 'c' hears C, which only 'b' may publish, and that is never reached. Publish it",
        ],
    ),
    "handlers that only reach each other": (
        lambda: Graph().on("a", A, to=E).on("b", B, to=C).on("c", C, to=B),
        ["the handler 'b' hears B, which only 'c' may publish", "the handler 'c' hears C, which only 'b' may publish"],
    ),
    "an undo that is never triggered": (
        lambda: Graph().on("a", A, to=E, undone=(X,)),
        ["the handler 'a' is undone by X, which no handler publishes. Publish it, name it in awaits= if it comes from"],
    ),
    "a refusal after what has no undo": (
        lambda: Graph(refuses=X).on("a", A, to=B).on("b", B, to=(E, X)),
        ["the event X turns a run back, and the handler 'a', which comes before it, has no undo: declare one with"],
    ),
    "a failure after what has no undo": (
        lambda: (
            Graph(refuses=X)
            .on("a", A, to=B, undone=Y)
            .on("b", B, to=C)
            .on("c", C, to=(E, Y))
            .on("d", Y, to=X, undone=None)
        ),
        [
            "the event X turns a run back, and the handler 'b', which comes before it, has no undo",
            "the event X turns a run back, and the handler 'c', which comes before it, has no undo",
            "the event Y undoes 'a', and the handler 'b', which comes before it, has no undo: declare one",
        ],
    ),
    "a failure after what it does not undo": (
        lambda: Graph().on("a", A, to=B, undone=()).on("b", B, to=C, undone=X).on("c", C, to=(E, X)).on("d", X, to=E),
        ["the event X undoes 'b', and not 'a', which comes before it: name it in when= of undo(a, …), or in refuses="],
    ),
    "an undo after which no end comes": (
        lambda: Graph().on("a", A, to=B, undone=X).on("b", B, to=(E, X)),
        ["after X, which undoes 'a', a run comes to no end: name it in refuses=, or let a handler of it publish"],
    ),
    "a handler that is closed and still fed": (
        lambda: (
            Graph()
            .on("a", A, to=B, undone=None)
            .on("b", B, D, to=(E, C), undone=X)
            .on("c", C, to=X, undone=X)
            .on("d", X, to=(D, E), undone=None)
        ),
        [
            "the handler 'b' is undone by X and closed from then on, and D, which it hears, may follow from that",
            "the handler 'c' is undone by X and closed from then on, and C, which it hears, may follow from that",
        ],
    ),
    "a cycle without an exit": (
        lambda: Graph().on("a", A, to=(B, E)).on("b", B, to=C).on("c", C, to=D).on("d", D, to=B),
        ["B → C → D → B goes round without an exit: no event that follows from it ends a run. Let one of its handlers"],
    ),
    "an event that a handler answers with itself": (
        lambda: Graph().on("a", A, to=(B, E)).on("b", B, to=B),
        ["B → B goes round without an exit"],
    ),
    "an end and a refusal in one run": (
        lambda: Graph(refuses=X).on("a", A, to=E, undone=()).on("b", A, to=B, undone=()).on("c", B, to=X, undone=()),
        ["E ends a run and X turns it back, and both may come in one, since 'a' and 'b' both hear A: the first"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("graph", "told"), FINDINGS.values(), ids=FINDINGS)
def test_a_finding_says_what_why_and_the_cure(graph: Callable[[], Graph], told: list[str]) -> None:
    found = graph().findings()

    assert len(found) == len(told), found
    assert [line for line, beginning in zip(found, told, strict=True) if not line.startswith(beginning)] == []


@given(graphs())
def test_every_graph_is_judged_and_a_finding_names_what_is_in_it(plan: ChoreographyPlan) -> None:
    ways = Ways(plan)
    found = [line for judge in JUDGES for line in judge(ways)] + [*findings.not_undone(ways, ())]

    assert len(found) == len({*found})
    for line in found:
        named = {*re.findall(r"'(\w+)'", line), *re.findall(r"\b[A-F]\b", line)}
        assert named
        assert named <= {handler.name for handler in plan.handlers} | {event.type for event in plan.events}


@given(graphs())
def test_what_may_come_comes_from_outside_or_from_a_handler_that_is_reached(plan: ChoreographyPlan) -> None:
    ways = Ways(plan)

    for type_ in ways.coming - ways.outside:
        assert any(ways.is_reached(handler) for handler in ways.publishers(type_))
    for cycle in ways.cycles():
        for type_, following in zip(cycle, (*cycle[1:], cycle[0]), strict=True):
            assert following in ways.after(type_)


def test_a_handler_that_says_that_it_has_nothing_to_undo_is_not_asked_for_an_undo() -> None:
    assert Graph(refuses=X).on("a", A, to=B, undone=None).on("b", B, to=(E, X)).findings() == []


def test_what_comes_from_outside_after_a_handler_is_closed_is_noted() -> None:
    graph = Graph(awaits={B: 60}, refuses=X).on("a", A, to=(C, X)).on("b", B, C, to=E, undone=X)

    assert graph.notes() == [
        "the handler 'b' hears B from outside, and is closed once it was undone: what comes after that is skipped, and "
        "a second try is a new run"
    ]
