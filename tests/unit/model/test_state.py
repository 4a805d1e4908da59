"""The vocabulary, held against the database's constraints."""

import re

import pytest

from sagas.model import FINAL, TRANSITIONS, Address, ExecutionStatus, SagaStatus, StepState, StepStatus
from tests.unit.model.legal import INSTANCE_CHECKS, STEP_CHECKS, constraints_of_the_migration, migration


def test_every_status_says_what_may_follow() -> None:
    assert set(TRANSITIONS) == set(SagaStatus)


def test_the_ways_out_of_a_final_status_are_the_promised_ones() -> None:
    ways = {status: TRANSITIONS[status] for status in FINAL}

    assert ways == {
        SagaStatus.COMPLETED: {SagaStatus.COMPENSATING, SagaStatus.COMPENSATED},  # by its parent saga
        SagaStatus.COMPENSATED: {SagaStatus.COMPENSATING, SagaStatus.FAILED},  # by a stray effect
        SagaStatus.FAILED: {
            SagaStatus.RUNNING,
            SagaStatus.COMPLETED,
            SagaStatus.COMPENSATING,
            SagaStatus.COMPENSATED,
        },
    }


def test_what_turned_back_never_goes_forward_again() -> None:
    assert not TRANSITIONS[SagaStatus.COMPENSATING] & {SagaStatus.RUNNING, SagaStatus.PENDING, SagaStatus.COMPLETED}


def test_a_step_is_shown_in_each_status_that_is_stored_and_in_those_of_its_undoing() -> None:
    shown = {status.value for status in StepStatus}

    assert shown == {status.value for status in ExecutionStatus} | {"compensating", "compensated"}


def test_these_tests_know_every_constraint_of_the_database() -> None:
    assert constraints_of_the_migration() == set(INSTANCE_CHECKS) | set(STEP_CHECKS)


def test_the_database_knows_the_same_statuses() -> None:
    listed = re.search(r"CONSTRAINT saga_instance_status CHECK\s+\(status IN \((.*?)\)\)", migration())

    assert listed is not None
    assert set(re.findall(r"'(\w+)'", listed[1])) == set(SagaStatus)


def test_the_database_knows_the_same_final_statuses() -> None:
    listed = re.search(r"finished_exactly_when_final CHECK\s+.*?IN \((.*?)\)", migration(), re.DOTALL)

    assert listed is not None
    assert set(re.findall(r"'(\w+)'", listed[1])) == FINAL


@pytest.mark.parametrize("address", [Address(0), Address(3, 1), Address(12, 0, 2)])
def test_an_address_survives_its_text(address: Address) -> None:
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize("text", ["", "0", "0.0", "0.0.0.0", "-1.0.0", "0.0.x", "٠.٠.٠", "0.0.0\n", "1" * 10 + ".0.0"])
def test_whatever_else_stands_in_a_message_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="is not the address"):
        Address.parse(text)


def test_losses_are_not_failures() -> None:
    assert StepState(address=Address(0), name="a", attempts=5, losses=2).failures == 3
