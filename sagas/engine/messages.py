"""From addresses to Celery messages: chains of immutable signatures with one error callback for the whole chain."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any
from uuid import UUID

from celery import Celery, chain
from celery.canvas import Signature

from sagas.model import Address, InstanceState, Plan, PlanStep
from sagas.model.settle import undo_places

#: Names the execution in a message's headers. Only its bearer is fenced: a plain call stays a plain call.
ADDRESS_HEADER = "saga_step"
#: Flower shows and searches keyword arguments, not headers; the task class takes this one off again.
SAGA_ID = "saga_id"
#: Every message carries the rest of its chain, so a chain is sent in windows; the last asks for the next.
WINDOW = 5
#: Celery's hard limit ends the process this much after the soft one asked the body to stop, in seconds.
HARD_LIMIT_GRACE = 5.0

CALLBACK_TASK = "sagas.on_error"
SWEEP_TASK = "sagas.sweep"
PURGE_TASK = "sagas.purge"
#: A queue of its own, so that neither waits behind ten thousand steps. Every worker consumes it.
CONTROL_QUEUE = "sagas"


class Messages:
    """Builds and sends the messages of executions."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._queues: dict[str, str | None] = {}

    def queue_of(self, step: PlanStep, round_: int) -> str | None:
        """The queue of a step's action or compensation: its own, or what Celery's routing gives to the task."""
        task_name = step.task_for(round_)
        if step.queue is not None or task_name is None:
            return step.queue
        if task_name not in self._queues:
            task = self._app.tasks.get(task_name)
            own = {name: value for name in ("queue", "routing_key", "exchange") if (value := getattr(task, name, None))}
            queue = self._app.amqp.router.route(own, task_name).get("queue")
            self._queues[task_name] = getattr(queue, "name", queue)
        return self._queues[task_name]

    def impatient_connection(self) -> Any:
        """One of its own, that tries each broker once: Celery's pool sleeps for seconds before it says no."""
        connection = self._app.connection_for_write()
        connection.transport_options |= {"max_retries": len(connection.alt), "interval_start": 0, "interval_max": 0}
        return connection

    def send(
        self, instance_id: UUID, plan: Plan, window: Sequence[Address], countdown: float = 0.0, **options: Any
    ) -> None:
        """Publish one window of a chain. Raises what the broker raises.

        Args:
            window: the executions in the order in which they run.
            countdown: seconds before the first may run; a few at most.
            options: further options of ``apply_async``.
        """
        signatures = [self._signature(instance_id, plan, address) for address in window]
        callback = self._callback(instance_id, plan)
        if countdown:
            options["countdown"] = countdown
        # Every dispatch has fresh task ids: a revoked one would be discarded by the workers for hours.
        whole = chain(*signatures, app=self._app) if len(signatures) > 1 else signatures[0]
        whole.apply_async(link_error=[callback], root_id=str(instance_id), **options)

    def _signature(self, instance_id: UUID, plan: Plan, address: Address) -> Signature:
        step = plan.step(address.position, address.branch)
        task = step.task_for(address.round)
        if task is None:
            raise ValueError(f"no worker runs {step.name!r}")
        timeout = step.timeout_for(address.round)
        shown = step.name if address.is_action else task.rpartition(".")[2]
        options = {
            "headers": {ADDRESS_HEADER: str(address)},
            "shadow": f"{plan.saga}/{shown}",
            "soft_time_limit": timeout,
            "time_limit": timeout + HARD_LIMIT_GRACE,
            "ignore_result": True,
            "expires": None,  # even where the task has one: an expired message ends a chain without a word
        }
        # Said only where the saga says it: the task's own are as good.
        if step.queue is not None:
            options["queue"] = step.queue
        if plan.priority is not None:
            options["priority"] = plan.priority
        return Signature(task, kwargs={SAGA_ID: str(instance_id)}, app=self._app, immutable=True, options=options)

    def _callback(self, instance_id: UUID, plan: Plan) -> Signature:
        return Signature(
            CALLBACK_TASK,
            kwargs={SAGA_ID: str(instance_id)},
            app=self._app,
            immutable=True,
            options={"queue": CONTROL_QUEUE, "shadow": f"{plan.saga}/on_error", "ignore_result": True},
        )


def window_from(plan: Plan, state: InstanceState | None, address: Address) -> list[Address]:
    """The executions that follow one another from ``address`` on, as far as one window goes."""
    if address.is_action:
        return list(islice(_straight_on(plan, address), WINDOW))
    places = undo_places(plan, state) if state is not None else []
    rest = [place for place in places if place != address] if address in places else []
    return [address, *rest][:WINDOW]


def _straight_on(plan: Plan, address: Address) -> Iterator[Address]:
    """To the end of the lane, and of a position without branches to the next one, while nobody has to decide."""
    step: PlanStep | None = plan.step(address.position, address.branch)
    while step is not None and step.is_task:
        yield Address(step.position, step.branch)
        following = plan.next_in_lane(step)
        if following is None and not plan.is_parallel(step.position):
            heads = plan.heads(step.position + 1)
            following = heads[0] if len(heads) == 1 else None
        step = following


def first_of_tail(request: Any) -> Address | None:
    """Whose message Celery will publish when the running task returns; None when nothing follows."""
    if not request.chain:
        return None
    try:
        return Address.parse(request.chain[-1]["options"]["headers"][ADDRESS_HEADER])
    except (LookupError, TypeError, ValueError):
        return None  # somebody else's task, or forged


def cut_tail(request: Any) -> None:
    """End the chain here: no further message, no error callback, a normal return."""
    request.chain = None
