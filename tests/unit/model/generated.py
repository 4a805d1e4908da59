"""Plans of every shape, as hypothesis draws them."""

from typing import Any

from hypothesis import strategies as st

from sagas.model import IfInDoubt, OnTimeout, Plan, StepKind
from tests.unit.model.story import Described, beside, child, pivot, plan_of, retriable, sleep, step, tries, wait

SIGNALS = ("approved", "paid")

options = st.fixed_dictionaries(
    {
        "retry": st.builds(
            tries, st.integers(1, 3), backoff=st.sampled_from([0.0, 1.0, 30.0]), jitter=st.sampled_from([0.0, 1.0])
        ),
        "timeout": st.sampled_from([1.0, 30.0, 3600.0]),
        "idempotent": st.sampled_from([True, True, False]),
        "max_losses": st.integers(0, 2),
        "when": st.sampled_from([None, None, None, "wanted"]),
    }
)
ways_back = st.fixed_dictionaries(
    {
        "compensation": st.sampled_from(["undo", "undo", "undo", None]),
        "compensation_timeout": st.sampled_from([1.0, 3600.0]),
        "compensation_retry": st.builds(
            tries, st.integers(1, 3), on=st.just(("builtins.Exception",)), backoff=st.sampled_from([1.0, 30.0])
        ),
        "compensation_deadline": st.sampled_from([None, None, None, 5.0, 100.0]),
        "best_effort": st.sampled_from([False, False, False, True]),
        "if_in_doubt": st.sampled_from([IfInDoubt.UNDO, IfInDoubt.UNDO, IfInDoubt.PERSON]),
    }
)
seconds = st.sampled_from([1.0, 60.0, 4000.0])


@st.composite
def parts(draw: st.DrawFn, *, past_pivot: bool) -> Described:
    """One step: mostly one that a worker runs."""
    kind = {"kind": StepKind.RETRIABLE} if past_pivot else {}
    match draw(st.sampled_from(["task"] * 7 + ["sleep", "wait", "child"])):
        case "sleep":
            return sleep(draw(seconds), **kind)
        case "wait":
            then = OnTimeout.CONTINUE if past_pivot else draw(st.sampled_from(OnTimeout))
            return wait(draw(st.sampled_from(SIGNALS)), draw(seconds), then=then, **kind)
        case "child":
            return child(**kind)
        case _ if past_pivot:
            return retriable(**draw(options), best_effort=draw(st.sampled_from([False, False, True])))
    return step(**draw(options), **draw(ways_back))


@st.composite
def positions(draw: st.DrawFn, *, past_pivot: bool) -> Any:
    """One step, or lanes of steps side by side."""
    if not draw(st.sampled_from([False, False, True])):
        return draw(parts(past_pivot=past_pivot))
    lanes = st.lists(parts(past_pivot=past_pivot), min_size=1, max_size=3)
    together = {"undo_at_once": draw(st.booleans()), "cancels_siblings": draw(st.booleans())}
    return beside(*draw(st.lists(lanes, min_size=2, max_size=4)), **together)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """1 to 6 positions; those from a pivot on, if there is one, go only forward."""
    length = draw(st.integers(1, 6))
    place = draw(st.integers(0, 2 * length))
    steps = []
    for position in range(length):
        if position == place:
            steps.append(pivot(**draw(options)))
        else:
            steps.append(draw(positions(past_pivot=position > place)))
    return plan_of(
        *steps,
        undo_at_once=draw(st.sampled_from([False, False, False, True])),
        stop_at_failed_undo=draw(st.sampled_from([False, False, True])),
    )
