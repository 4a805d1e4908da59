"""The columns of an execution that decisions write: fields of the same name, which loading and saving share.

A new column is a field of `StepState` or `Delivery`, a column in `tables`, and a migration.
"""

from dataclasses import fields

from sqlalchemy import DateTime, Uuid

from sagas.model import StepState
from sagas.model.choreography.state import Delivery
from sagas.store.tables import Tables

#: Fields that are not columns of that name, or that only the birth of an execution writes.
APART = {"address", "name", "event", "evidence"}
#: Columns that may be large. Decisions write them and never read them, so loading leaves them out.
LARGE = {"result", "input"}
#: Columns for which `SAVE` has a rule of its own.
RULED = LARGE | {"dispatches", "edits"}

#: The columns that a decision may write, of each kind of execution. A delivery has those of a step, and more.
WRITTEN = {
    kind: tuple(field.name for field in fields(kind) if field.name not in APART) for kind in (StepState, Delivery)
}
#: Those of them that a decision may read.
READ = {kind: tuple(column for column in columns if column not in LARGE) for kind, columns in WRITTEN.items()}

_PLAIN = tuple(column for column in WRITTEN[Delivery] if column not in RULED)
_COLUMNS = Tables("sagas").step.c  # their types are the same in any schema
#: PostgreSQL's own names; its dialect, which knows them all, takes long to import.
_OWN_NAMES = {DateTime: "timestamptz", Uuid: "uuid"}


def typed(column: str) -> str:
    """Return a column with its type. Raises KeyError for a field that is not a column: evidence is not stored."""
    type_ = _COLUMNS[column].type
    return f"{column} {_OWN_NAMES.get(type(type_), type_)}"


#: The parts of statements: what is loaded; a record that is saved; an insert with its select; an update.
AS_LOADED = ", ".join(f"step.{column}" for column in READ[Delivery])
AS_RECORD = ", ".join(map(typed, _PLAIN))
AS_INSERTED = ", ".join(_PLAIN)
AS_UPDATED = ", ".join(f"{column} = changed.{column}" for column in _PLAIN)
