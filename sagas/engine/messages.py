"""Build Celery messages from addresses: chains of immutable signatures with one error callback for the whole chain."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

from celery import Celery, chain
from celery.canvas import Signature
from celery.utils.time import rate

from sagas.engine.registry import inline_of
from sagas.model import Address, ExecutionStatus, Inline, InstanceState, Plan, PlanStep, StepState
from sagas.model.limits import HARD_LIMIT_GRACE, Limits, own_limits
from sagas.model.releases import with_needs, without_needs
from sagas.model.undoing import undo_places

#: The header that names the execution. Only a message with it is fenced: a plain call stays a plain call.
ADDRESS_HEADER = "saga_step"
#: Says that the execution is a delivery of an event.
DELIVERY_HEADER = "saga_event"
#: When the message was sent, by the database's clock: messages sent to its queue before should have come before it.
SENT_HEADER = "saga_sent"
#: The header that says how far the worker may go on without further messages (see `Inline`).
INLINE_HEADER = "saga_inline"
#: Flower shows and searches keyword arguments, not headers; the task class removes this one again.
SAGA_ID = "saga_id"
#: Every message carries the rest of its chain, so a chain is sent in windows; the last message asks for the next.
WINDOW = 5

NO_ROWS: Mapping[Address, Limits] = {}

CALLBACK_TASK = "sagas.on_error"
SWEEP_TASK = "sagas.sweep"
#: The task of a delivery that starts a saga, and its undo.
START_TASK, CANCEL_TASK = "sagas.start_saga", "sagas.cancel_saga"
PURGE_TASK = "sagas.purge"
#: The default control queue: separate, so that its messages do not wait behind ten thousand steps. Every worker
#: consumes it.
CONTROL_QUEUE = "sagas"


class Messages:
    """Builds and sends the messages of executions."""

    def __init__(self, app: Celery, control_queue: str = CONTROL_QUEUE, step_results: bool = False) -> None:
        self._app = app
        #: If results are kept, the task's own setting counts, as outside sagas.
        self._results: dict[str, Any] = {} if step_results else {"ignore_result": True}
        self._control_queue = control_queue
        self._queues: dict[str, str | None] = {}
        self._limits: dict[str, Limits] = {}

    def queue_of(self, step: PlanStep, round_: int) -> str | None:
        """Return the queue of a step's action or compensation: its own, or the one that Celery routes the task to."""
        task_name = step.task_for(round_)
        if step.queue is not None or task_name is None:
            return step.queue
        if task_name not in self._queues:
            task = self._app.tasks.get(task_name)
            own = {name: value for name in ("queue", "routing_key", "exchange") if (value := getattr(task, name, None))}
            queue = self._app.amqp.router.route(own, task_name).get("queue")
            self._queues[task_name] = getattr(queue, "name", queue)
        return self._queues[task_name]

    def limits_of(self, step: PlanStep, round_: int) -> Limits:
        """Return how long one execution may take: as the saga says, or else as its task or the app says."""
        declared, task_name = step.declared_limits(round_), step.task_for(round_)
        if declared is not None or task_name is None:
            return declared or Limits(step.timeout_for(round_))
        if task_name not in self._limits:
            task, conf = self._app.tasks.get(task_name), self._app.conf
            soft = getattr(task, "soft_time_limit", None) or conf.task_soft_time_limit
            self._limits[task_name] = own_limits(soft, getattr(task, "time_limit", None) or conf.task_time_limit)
        return self._limits[task_name]

    def is_rate_limited(self, task_name: str) -> bool:
        """Return whether workers keep received messages of this task back, by Celery's rate limit."""
        limit = getattr(self._app.tasks.get(task_name), "rate_limit", None)
        return not self._app.conf.worker_disable_rate_limits and bool(rate(limit))

    def impatient_connection(self) -> Any:
        """Return a separate connection that tries each broker once: Celery's pool sleeps for seconds in between."""
        connection = self._app.connection_for_write()
        connection.transport_options |= {"max_retries": len(connection.alt), "interval_start": 0, "interval_max": 0}
        return connection

    def rehearse(self, instance_id: UUID, plan: Plan, **options: Any) -> None:
        """Publish the message of the first step that is a task; for a saga without one, its error callback."""
        step = plan.first_task
        if step is None:
            message = self._callback(instance_id, plan)
        else:
            message = self._signature(instance_id, plan, Address(step.position, step.branch))
        # No result is awaited of what is not sent: backends such as rpc:// would declare a queue for it.
        message.apply_async(root_id=str(instance_id), **options | {"ignore_result": True})

    def send(
        self,
        instance_id: UUID,
        plan: Plan,
        window: Sequence[Address],
        countdown: float = 0.0,
        limits: Mapping[Address, Limits] = NO_ROWS,
        first_id: str | None = None,
        **options: Any,
    ) -> None:
        """Publish one window of a chain. Raises the broker's errors.

        Args:
            window: the executions, in the order in which they run.
            limits: the limits of executions whose rows were born before, maybe in another process.
            countdown: seconds before the first may run; a few at most.
            first_id: the id of the first message, if it has one already.
            options: further options of ``apply_async``.
        """
        inline = inline_of(plan) if window[0].is_action else None
        signatures = [
            self._signature(instance_id, plan, address, limits.get(address), inline)
            # The worker goes on by itself: its message has no tail.
            for address in (window[:1] if inline else window)
        ]
        callback = self._callback(instance_id, plan)
        if countdown:
            options["countdown"] = countdown
        # Every dispatch has fresh task ids: workers would discard a revoked one for hours.
        if first_id is not None:
            signatures[0].set(task_id=first_id)
        # `run` does what `chain.apply_async` does, even if `task_always_eager` is set.
        publish = chain(*signatures, app=self._app).run if len(signatures) > 1 else signatures[0].apply_async
        publish(link_error=[callback], root_id=str(instance_id), **options)

    def _signature(
        self,
        instance_id: UUID,
        plan: Plan,
        address: Address,
        limits: Limits | None = None,
        inline: Inline | None = None,
    ) -> Signature:
        step = plan.step(address.position, address.branch)
        task = step.task_for(address.round)
        if task is None:
            raise ValueError(f"no worker runs {step.name!r}")
        limits = limits or self.limits_of(step, address.round)
        headers, shown = self.headers_and_name(plan, address)
        options = {
            "headers": headers | ({INLINE_HEADER: str(inline)} if inline else {}),
            "shadow": shown,
            **self._results,
            "expires": None,  # even if the task has one: an expired message ends a chain silently
            **(limit_options(limits) if inline is None else self._net(plan, limits, inline)),
        }
        # Set only if the saga says so: otherwise the task's own apply.
        if step.queue is not None:
            options["queue"] = step.queue
        if plan.priority is not None:
            options["priority"] = plan.priority
        return Signature(task, kwargs={SAGA_ID: str(instance_id)}, app=self._app, immutable=True, options=options)

    def headers_and_name(self, plan: Plan, address: Address) -> tuple[dict[str, str], str]:
        """Return the headers that name an execution, and its name as logs and Flower show it."""
        step = plan.step(address.position, address.branch)
        shown = step.name if address.is_action else str(step.compensation).rpartition(".")[2]
        headers = {ADDRESS_HEADER: with_needs(str(address), plan.needs)}
        return headers | ({} if plan.has_windows else {DELIVERY_HEADER: "1"}), f"{plan.saga}/{shown}"

    def _net(self, plan: Plan, own: Limits, inline: Inline) -> dict[str, float]:
        """Return the limits of a message that may run several steps, each with limits that the worker's child keeps."""
        longest = max([own.for_process, *(self.limits_of(step, 0).for_process for step in plan.steps if step.is_task)])
        soft = inline.seconds + longest
        return {"soft_time_limit": soft, "time_limit": soft + HARD_LIMIT_GRACE}

    def _callback(self, instance_id: UUID, plan: Plan) -> Signature:
        return Signature(
            CALLBACK_TASK,
            kwargs={SAGA_ID: str(instance_id)},
            app=self._app,
            immutable=True,
            options={"queue": self._control_queue, "shadow": f"{plan.saga}/on_error", "ignore_result": True},
        )


