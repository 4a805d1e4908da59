"""Graphs of choreographies: one that is written out, and those of every shape, as hypothesis draws them."""

from typing import Any

from hypothesis import strategies as st

from sagas.model import PlanStep
from sagas.model.choreography import ChoreographyPlan, EventPlan, FieldPlan, HandlerPlan, IfDead, Order
from tests.unit.model.generated import options
from tests.unit.model.story import tries

TYPES = ("A", "B", "C", "D", "E", "F")


def handler(name: str, hears: str | tuple[str, ...], *, undo: str | None = None, **described: Any) -> HandlerPlan:
    """A handler that is tried once, unless ``retry`` says more. Its place comes with the graph."""
    own = {field: described.pop(field) for field in set(described) & set(HandlerPlan.__dataclass_fields__)}
    hears = (hears,) if isinstance(hears, str) else hears
    shared = {"retry": tries(1), **described}
    step = PlanStep(position=0, name=name, task=f"tasks.{name}", compensation=undo, **shared)
    return HandlerPlan(step=step, hears=hears, **own)


def graph(*handlers: HandlerPlan, starts: str = "A", **described: Any) -> ChoreographyPlan:
    """A choreography of these handlers, with an entry for each event that it names."""
    placed = [
        HandlerPlan.from_json(it.to_json() | {"step": it.step.to_json() | {"branch": place}})
        for place, it in enumerate(sorted(handlers, key=lambda it: it.name))
    ]
    named = {starts, *described.get("ends", ()), *described.get("refuses", ()), *dict(described.get("awaits", ()))}
    named |= {described["on_cancel"]} if described.get("on_cancel") else set()
    named = named.union(*(it.types() for it in placed))
    events = described.pop("events", tuple(EventPlan(type=type_) for type_ in sorted(named)))
    return ChoreographyPlan(
        name="fulfilment", version=1, starts=starts, handlers=tuple(placed), events=events, **described
    )


fields = st.builds(
    FieldPlan,
    name=st.sampled_from(["order_id", "total"]),
    type=st.sampled_from(["str", "Decimal"]),
    required=st.booleans(),
)


@st.composite
def handlers(draw: st.DrawFn, name: str) -> HandlerPlan:
    hears = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=2, unique=True))
    undo = draw(st.sampled_from([None, "tasks.undo"]))
    others = [type_ for type_ in TYPES if type_ not in hears]
    return handler(
        name,
        tuple(hears),
        undo=undo,
        undo_when=tuple(draw(st.lists(st.sampled_from(others), max_size=2, unique=True))) if undo else (),
        publishes=tuple(draw(st.lists(st.sampled_from(TYPES), max_size=3, unique=True))),
        order=draw(st.sampled_from(Order)),
        if_dead=draw(st.sampled_from(IfDead)),
        **{name: value for name, value in draw(options).items() if name != "when"},
    )


@st.composite
def graphs(draw: st.DrawFn) -> ChoreographyPlan:
    """1 to 4 handlers of up to six types."""
    names = draw(st.lists(st.sampled_from(["charge", "mail", "reserve", "ship"]), min_size=1, unique=True))
    ends = draw(st.lists(st.sampled_from(TYPES), max_size=2, unique=True))
    versions = {type_: draw(st.integers(1, 3)) for type_ in TYPES}
    return graph(
        *(draw(handlers(name)) for name in names),
        starts=draw(st.sampled_from(TYPES)),
        ends=tuple(ends),
        refuses=tuple(draw(st.lists(st.sampled_from([it for it in TYPES if it not in ends]), max_size=1))),
        on_cancel=draw(st.sampled_from([None, "F"])),
        deadline=draw(st.sampled_from([None, 100.0])),
        awaits=tuple(sorted(draw(st.dictionaries(st.sampled_from(TYPES), st.just(7200.0), max_size=2)).items())),
        events=tuple(
            EventPlan(type=type_, version=version, fields=tuple(draw(st.lists(fields, max_size=2))))
            for type_, version in versions.items()
        ),
    )
