"""What is saved of a state is its columns, and never the evidence that was found with them."""

import re
from dataclasses import fields, replace
from typing import Any
from uuid import UUID

import pytest

from sagas.model import Address, ChildState, Holder, InstanceState, Mail, MailKind, SagaStatus, StepState
from sagas.model.choreography.state import Delivery, RunState
from sagas.model.limits import Limits
from sagas.store.loop_statements import SAVE
from sagas.store.run_rows import run_columns
from sagas.store.saving import Joining, instance_values, step_values
from sagas.store.step_columns import typed
from tests.support.bench import THREE, Placed
from tests.support.seen import seen

ID = UUID(int=7)
STEP = StepState(address=Address(0), name="a")
DELIVERY = Delivery(address=Address(0), name="a", event=ID)
INSTANCE = InstanceState(id=ID)
#: What comes with a row and is not a field of the state: its places, its plan's part, and how it is to be saved.
BESIDE = {"position", "branch", "round", "lane", "task", "queue", "timeout", "soft_timeout", "synced_claim", "event_id"}
HOW = {"is_new", "has_result", "is_dispatched", "joining"}


def names(kind: type[Any]) -> set[str]:
    return {field.name for field in fields(kind)}


def saved(before: StepState | None, after: StepState) -> dict[str, Any]:
    return step_values(before, after, THREE, Placed(), Joining.NOT)


@pytest.mark.parametrize("row", [STEP, DELIVERY], ids=["a step", "a delivery"])
def test_the_evidence_about_an_execution_is_not_saved(row: StepState) -> None:
    found = seen(
        row, holder=Holder.DEAD, worker="w@host", epoch_changed=True, limits=Limits(7.0, None), delivery="a message"
    )

    assert saved(None, found) == saved(None, row)
    assert saved(row, replace(found, attempts=1)) == saved(row, replace(row, attempts=1))


def test_the_evidence_about_an_instance_is_not_saved() -> None:
    child = ChildState(id=ID, status=SagaStatus.FAILED)
    found = seen(INSTANCE, inbox=(Mail(kind=MailKind.WAKE),), children=(child,), awaits_lock=True, is_superseded=True)

    assert instance_values(INSTANCE, found) == instance_values(INSTANCE, INSTANCE)


def test_every_other_field_of_an_execution_is_saved() -> None:
    assert set(saved(None, STEP)) == names(StepState) - {"address", "evidence"} | BESIDE - {"event_id"} | HOW
    assert set(saved(None, DELIVERY)) == names(Delivery) - {"address", "evidence", "event"} | BESIDE | HOW


def test_the_statement_reads_whatever_is_saved_of_an_execution() -> None:
    record = re.search(r"AS head \((.*?)\)\n", SAVE, re.DOTALL)
    assert record is not None

    assert {column.split()[0] for column in record[1].split(",")} == set(saved(None, DELIVERY))


def test_every_other_field_of_an_instance_is_saved_that_changes_after_its_birth() -> None:
    elsewhere = {"parent", "deadline_seconds", "steps", "evidence"}

    assert set(instance_values(INSTANCE, INSTANCE)) == names(InstanceState) - elsewhere | {"loaded"}
    assert set(run_columns(RunState(id=ID))) == names(RunState) - names(InstanceState)


def test_a_field_that_is_not_a_column_is_not_put_into_a_statement() -> None:
    assert typed("attempts") == "attempts INTEGER"
    with pytest.raises(KeyError):
        typed("holder")