def limit_options(limits: Limits) -> dict[str, float]:
    """Return the limits as options of a message."""
    return {"soft_time_limit": limits.for_body, "time_limit": limits.for_process}


def saga_id_of(body: Any) -> UUID | None:
    """Return the instance that a message names; None: it is not a saga's."""
    try:
        return UUID(str(body[1][SAGA_ID]))
    except (LookupError, TypeError, ValueError):
        return None


def window_from(plan: Plan, state: InstanceState | None, address: Address) -> list[Address]:
    """Return the executions that follow one another from ``address`` on, up to the end of a window."""
    if not plan.has_windows:
        return [address]
    if address.is_action:
        return list(islice(_straight_on(plan, address), WINDOW))
    places = undo_places(plan, state) if state is not None else []
    rest = [place for place in places if place != address] if address in places else []
    return [address, *rest][:WINDOW]


def _straight_on(plan: Plan, address: Address) -> Iterator[Address]:
    """Yield executions to the end of the lane, and past a position without branches, while no decision is needed."""
    step: PlanStep | None = plan.step(address.position, address.branch)
    while step is not None and step.is_task:
        yield Address(step.position, step.branch)
        following = plan.next_in_lane(step)
        if following is None and not plan.is_parallel(step.position):
            heads = plan.heads(step.position + 1)
            following = heads[0] if len(heads) == 1 else None
        step = following


