"""Notes of `check` on steps for which doubt as the default may be surprising."""

from collections.abc import Iterator

from sagas.definition import Saga
from sagas.definition.certain import uncertain_undos
from sagas.definition.step import Step
from sagas.engine.clean_errors import error_class
from sagas.model import StepKind


def doubt_notes(saga: Saga) -> list[str]:
    """Return one line each for errors that may be clean but are not named so, and for undos that may lack an input."""
    return [f"saga {saga.name!r}: {note}" for note in (*unnamed(saga), *lacking(saga), *unknown(saga))]


def unnamed(saga: Saga) -> Iterator[str]:
    """Yield notes on steps that may refuse with an error, by their retry policy or kind, but do not name it."""
    for place, part in saga.places():
        if not isinstance(part, Step) or part.says_clean:
            continue
        if place.kind is StepKind.PIVOT:
            yield (
                f"the pivot {part.name!r} names no clean errors: after any error but PermanentError, a ValueError or "
                "an HTTP 4xx too, it is in doubt, and the saga waits as failed for a person. Pass clean=(…) with the "
                "errors by which it says no, or clean=() if it raises PermanentError for all of them"
            )
        elif place.kind is StepKind.COMPENSATABLE and (part.retry.on is not None or part.retry.never_on):
            options = ", ".join(f"{name}=…" for name in ("on", "never_on") if getattr(part.retry, name))
            yield (
                f"step {part.name!r} has Retry({options}) and names no clean errors: "
                "what is not tried again leaves it in doubt all the same, and its compensation runs. Pass clean=(…) "
                "with the errors that say that nothing was done, or clean=() if only PermanentError does"
            )


def lacking(saga: Saga) -> Iterator[str]:
    for step, name in uncertain_undos(saga):
        yield (
            f"the compensation of step {step!r} requires {name!r}, which nothing is certain to provide: an action in "
            "doubt has no result, and its undo then waits for a person. Give the parameter a default and undo by "
            "current_step.action_key, or declare the input or the earlier return that has it; "
            "sagas.testing.fail_everywhere tries it"
        )


def unknown(saga: Saga) -> Iterator[str]:
    for part in saga.parts:
        for name in part.clean if isinstance(part, Step) else ():
            if isinstance(name, str) and error_class(name) is None:
                yield (
                    f"step {part.name!r} names the clean error {name!r}, which cannot be imported here: in a worker "
                    "where it cannot be either, that error leaves the step in doubt. Mend the name, or install its "
                    "package where workers run"
                )
