"""Who can count on which name: across branches, past steps that may be skipped or fail, and into child sagas."""

from typing import Any, TypedDict

import pytest
from celery import shared_task

from sagas import BestEffort, Child, DefinitionError, MissingInput, Pivot, Saga, Sleep, Step, WaitFor, parallel
from sagas.definition.checks import check_parameters


class Flight(TypedDict):
    flight: str


class Hotel(TypedDict):
    hotel: str


@shared_task
def book_flight(trip: str) -> Flight:
    return {"flight": trip}


@shared_task
def book_hotel(trip: str) -> Hotel:
    return {"hotel": trip}


@shared_task
def book_other_hotel(trip: str) -> Hotel:
    return {"hotel": trip}


@shared_task
def seat(flight: str) -> None: ...


@shared_task
def ask_for_a_seat(flight: str | None = None) -> None: ...


@shared_task
def invoice(flight: str, hotel: str) -> None: ...


@shared_task
def tells_nothing(trip):  # type: ignore[no-untyped-def]
    return {"anything": 1}


@shared_task
def cancel_flight(hotel: str) -> None: ...


def do(task: Any, **options: Any) -> Step:
    return Step(task, **{"compensation": None, **options})


def trip(*steps: Any, name: str = "trip", given: Any = ("trip",)) -> Saga:
    return Saga(name, steps=steps, input=given)


# -- branches


def test_what_all_branches_return_is_there_after_them() -> None:
    trip(parallel(do(book_flight), do(book_hotel)), do(invoice))


def test_a_branch_does_not_see_what_another_one_returns() -> None:
    with pytest.raises(DefinitionError, match="the step 'seat' requires 'flight', and there is only trip"):
        trip(parallel(do(book_flight), do(seat)))


def test_in_its_own_branch_a_step_sees_what_came_before_it() -> None:
    trip(parallel([do(book_flight), do(seat)], do(book_hotel)))


def test_not_what_comes_after_it() -> None:
    with pytest.raises(DefinitionError, match="the step 'seat' requires 'flight'"):
        trip(parallel([do(seat), do(book_flight)], do(book_hotel)))


def test_a_compensation_in_a_branch_does_not_see_what_another_one_returns() -> None:
    with pytest.raises(DefinitionError, match="the compensation of step 'book_flight' requires 'hotel'"):
        trip(parallel(do(book_flight, compensation=cancel_flight), do(book_hotel)))


def test_two_branches_that_return_one_name_are_refused_naming_both() -> None:
    with pytest.raises(
        DefinitionError,
        match="the branches 'book_hotel' and 'book_other_hotel' both return 'hotel': give it two names",
    ):
        trip(parallel(do(book_hotel), do(book_other_hotel)))


def test_also_deep_in_their_lanes() -> None:
    with pytest.raises(DefinitionError, match="the branches 'book_hotel' and 'book_other_hotel' both return 'hotel'"):
        trip(parallel([do(book_flight), do(book_hotel)], [Sleep(1), do(book_other_hotel)]))


def test_and_whether_a_step_a_signal_or_a_child_returns_it() -> None:
    hotels = trip(do(book_hotel, name="book"), name="hotels")
    for beside in (WaitFor("booked", timeout=1, payload=Hotel), Child(hotels)):
        with pytest.raises(DefinitionError, match=f"'{beside.name}' both return 'hotel'"):
            trip(parallel(do(book_hotel), beside))


def test_the_steps_of_one_lane_may_return_the_same_name() -> None:
    trip(parallel([do(book_hotel), do(book_other_hotel)], do(book_flight)), do(invoice))


def test_as_may_branches_of_different_positions() -> None:
    trip(parallel(do(book_hotel), do(book_flight)), parallel(do(book_other_hotel), do(ask_for_a_seat)))


def test_behind_a_branch_that_does_not_say_what_it_returns_nothing_is_refused() -> None:
    trip(parallel(do(tells_nothing), do(book_hotel)), do(invoice))


def test_beside_it_everything_is() -> None:
    with pytest.raises(DefinitionError, match="the step 'seat' requires 'flight'"):
        trip(parallel(do(tells_nothing), do(seat)))


# -- steps that may be skipped or fail

UNCERTAIN = {
    "a condition": do(book_flight, when="trip"),
    "a best effort": BestEffort(book_flight),
    "a signal that need not come": WaitFor("booked", timeout=1, on_timeout="continue", payload=Flight),
}


@pytest.mark.parametrize("part", UNCERTAIN.values(), ids=UNCERTAIN)
def test_what_only_an_uncertain_step_gives_needs_a_default(part: Any) -> None:
    with pytest.raises(
        DefinitionError,
        match="the step 'seat' requires 'flight', which only a step gives that may be skipped or fail: give the "
        "parameter a default",
    ):
        trip(part, do(seat))

    trip(part, do(ask_for_a_seat))


