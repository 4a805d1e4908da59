"""A saga whose steps publish into the choreography `ring`, as their script says."""

from collections.abc import Mapping
from typing import Any

from celery import shared_task

from sagas import Pivot, Retry, Saga, Step, current_step
from tests.support.choreographed import Charged, Noted, Ordered, ring
from tests.support.scripted import play

FEW = Retry(max_attempts=3, backoff=0.1, jitter=0)


def publish(script: Mapping[str, Any], what: str) -> None:
    """Publish what the script says: ``start``, ``into``, or what cannot be published."""
    run = script.get("run")
    for said in script.get(f"{what} publishes", ()):
        match said:
            case "start":
                current_step.publish(Ordered(script={}), to=ring, run=run)
            case "another":
                current_step.publish(Ordered(script={"other": "one"}), to=ring, run=run)
            case "into":
                current_step.publish(Noted(script={}, number=current_step.attempt), to=ring, run=run)
            case "nowhere":
                current_step.publish(Charged(script={}), to=ring)
            case "a saga":
                current_step.publish(Ordered(script={}), to=announcing)  # type: ignore[arg-type]


@shared_task
def announce(script: dict[str, Any]) -> None:
    publish(script, "announce")
    play(script, "announce")


@shared_task
def withdraw(script: dict[str, Any]) -> None:
    publish(script, "withdraw")
    play(script, "withdraw")


@shared_task
def close(script: dict[str, Any]) -> None:
    publish(script, "close")
    play(script, "close")


def steps() -> list[Any]:
    return [Step(announce, compensation=withdraw, retry=FEW, compensation_retry=FEW), Pivot(close, retry=FEW)]


announcing = Saga("announcing", version=1, steps=steps())
announcing_inline = Saga("announcing_inline", version=1, steps=steps(), continuation="inline")
