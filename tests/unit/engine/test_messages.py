"""Chains go out in windows; every signature names its execution and lets nobody else's result in."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import Celery

from sagas.engine.messages import (
    ADDRESS_HEADER,
    WINDOW,
    Messages,
    address_in,
    cut_tail,
    execution_in,
    first_of_tail,
    window_from,
)
from sagas.model import Address, ExecutionStatus, InstanceState, NewerRelease, Plan, PlanStep, StepKind, StepState

ROOT = "019a0000-0000-7000-8000-000000000001"


def plan_of(number: int, compensation: str | None = "tasks.undo") -> Plan:
    steps = tuple(
        PlanStep(position=position, name=f"s{position}", task="tasks.act", compensation=compensation, timeout=30.0)
        for position in range(number)
    )
    return Plan(saga="order", version=1, steps=steps)


def done(number: int) -> InstanceState:
    steps = tuple(
        StepState(address=Address(position), name=f"s{position}", status=ExecutionStatus.COMPLETED)
        for position in range(number)
    )
    return InstanceState(id=uuid4(), steps=steps)


@pytest.mark.parametrize(
    ("length", "start", "positions"),
    [
        (1, 0, [0]),
        (3, 0, [0, 1, 2]),
        (3, 2, [2]),
        (WINDOW, 0, list(range(WINDOW))),
        (WINDOW + 1, 0, list(range(WINDOW))),
        (100, 97, [97, 98, 99]),
        (100, 50, list(range(50, 50 + WINDOW))),
    ],
)
def test_a_window_is_what_follows_up_to_its_length(length: int, start: int, positions: list[int]) -> None:
    window = window_from(plan_of(length), None, Address(start))

    assert window == [Address(position) for position in positions]


def test_a_window_of_compensations_goes_back_from_the_one_that_is_sent() -> None:
    window = window_from(plan_of(3), done(3), Address(2, 0, 1))

    assert window == [Address(2, 0, 1), Address(1, 0, 1), Address(0, 0, 1)]
    assert len(window_from(plan_of(20), done(20), Address(19, 0, 1))) == WINDOW


def test_what_has_nothing_to_undo_is_in_no_window() -> None:
    plan = Plan(saga="order", version=1, steps=(*plan_of(2).steps, _pivot(2)))

    assert window_from(plan, done(2), Address(1, 0, 1)) == [Address(1, 0, 1), Address(0, 0, 1)]


def _pivot(position: int) -> PlanStep:
    return PlanStep(position=position, name="p", task="tasks.ship", compensation=None, kind=StepKind.PIVOT)


def signature(plan: Plan, address: Address) -> Any:
    app = Celery("messages", set_as_current=False, broker="memory://")
    return Messages(app)._signature(uuid4(), plan, address, None)


def test_a_signature_is_immutable_fenced_limited_and_readable_in_flower() -> None:
    action = signature(plan_of(2), Address(1))
    undo = signature(plan_of(2), Address(1, 0, 2))

    assert action.immutable
    assert action.options["headers"] == {"saga_step": "1.0.0"}
    assert undo.options["headers"] == {"saga_step": "1.0.2"}
    assert set(action.kwargs) == {"saga_id"}
    assert (action.options["soft_time_limit"], action.options["time_limit"]) == (30.0, 35.0)
    assert (action.options["shadow"], undo.options["shadow"]) == ("order/s1", "order/undo")
    assert (action.task, undo.task) == ("tasks.act", "tasks.undo")
    assert action.options["expires"] is None, "a task's own expiry would end the chain without a word"
    assert not {"eta", "countdown", "task_id"} & set(action.options)


@pytest.mark.parametrize(("options", "ignored"), [({}, True), ({"step_results": True}, None)])
def test_steps_leave_no_results_in_the_backend_unless_they_are_wanted(
    options: dict[str, Any], ignored: bool | None
) -> None:
    messages = Messages(Celery("messages", set_as_current=False, broker="memory://"), **options)

    made = messages._signature(uuid4(), plan_of(2), Address(0), None)

    assert made.options.get("ignore_result") is ignored


def request_with(chain: list[dict[str, Any]] | None) -> SimpleNamespace:
    return SimpleNamespace(chain=chain)


def test_the_head_of_a_running_chains_tail_is_its_last_entry() -> None:
    tail = [{"options": {"headers": {"saga_step": "2.0.0"}}}, {"options": {"headers": {"saga_step": "1.0.0"}}}]

    assert first_of_tail(request_with(tail)) == Address(1)


@pytest.mark.parametrize("chain", [None, [], [{}], [{"options": None}], [{"options": {"headers": None}}]])
def test_a_tail_that_is_not_ours_is_nobodys(chain: list[dict[str, Any]] | None) -> None:
    assert first_of_tail(request_with(chain)) is None


def test_h1_a_cut_tail_is_none() -> None:
    request = request_with([{}])
    cut_tail(request)
    assert request.chain is None


def test_addresses_survive_their_text() -> None:
    for address in (Address(0), Address(12, 3, 4)):
        assert Address.parse(str(address)) == address


def test_headers_name_an_instance_and_an_address() -> None:
    assert execution_in({"root_id": ROOT, ADDRESS_HEADER: "1.0.2"}) == (UUID(ROOT), Address(1, 0, 2))


@pytest.mark.parametrize(
    "headers",
    [
        {"root_id": ROOT},
        {ADDRESS_HEADER: "0.0.0"},
        {"root_id": None, ADDRESS_HEADER: "0.0.0"},
        {"root_id": "nonsense", ADDRESS_HEADER: "0.0.0"},
        {"root_id": ROOT, ADDRESS_HEADER: "nonsense"},
        {"root_id": ROOT, ADDRESS_HEADER: 7},
        {"root_id": ROOT, ADDRESS_HEADER: "0.0.0+colour"},
    ],
)
def test_headers_that_are_mangled_or_for_a_newer_release_name_nothing(headers: dict[str, Any]) -> None:
    assert execution_in(headers) is None


def test_d4_a_message_says_what_whoever_claims_its_step_has_to_know() -> None:
    plan = plan_of(2)
    plan = replace(plan, steps=(plan.steps[0], replace(plan.steps[1], output="debit")))
    messages = Messages(Celery("messages", set_as_current=False, broker="memory://"))

    header = messages._signature(uuid4(), plan, Address(0), None).options["headers"][ADDRESS_HEADER]

    assert header == "0.0.0+output"
    assert address_in(header) == Address(0)
    with pytest.raises(ValueError, match="is not the address"):
        Address.parse(header)  # which is all that the last release did with it: it claims nothing


def test_d4_a_message_that_asks_for_more_is_not_ours() -> None:
    with pytest.raises(NewerRelease, match="the message needs 'colour', which this release does not know"):
        address_in("0.0.0+colour+output")