@pytest.mark.parametrize("part", UNCERTAIN.values(), ids=UNCERTAIN)
def test_also_behind_branches_and_in_its_own(part: Any) -> None:
    for steps in ([parallel(part, do(book_hotel)), do(seat)], [parallel([part, do(seat)], do(book_hotel))]):
        with pytest.raises(DefinitionError, match="which only a step gives that may be skipped or fail"):
            trip(*steps)


@pytest.mark.parametrize("part", UNCERTAIN.values(), ids=UNCERTAIN)
def test_what_is_there_anyway_may_be_given_again(part: Any) -> None:
    trip(part, do(seat), given=("trip", "flight"))


def test_a_signal_that_has_to_come_is_certain() -> None:
    trip(WaitFor("booked", timeout=1, payload=Flight), do(seat))


def test_a_skipped_pivot_gives_nothing_either() -> None:
    with pytest.raises(DefinitionError, match="which only a step gives that may be skipped or fail"):
        trip(Pivot(book_flight, when="trip"), BestEffort(seat))


# -- conditions


def test_a_condition_asks_for_a_name_that_is_there() -> None:
    with pytest.raises(DefinitionError, match="step 'book_hotel' asks for 'abroad' with when=, and there is only trip"):
        trip(do(book_hotel, when="abroad"))


def test_or_that_may_be() -> None:
    trip(BestEffort(book_flight), do(book_hotel, when="flight"))


def test_not_one_of_another_branch() -> None:
    with pytest.raises(DefinitionError, match="asks for 'flight' with when="):
        trip(parallel(do(book_flight), do(book_hotel, when="flight")))


def test_data_that_lacks_it_only_skips_the_step() -> None:
    """Missing is false: a start is not refused for it."""
    undeclared = Saga("undeclared", steps=[do(book_hotel, when="abroad")])

    check_parameters(undeclared.name, undeclared.steps, frozenset({"trip"}), MissingInput)


# -- children


def test_what_a_child_returns_is_there_after_it() -> None:
    flights = trip(do(book_flight), name="flights")

    trip(Child(flights), do(seat))


def test_of_what_it_returns_only_that_which_its_parent_wants_is_there() -> None:
    flights = trip(do(book_flight), name="flights")

    trip(Child(flights, output=["flight"]), do(seat))
    with pytest.raises(DefinitionError, match="the step 'seat' requires 'flight'"):
        trip(Child(flights, output=[]), do(seat))


def test_two_children_of_one_saga_stand_side_by_side_if_one_keeps_its_results_to_itself() -> None:
    flights = trip(do(book_flight), name="flights")

    with pytest.raises(DefinitionError, match="both return 'flight'"):
        trip(parallel(Child(flights), Child(flights, name="again")))
    trip(parallel(Child(flights), Child(flights, name="again", output=[])))


def test_what_it_may_have_skipped_is_not_certain_in_its_parent_either() -> None:
    flights = trip(do(book_flight, when="trip"), name="flights")

    with pytest.raises(DefinitionError, match="which only a step gives that may be skipped or fail"):
        trip(Child(flights), do(seat))


def test_what_a_best_effort_of_it_may_have_failed_to_give_neither() -> None:
    flights = trip(BestEffort(book_flight), name="flights")

    with pytest.raises(DefinitionError, match="which only a step gives that may be skipped or fail"):
        trip(Child(flights), do(seat))


def test_a_child_that_does_not_say_what_it_returns_says_nothing() -> None:
    unknown = trip(do(tells_nothing), name="unknown")

    trip(Child(unknown), do(seat))


def test_a_child_whose_declared_input_its_parent_can_not_give_is_refused() -> None:
    """Its first step would wait for a deploy, and its parent with it."""
    flights = trip(do(book_flight), name="flights")

    with pytest.raises(DefinitionError, match=r"'flights'.*'trip'"):
        trip(Child(flights), given=("order",))


def test_as_is_one_that_is_given_what_is_not_there() -> None:
    flights = trip(do(book_flight), name="flights")

    with pytest.raises(DefinitionError, match="'trap'"):
        trip(Child(flights, input=["trap"]))


# -- at start, where nothing was declared


def test_what_can_be_told_from_the_data_is_refused_at_start() -> None:
    undeclared = Saga("undeclared", steps=[parallel(do(book_flight), do(seat))])

    with pytest.raises(MissingInput, match="the step 'seat' requires 'flight', and there is only trip"):
        check_parameters(undeclared.name, undeclared.steps, frozenset({"trip"}), MissingInput)