def address_in(header: str) -> Address:
    """Return the execution that a message is for, by its `ADDRESS_HEADER`.

    Raises:
        ValueError: it was forged or mangled, or belongs to a plan that only a newer release can run: it stays
            unclaimed, and is sent again, perhaps to a worker of that release.
    """
    if not isinstance(header, str):
        raise ValueError(f"{header!r:.80} is not the address of an execution")
    return Address.parse(without_needs(header, "the message"))


def execution_in(headers: Mapping[str, Any]) -> tuple[UUID, Address] | None:
    """Return the instance and the address that a message's headers name; None where they are forged, or name none."""
    try:
        return UUID(str(headers["root_id"])), address_in(str(headers[ADDRESS_HEADER]))
    except (KeyError, ValueError):
        return None


def sent_at(request: Any) -> datetime | None:
    """Return when a message was sent; None if it does not say, or may have overtaken others."""
    sent = getattr(request, SENT_HEADER, None)
    if not isinstance(sent, str) or (request.delivery_info or {}).get("priority"):
        return None
    try:
        moment = datetime.fromisoformat(sent)
    except ValueError:
        return None  # forged or mangled
    return moment if moment.tzinfo else None


def first_of_tail(request: Any) -> Address | None:
    """Return the execution whose message Celery will publish when the running task returns; None if nothing follows."""
    if not request.chain:
        return None
    try:
        return address_in(request.chain[-1]["options"]["headers"][ADDRESS_HEADER])
    except (LookupError, TypeError, ValueError):
        return None  # another application's task, or forged


def may_continue_chain(request: Any, own: StepState | None, following: StepState | None) -> bool:
    """Return whether a message whose execution is over goes on with its chain.

    After a crash between "completed" and "published", the redelivery goes on if nothing else did. A second dispatch may
    not: n of them that queue behind one another would make n chains.
    """
    return (
        is_redelivered(request)
        and own is not None
        and own.status is ExecutionStatus.COMPLETED
        and following is not None
        and following.status is ExecutionStatus.PENDING
        and following.dispatches == 1
        and not following.attempts
    )


def is_redelivered(request: Any) -> bool:
    """Return whether the broker has delivered the message before, and had no answer."""
    return bool((request.delivery_info or {}).get("redelivered"))


def goes_on_inline(request: Any) -> bool:
    """Return whether the message may run further steps than its own."""
    return Inline.parse(getattr(request, INLINE_HEADER, None)) is not None


def limit_tail(request: Any, limits: Limits) -> None:
    """Set the limits of the next message, which Celery publishes with those of the process that sent the chain."""
    request.chain[-1]["options"] |= limit_options(limits)


def cut_tail(request: Any) -> None:
    """End the chain here: no further message, no error callback, a normal return."""
    request.chain = None
