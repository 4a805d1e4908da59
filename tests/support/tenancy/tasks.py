"""A saga whose steps report their schema."""

from typing import Any

from celery import shared_task
from django.db import connection

from sagas import PermanentError, Saga, Step, current_step

seen: list[str] = []


def tell(what: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        seen.append(f"{what} in {cursor.fetchone()[0]}")


@shared_task
def act(refuses: str = "") -> None:
    tell(current_step.name)
    if current_step.name == refuses:
        raise PermanentError("no")


@shared_task
def undo() -> Any:
    tell(f"undo {current_step.name}")


order = Saga("tenancy", steps=[Step(act, name=name, compensation=undo) for name in "abc"])
