"""Sagas that start on events of the choreography `depot`, and what they do, as `scripted` has it."""

from typing import Any

from celery import shared_task

from sagas import Pivot, Retry, Saga, Step, current_step
from sagas.choreography import Choreography, event
from tests.support.scripted import play

FEW = Retry(max_attempts=3, backoff=0.1, jitter=0)


@event
class Arrived:
    number: str | None
    script: dict[str, Any]


@event
class Left:
    script: dict[str, Any]


@event
class Closed:
    script: dict[str, Any]


depot = Choreography("depot", starts=Arrived, ends=Left, refuses=Closed, awaits={Left: 3600.0, Closed: 3600.0})


@depot.on(Left, Closed, undo=None)
@shared_task
def see_off(event: Any) -> None:
    play(event.script, "see_off")


@shared_task
def unload(number: str, script: dict[str, Any]) -> None:
    if "goes round" in script:
        current_step.publish(Arrived(number=f"{number}.", script=script), to=depot)
    play(script, "unload")


@shared_task
def load(script: dict[str, Any]) -> None:
    play(script, "load")


@shared_task
def seal(script: dict[str, Any]) -> None:
    play(script, "seal")


unloading = Saga(
    "unloading",
    version=1,
    steps=[Step(unload, compensation=load, retry=FEW), Pivot(seal, retry=FEW)],
    starts_on=Arrived,
    key="truck-{number}",
)
