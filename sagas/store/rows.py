"""Convert between rows and values: from the tables' columns to a state, and back."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.exc import DataError, IntegrityError

from sagas.errors import RowDamaged, SagaError
from sagas.model import (
    Address,
    ChildState,
    ErrorInfo,
    ExecutionStatus,
    Holder,
    InstanceEvidence,
    InstanceState,
    Mail,
    MailKind,
    NewerRelease,
    Outage,
    SagaStatus,
    StepEvidence,
    StepState,
    Stop,
    StopKind,
    payload,
)
from sagas.model.limits import Limits
from sagas.store.step_columns import READ

#: Exceptions raised by a value that was tampered with. Not all exceptions: a time limit may strike anywhere.
UNREADABLE = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@contextmanager
def legible(instance_id: UUID) -> Iterator[None]:
    """Raise RowDamaged if anything in the block cannot read the instance's rows."""
    try:
        yield
    except SagaError:
        raise
    except NewerRelease as error:
        raise RowDamaged(
            f"saga {instance_id} was written by a newer release, and waits for a worker of that release: {error}. "
            "Deploy it here too, or start such sagas once the last older worker is gone"
        ) from error
    except (*UNREADABLE, IntegrityError, DataError) as error:
        # Without the error's text, which may contain data.
        raise RowDamaged(
            f"the rows of saga {instance_id} cannot be read, or do not fit together ({type(error).__qualname__}): they "
            "were edited by hand, or written by a newer release. Mend them, or deploy that release"
        ) from error


def state_of(instance_id: UUID, rows: Sequence[Row[Any]]) -> InstanceState:
    """Return an instance from what `LOAD` finds: a row for each execution; the first also has the rest."""
    row = rows[0]
    return InstanceState(
        **own_fields(instance_id, row),
        steps=tuple(step_of(step) for step in rows if step.position is not None),
        evidence=InstanceEvidence(
            **own_evidence(row),
            children=tuple(_child(entry) for entry in row.children or ()),
            awaits_lock=row.awaits_lock,
            is_superseded=row.is_superseded,
        ),
    )


def own_fields(instance_id: UUID, row: Row[Any]) -> dict[str, Any]:
    """Return the columns of every kind of instance that are stored, as `LOAD` returns them."""
    return {
        "id": instance_id,
        "status": SagaStatus(row.saga_status),
        "error": error_from(row.saga_error),
        "stop": _stop_from(row.stop),
        "deadline": row.deadline,
        "deadline_seconds": row.deadline_seconds,
        "due_at": row.due_at,
        "pending": row.pending,
        "written": row.written,
        "finished_at": row.saga_finished_at,
        "parent": row.parent_id,
    }


def own_evidence(row: Row[Any]) -> dict[str, Any]:
    """Return the evidence about every kind of instance, as `LOAD` returns it."""
    return {"inbox": tuple(_mail(entry) for entry in row.inbox or ()), "outages": tuple(_outages(row))}


def step_of(row: Row[Any]) -> StepState:
    """Return an execution from its row, with the evidence about it."""
    return StepState(**step_fields(row), evidence=StepEvidence(**evidence_of(row)))


def evidence_of(row: Row[Any]) -> dict[str, Any]:
    """Return the evidence about an execution, which is gathered with its row."""
    found = {"holder": Holder(row.holder), "epoch_changed": row.epoch_changed, "worker": row.hostname}
    return _columns_of_birth_and_claim(row) | found


def stored_step_of(row: Row[Any], worker: str | None = None) -> StepState:
    """Return an execution from its row alone, and from the name of the worker that claimed it, if that is known."""
    return StepState(**step_fields(row), evidence=StepEvidence(**_columns_of_birth_and_claim(row), worker=worker))


def _columns_of_birth_and_claim(row: Row[Any]) -> dict[str, Any]:
    """Return what the birth of an execution, and its claim, have written into its row."""
    return {"limits": Limits(row.timeout, row.soft_timeout), "delivery": row.delivery}


def step_fields(row: Row[Any], kind: type[StepState] = StepState) -> dict[str, Any]:
    """Return the fields of an execution of this kind, as its row has them."""
    return {column: getattr(row, column) for column in READ[kind]} | {
        "address": Address(row.position, row.branch, row.round),
        "name": row.name,
        "status": ExecutionStatus(row.status),
        "error": error_from(row.error),
    }


def json_text(value: Any) -> str | None:
    """Return JSON text for the tables; None stays NULL."""
    return None if value is None else json.dumps(value)


def error_from(stored: dict[str, Any] | None) -> ErrorInfo | None:
    """Return a stored error; None if there is none."""
    return None if stored is None else ErrorInfo(**stored)


def _stop_from(stored: dict[str, Any] | None) -> Stop | None:
    if stored is None:
        return None
    return Stop(kind=StopKind(stored["kind"]), reason=stored["reason"])


def merged(data: str, results: str | None) -> dict[str, Any]:
    """Return the input and the steps' results as the steps see them; encrypted values are `Sealed`."""
    whole = payload.loads(data)
    if not isinstance(whole, dict):
        raise TypeError(f"the data of a saga is a mapping, not a {type(whole).__qualname__}")
    for result in payload.loads(results or "[]"):
        if isinstance(result, Mapping):
            whole.update(result)
    return whole


def encoded_whole(data: Mapping[str, Any]) -> str:
    """Encode data that is put together from parts, each of which was within the limit."""
    return payload.dumps(data, "data", limit=sys.maxsize)


def _outages(row: Row[Any]) -> Iterator[Outage]:
    if row.outage_from is not None:
        yield Outage(row.outage_from, row.outage_until)
    if row.unswept_since is not None:
        yield Outage(row.unswept_since)


def _mail(entry: dict[str, Any]) -> Mail:
    return Mail(
        id=entry["id"],
        kind=MailKind(entry["kind"]),
        name=entry["name"],
        payload=json_text(entry["payload"]),
        by=entry["by"],
        seen=entry["seen"],
    )


def _child(entry: dict[str, Any]) -> ChildState:
    results = entry["results"]
    return ChildState(
        id=UUID(entry["id"]),
        status=SagaStatus(entry["status"]),
        error=error_from(entry["error"]),
        result=encoded_whole(merged("{}", json.dumps(results))) if results else None,
    )
