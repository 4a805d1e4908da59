"""Real sagas on the real database, with the messages run here and now instead of going through a broker.

The steps are claimed, fenced, retried and compensated by the same code as in a worker. There are no other processes, no
time limits, and no waiting for a backoff.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any
from uuid import UUID

from celery.app.trace import build_tracer

from sagas.engine import CALLBACK_TASK, SAGA_ID
from sagas.engine.after_commit import until_sent
from sagas.engine.capture import capture_for
from sagas.engine.messages import ADDRESS_HEADER, NO_ROWS
from sagas.errors import ConfigurationError
from sagas.extension import Sagas
from sagas.handle import SagaHandle
from sagas.model import Address, Plan, StepRole, StepStatus, Tick
from sagas.model.limits import Limits

Around = Callable[[], AbstractContextManager[Any]]

#: How often one instance may wait for a backoff before it counts as stuck.
LONGEST_WAITS = 100


class Inline:
    """The value of `inline`: the instances whose messages it has caught, and a method to run them earlier."""

    def __init__(self, sagas: Sagas, around: Around) -> None:
        self._sagas = sagas
        self._sweeping = sagas.engine.store.sweeping
        self._around = around
        self._messages: deque[tuple[str, Any, dict[str, Any]]] = deque()
        self.instances: list[UUID] = []

    def catch(self, name: str, message: Any, headers: Mapping[str, Any]) -> bool:
        """Capture a saga message; return False for any other message."""
        headers = dict(message.headers) | dict(headers)
        if name != CALLBACK_TASK and ADDRESS_HEADER not in headers:
            return False
        instance_id = UUID(message.body[1][SAGA_ID])
        if instance_id not in self.instances:
            self.instances.append(instance_id)
        headers = self._sagas.engine.carrying.lay(name, message.body, headers)
        self._messages.append((name, message, headers))
        return True

    @property
    def is_waiting(self) -> bool:
        """Whether there are messages that have not been run."""
        return bool(self._messages)

    def run(self) -> list[str]:
        """Run every instance to its end; return the names of the tasks that ran, in order.

        Raises:
            AssertionError: an instance would not end; the message is its timeline.
        """
        until_sent()
        ran = self._drain()
        # Again, for instances that another one's end has moved on.
        while restless := [run for run in map(self._sagas.get, self.instances) if not self._rests(run)]:
            for run in restless:
                ran += self._bring_to_rest(run)
        return ran

    def _bring_to_rest(self, handle: SagaHandle) -> list[str]:
        ran: list[str] = []
        waits = 0
        while not self._rests(handle):
            if waits == LONGEST_WAITS:
                raise AssertionError(f"it did not end after {waits} waits:\n{handle.timeline()}")
            waits += 1
            # In a test neither a backoff nor a sleep is waited for.
            sleeping = [step.name for step in handle.snapshot().plan.steps if step.role is StepRole.SLEEP]
            self._sweeping.hasten(handle.id, sleeping)
            self._sagas.engine.loop.handle(handle.id, Tick())
            ran += self._drain()
        return ran

    def _rests(self, handle: SagaHandle) -> bool:
        """Return whether it has ended, or waits for a signal that was not sent or for another saga that rests."""
        seen = handle.snapshot()
        if seen.status.is_final:
            return True
        live = [
            step
            for step, view in zip(seen.plan.steps, seen.steps, strict=True)
            if view.status in (StepStatus.RUNNING, StepStatus.COMPENSATING)
            or (view.status is StepStatus.PENDING and view.started_at is not None)
        ]
        return bool(live) and all(step.role in (StepRole.WAIT, StepRole.CHILD) for step in live)

    def _drain(self) -> list[str]:
        ran = []
        while self._messages:
            name, message, headers = self._messages.popleft()
            ran.append(name)
            # As a worker handles a message from the broker.
            args, kwargs, embedded = message.body
            request = headers | dict(embedded) | {"args": args, "kwargs": kwargs, "delivery_info": {}}
            app = self._sagas.app
            # A step that exits ends its process: it is recorded as lost, and another process already has its message.
            with self._around(), suppress(SystemExit):
                build_tracer(name, app.tasks[name], app=app)(headers["id"], args, kwargs, request)
        return ran


@contextmanager
def inline(sagas: Sagas, *, around: Around = nullcontext) -> Iterator[Inline]:
    """Hold back the messages of sagas in the block; at its end run each saga to its end, or to a wait for a signal that
    was not sent::

        with inline(sagas):
            run = order.start({"order_id": "42", …})
        assert run.status == "completed"

    The steps run in this thread, one after the other, on the database that ``sagas`` is bound to. Other tasks go to the
    broker as always, or are eager if ``task_always_eager`` is set. A block that raises runs nothing.

    Args:
        around: a context around each message, for a framework whose tests must act before and after a task.

    Raises:
        AssertionError: a saga would not end; the message is its timeline.
        ConfigurationError: ``sagas`` is something else, such as the app itself.
    """
    if not isinstance(sagas, Sagas):
        raise ConfigurationError(
            f"inline(…) takes the Sagas of an app, as in inline(app.sagas), not a {type(sagas).__qualname__}"
        )
    amqp, sender = sagas.app.amqp, sagas.engine.impatient_sender
    sends, sends_briefly = amqp.send_task_message, sender.send
    caught = Inline(sagas, around)

    def send_task_message(producer: Any, name: str, message: Any, **options: Any) -> Any:
        headers = options.get("headers") or {}
        if capture_for(message.body) is None and caught.catch(name, message, headers):
            return None
        return sends(producer, name, message, **options)

    def send_here(
        instance_id: UUID,
        plan: Plan,
        window: list[Address],
        countdown: float = 0.0,
        limits: Mapping[Address, Limits] = NO_ROWS,
        first_id: str | None = None,
    ) -> bool:
        sagas.engine.messages.send(instance_id, plan, window, countdown, limits, first_id)
        return True

    amqp.send_task_message = send_task_message
    # There is no broker that could block, and none that was away a moment ago.
    sender.send = send_here  # type: ignore[method-assign]
    ran_inline, sagas.engine.runs_inline = sagas.engine.runs_inline, True
    try:
        yield caught
        caught.run()
    finally:
        sagas.engine.runs_inline = ran_inline
        amqp.send_task_message, sender.send = sends, sends_briefly  # type: ignore[method-assign]
