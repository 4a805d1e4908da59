"""Errors: one tree, drawn where it is declared; each survives pickling and says the way out."""

import ast
import copy
import inspect
import pickle
import re
import sys
import traceback
from pathlib import Path

import pytest
from celery.utils.serialization import get_pickleable_exception

import sagas
from sagas import errors
from sagas.engine.transaction import RolledBack

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


def test_they_are_one_tree() -> None:
    assert all(issubclass(kind, errors.SagaError) for kind in CLASSES)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_survives_pickling_copying_and_celery(kind: type[errors.SagaError]) -> None:
    error = kind("what, where: the way out ✓")

    for twin in (
        pickle.loads(pickle.dumps(error)),
        copy.copy(error),
        get_pickleable_exception(error),
    ):
        assert type(twin) is kind
        assert str(twin) == str(error)
        assert twin.args == error.args


def test_a_users_own_permanent_error_survives_too() -> None:
    error = pickle.loads(pickle.dumps(Declined("no")))

    assert isinstance(error, errors.PermanentError)
    assert str(error) == "no"


class Declined(errors.PermanentError):
    pass


def test_the_error_of_a_transaction_that_was_rolled_back_survives_as_what_it_is() -> None:
    error = RolledBack()

    for twin in (pickle.loads(pickle.dumps(error)), get_pickleable_exception(error)):
        assert type(twin) is RolledBack
        assert str(twin) == str(error)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_has_a_docstring_is_drawn_in_the_tree_and_is_public(kind: type[errors.SagaError]) -> None:
    assert kind.__doc__
    drawn = re.findall(r"[├└]── (\w+)|^ {4}(\w+)$", errors.__doc__ or "", re.MULTILINE)
    assert kind.__name__ in {name for pair in drawn for name in pair}
    assert getattr(sagas, kind.__name__) is kind
    assert kind.__name__ in sagas.__all__


def test_the_tree_as_drawn_is_the_tree_as_declared() -> None:
    depth_of, parents = {}, {}
    stack: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^(\W*)([A-Z]\w+)(\s{2,}.*)?$", line)
        if not match or ("──" not in line and match[2] != "SagaError"):
            continue
        depth = len(match[1])
        while stack and stack[-1][0] >= depth:
            stack.pop()
        depth_of[match[2]] = depth
        if stack:
            parents[match[2]] = stack[-1][1]
        stack.append((depth, match[2]))

    assert set(depth_of) == {kind.__name__ for kind in CLASSES}
    for name, parent in parents.items():
        assert getattr(errors, name).__bases__[0].__name__ == parent


CURE = re.compile(
    r"[:;,.(]|\b(must|pass|use|run|call|give|make|add|raise|try|import|declare|let|say|set|test|only|goes on)\b"
)


def messages_of_raised_errors() -> list[tuple[str, int, str]]:
    """Every literal message with which the library raises one of its errors."""
    names = {kind.__name__ for kind in CLASSES} | {"error"}
    found = []
    for name, module in sorted(sys.modules.items()):
        if not name.startswith("sagas") or not getattr(module, "__file__", None):
            continue
        source = Path(module.__file__ or "").read_text()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                called = getattr(node.exc.func, "id", "")
                text = "".join(str(part.value) for part in ast.walk(node.exc.args[0]) if isinstance(part, ast.Constant))
                if called in names and len(text) > 20:  # shorter: its variables say it
                    found.append((f"{name}:{node.lineno}", node.lineno, text))
    return found


def test_every_message_says_more_than_what_is_wrong() -> None:
    found = messages_of_raised_errors()

    assert len(found) > 30
    for where, _, text in found:
        assert CURE.search(text), (where, text)


def test_errors_that_users_catch_by_pythons_own_classes_are_those() -> None:
    assert issubclass(errors.PayloadError, ValueError)
    assert issubclass(errors.InstanceNotFound, LookupError)
    assert issubclass(errors.WaitTimeout, TimeoutError)
    assert issubclass(errors.NoCurrentStep, RuntimeError)
    assert issubclass(errors.BindingError, TypeError)
    assert "SagaError" in "".join(traceback.format_exception_only(errors.SagaError("x")))
