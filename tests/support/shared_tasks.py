"""Keeps the shared tasks and the definitions of one file's tests apart from those of all other files.

Celery adds every shared task of a process to every app that is made in it, and a process of these tests has imported
all of them: hundreds, for each of some thousand apps. A test sees those that it would see if its file ran alone, and
none that another test has declared.
"""

import ast
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakSet

from celery import _state

from sagas.engine import registry
from sagas.engine.task_face import face_of

#: Where tasks belong to those who import them. Those of `tests.support` and of the examples are everyone's, since
#: applications may name them as modules to be included.
APART = ("tests.benchmarks.", "tests.faults.", "tests.integration.", "tests.unit.")

_tasks: frozenset[Callable[..., Any]] = frozenset()
_definitions: list[tuple[WeakSet[Any], Any, frozenset[str]]] = []
_current: str | None = None


def remember() -> None:
    """Note what importing all test files has declared."""
    global _tasks
    _tasks = frozenset(_state._on_app_finalizers)
    for known in (registry._declared, registry._choreographies):
        for definition in list(known):
            functions = (face_of(task).function for task in definition.tasks())
            _definitions.append((known, definition, frozenset(map(_module, functions))))


def show_those_of(module: str) -> None:
    """Let the apps that are made from now on have the tasks and the definitions that a test in this module can mean."""
    global _current
    declared = set(_state._on_app_finalizers)
    kept = {registered for registered in declared if not _is_of_a_test(registered)}
    if module != _current:
        kept = (kept - _tasks) | {task for task in _tasks if _is_visible(_module(_function(task)), module)}
        for known, definition, modules in _definitions:
            if all(_is_visible(name, module) for name in modules):
                known.add(definition)
            else:
                known.discard(definition)
        _current = module
    if kept != declared:
        _state._on_app_finalizers = kept


def _is_visible(name: str, module: str) -> bool:
    return not name.startswith(APART) or name in _imported_by(module)


def _is_of_a_test(registered: Callable[..., Any]) -> bool:
    """Return whether a task was declared inside a test function, which has ended by now."""
    return getattr(_function(registered), "__qualname__", "").startswith("test_")


def _module(function: Any) -> str:
    return str(getattr(function, "__module__", ""))


def _function(registered: Callable[..., Any]) -> Any:
    """Return the function of a task that Celery keeps for future apps."""
    cells = zip(registered.__code__.co_freevars, registered.__closure__ or (), strict=True)
    return next((cell.cell_contents for name, cell in cells if name == "fun"), None)


@cache
def _imported_by(module: str) -> frozenset[str]:
    """Return the modules of the tests that a module imports, directly or not, and the module itself."""
    reached, waiting = set[str](), [module]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += _imports(name)
    return frozenset(reached)


@cache
def _imports(module: str) -> tuple[str, ...]:
    source = getattr(sys.modules.get(module), "__file__", None)
    if source is None:
        return ()
    found = _named(ast.parse(Path(source).read_text()))
    return tuple(name for name in found if name.startswith("tests.") and name in sys.modules)


def _named(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)
