"""Compile a definition to a plan: resolve the names of fenced tasks on one app."""

from typing import Any

from sagas.engine import Declared, PlanTarget, face_of, refuse_unfit
from sagas.errors import DefinitionError, NotBound
from sagas.model import Plan


class AppCompiler:
    """Resolves tasks and child sagas on one engine's app."""

    def __init__(self, engine: PlanTarget, *, former: bool = False) -> None:
        self._engine = engine
        self.former = former
        self.secrets = engine.secrecy.names

    def plan(self, saga: Declared) -> Plan:
        return (saga.former_plan(self._engine) if self.former else None) or saga.plan(self._engine)

    def task_name(self, task: Any, who: str) -> str:
        return fenced_name(self._engine, task, who)


def fenced_name(engine: PlanTarget, task: Any, who: str) -> str:
    """Return the name of a task that runs there as a step. Raises NotBound or DefinitionError."""
    try:
        name = str(task.name)
    except Exception as error:
        raise NotBound(f"{who}: the task is not registered on the app {engine.app.main!r}: {error}") from error
    real = engine.app.tasks.get(name)
    if real is None:
        raise NotBound(
            f"{who}: the task {name!r} is not registered on the app {engine.app.main!r}: use @shared_task, or "
            "declare it on this app"
        )
    if getattr(real, "sagas_engine", None) is not engine:
        raise NotBound(
            f"{who}: the task {name!r} is not fenced: it was made before Sagas(app, …), or has a base of its own. Make "
            "Sagas(app) right after the app, and let base classes inherit from app.Task"
        )
    if getattr(real, "autoretry_for", None):
        raise DefinitionError(
            f"{who}: the task {name!r} has autoretry_for, which would send messages past the saga: retries belong to "
            "Step(retry=Retry(on=…))"
        )
    refuse_unfit(face_of(real), who)
    return name
