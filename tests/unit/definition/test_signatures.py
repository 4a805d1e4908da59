"""The types of what users write say what is accepted when it runs."""

import inspect
from collections.abc import Callable
from enum import StrEnum
from typing import Any, get_args

import pytest

from sagas import Saga, SagaStatus, Step
from sagas.contrib import asyncio
from sagas.definition import signatures
from sagas.definition.signatures import StartOptions, StepOptions, UndoableOptions
from sagas.definition.step import WAYS_BACK
from sagas.engine import IfExists
from sagas.model import IfInDoubt, IfLocked, OnTimeout


def keywords(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of the parameters that are given by name only."""
    parameters = inspect.signature(function).parameters.values()
    return {one.name: one.annotation for one in parameters if one.kind is one.KEYWORD_ONLY}


def annotations(bag: Any) -> dict[str, Any]:
    return {name: getattr(said, "__forward_arg__", said) for name, said in bag.__annotations__.items()}


@pytest.mark.parametrize(
    ("words", "enum"),
    [
        (signatures.IfExistsWord, IfExists),
        (signatures.IfInDoubtWord, IfInDoubt),
        (signatures.IfLockedWord, IfLocked),
        (signatures.OnTimeoutWord, OnTimeout),
        (signatures.StatusWord, SagaStatus),
    ],
)
def test_the_words_of_an_option_are_the_values_of_its_enum(words: Any, enum: type[StrEnum]) -> None:
    assert list(get_args(words)) == [member.value for member in enum]


def test_a_step_with_a_compensation_accepts_what_its_type_says() -> None:
    accepted = keywords(Step)
    del accepted["compensation"]

    assert annotations(UndoableOptions) == accepted


def test_a_step_without_one_accepts_all_but_the_ways_back() -> None:
    assert annotations(StepOptions) == {
        name: said for name, said in keywords(Step).items() if name not in ("compensation", *WAYS_BACK)
    }


def test_every_start_accepts_what_its_type_says() -> None:
    assert annotations(StartOptions) == keywords(Saga.start)


def test_a_start_on_the_loop_accepts_the_same_but_for_sessions_of_its_own() -> None:
    own = keywords(asyncio.start)
    del own["session"], own["sagas"]

    assert own.items() <= keywords(Saga.start).items()
