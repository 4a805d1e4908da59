"""An instance as text for people, in 80 columns, broken at words, with time zones in times."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sagas.handle.views import HistoryEntry, InstanceView, StepView
from sagas.model import UndoOutcome
from sagas.model.payload import escaped

WIDTH = 80
#: Details of the history that the line itself shows, or only `show --json` does.
HIDDEN = ("traceback", "step", "key", "number")


def timeline(seen: InstanceView, more: Sequence[str] = ()) -> str:
    """Return the instance's identity and why it has its status, the status of each step, and what happened when.

    Args:
        more: further lines about its status.
    """
    key = escaped(seen.key) if seen.key else "-"
    lines = [f"{seen.saga} v{seen.version}  {seen.id}  key={key}  {seen.status.value.upper()}"]
    for fact in (*seen.headline, *more, *_facts(seen)):
        lines += _wrapped(fact, "  ", "    ")
    for step in seen.steps:
        lines += _wrapped(_step_line(step), "  ", " " * 15)
    for entry in seen.history:
        lines += _wrapped(_history_line(entry, seen.started_at), "  ", " " * 15)
    return "\n".join(lines)


def _facts(seen: InstanceView) -> Iterator[str]:
    yield f"started {_moment(seen.started_at)}" + (f", ended {_moment(seen.finished_at)}" if seen.finished_at else "")
    if seen.caused_by:
        yield f"begun by {seen.caused_by}"
    if seen.headers:
        yield f"carries the headers {', '.join(seen.headers)}"
    for resource in seen.holds:
        yield f"holds {resource}"
    for name, holders in seen.waits_for.items():
        yield f"waits for {name}, held by {_comma_separated(holders)}"


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _wrapped(text: str, first: str, others: str) -> list[str]:
    """Wrap a text into a few lines at most; a long word, such as an address, stays whole."""
    lines = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
        max_lines=4,
        placeholder=" …",
    )
    return [escaped(line) for line in lines]


def _comma_separated(ids: Sequence[UUID]) -> str:
    return ", ".join(map(str, ids)) or "none: it comes after others in the line"


def _step_line(step: StepView) -> str:
    facts = [f"{step.attempts} attempt{'' if step.attempts == 1 else 's'}"]
    if step.losses:
        facts.append(f"{step.losses} lost with its process")
    facts += [step.doubt] if step.doubt else []
    facts += [step.waits] if step.waits else []
    facts += [f"recorded {_shown(record)}" for record in step.records]
    if step.compensation is not None:
        outcome = step.compensation.outcome
        how_far = f" ({outcome.value})" if outcome not in (None, UndoOutcome.FULL) else ""
        facts.append(f"{step.compensation.name} {step.compensation.status.value}{how_far}")
    return f"{step.status.value:<12} {step.name:<18} {', '.join(facts)}"


def _shown(record: Any) -> str:
    fields = record.items() if isinstance(record, Mapping) else [("", record)]
    return " ".join(f"{name}={value}" for name, value in fields)[:160]


def _in_short(value: Any) -> str:
    """Return a detail as text; of an error its type and message, and not its traceback."""
    return f"{value['type']}: {value['message']}" if isinstance(value, Mapping) and "message" in value else str(value)


def _history_line(entry: HistoryEntry, began: datetime) -> str:
    shown = " ".join(
        f"{name}={_in_short(value)}" for name, value in entry.detail.items() if value is not None and name not in HIDDEN
    )
    since = (entry.at - began).total_seconds()
    return f"{since:+9.3f} s  {entry.event:<22} {entry.step or '':<12} {shown}".rstrip()
