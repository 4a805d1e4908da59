"""`Saga(continuation="inline")`: the worker that completed a step runs the next one at once, without a message.

The loop is around Celery's tracer: every step is traced whole, with its own request, id, signals and events, before the
next begins. Each is claimed as if its message had come, so a crash between two of them leaves a row that is merely
unclaimed, and the claim sees what a cancel, a deadline or a signal changed meanwhile.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from billiard.compat import mem_rss
from celery.utils.saferepr import saferepr

from sagas.engine.messages import INLINE_HEADER, SENT_HEADER, window_from
from sagas.model import Address, Inline, Plan, PlanStep
from sagas.model.limits import Limits
from sagas.store import Claim

if TYPE_CHECKING:
    from sagas.engine.core import Engine

logger = logging.getLogger("sagas")

#: Celery's tracer of one task.
Trace = Callable[[str, Any, Any, Any], Any]

_current: ContextVar["Continuation | None"] = ContextVar("sagas_continuation", default=None)


@dataclass(frozen=True, slots=True)
class _Next:
    """The step that follows, whose row already says that it is sent."""

    instance_id: UUID
    plan: Plan
    address: Address


class Continuation:
    """The steps that one message runs, one after the other."""

    def __init__(self, engine: "Engine", message: Mapping[str, Any], bounds: Inline) -> None:
        self._engine = engine
        self._message = message
        self._bounds = bounds
        self._began = time.monotonic()
        self._worker_id = engine.identity.id
        self._steps = 1
        self._next: _Next | None = None
        #: The request being traced; its body may call other tasks.
        self.request_id = str(message["id"])

    @property
    def delivery(self) -> str:
        """Return the id of the message, which the worker lists for as long as any of its steps runs."""
        return str(self._message["id"])

    def run(self, trace: Trace, args: Any, kwargs: Any) -> Any:
        """Trace the message's own step, then what follows it; return what Celery is to report about the message."""
        token = _current.set(self)
        try:
            with self._engine.held.holding(self.delivery):
                outcome = trace(self.delivery, args, kwargs, self._message)
                while (following := self._next) is not None:
                    self._step(following, args, kwargs)
                return outcome
        finally:
            _current.reset(token)
            self._hand_over()

    def take(self, instance_id: UUID, plan: Plan, completed: Address, heads: Sequence[Address]) -> Address | None:
        """Choose which of the steps just born runs here and now. None: all are to be sent."""
        if self._may_go_on():
            for head in heads:
                if self._fits(
                    plan, plan.step(completed.position, completed.branch), plan.step(head.position, head.branch)
                ):
                    self._next = _Next(instance_id, plan, head)
                    return head
        return None

    def watching(self, limits: Limits) -> AbstractContextManager[None]:
        """Keep the limits of one body."""
        return self._engine.watchdog.watching(limits, self.delivery)

    def _may_go_on(self) -> bool:
        engine = self._engine
        within = self._steps < self._bounds.steps and time.monotonic() - self._began < self._bounds.seconds
        is_same_worker = engine.identity.id == self._worker_id  # else it was declared dead meanwhile
        return within and is_same_worker and engine.leave.to_go_on and not self._is_too_large()

    def _is_too_large(self) -> bool:
        most = self._engine.leave.max_memory
        return most is not None and mem_rss() > most

    def _fits(self, plan: Plan, done: PlanStep, step: PlanStep) -> bool:
        """Return whether its message would come back here, so that only a message would be saved."""
        messages, task = self._engine.messages, self._engine.app.tasks.get(step.task)
        if getattr(task, "sagas_engine", None) is not self._engine or messages.is_rate_limited(str(step.task)):
            return False
        # A sibling that is told to stop is identified by its delivery, which the next step would share.
        if done.cancels_siblings or step.cancels_siblings or messages.queue_of(step, 0) != messages.queue_of(done, 0):
            return False
        # The parent's own limit counts from the message's start.
        hard, _ = self._message.get("timelimit") or (None, None)
        passed = time.monotonic() - self._began
        return hard is None or passed + messages.limits_of(step, 0).for_process < hard

    def _step(self, following: _Next, args: Any, kwargs: Any) -> None:
        task = self._engine.app.tasks[following.plan.step(following.address.position, following.address.branch).task]
        request = self._request(task.name, following)
        self._steps += 1
        self._next = None
        self.request_id = request["id"]
        self._tell_begin(request)
        try:
            outcome = task.sagas_trace(request["id"], args, kwargs, request)
        except MemoryError:
            raise  # Celery ends the process
        except Exception as error:  # such as a Reject of a hook: it is not the first step's failure
            logger.error("task %s of saga %s raised: %r", task.name, following.instance_id, error, exc_info=True)
        else:
            self._tell_end(request, outcome)

    def _request(self, task: str, following: _Next) -> dict[str, Any]:
        """Make the request that its message would have made."""
        own_id = str(uuid4())
        headers, shown = self._engine.messages.headers_and_name(following.plan, following.address)
        return {
            **self._message,
            **headers,
            SENT_HEADER: None,  # no message was sent: its claim says nothing about others
            "id": own_id,
            "correlation_id": own_id,
            "parent_id": self.delivery,
            "task": task,
            "shadow": shown,
            "chain": None,
            "callbacks": None,
            "retries": 0,
            "delivery_info": {**(self._message.get("delivery_info") or {}), "redelivered": False},
        }

    def _hand_over(self) -> None:
        """Send the step that was to follow and did not begin."""
        following, self._next = self._next, None
        if following is not None:
            window = window_from(following.plan, None, following.address)
            self._engine.loop.send_window(following.instance_id, following.plan, window)

    # -- events: those of the message's own step are sent by the worker's parent

    def _tell_begin(self, request: Mapping[str, Any]) -> None:
        shown = {"name": request["shadow"], "args": request.get("argsrepr"), "kwargs": request.get("kwargsrepr")}
        where = {name: request.get(name) for name in ("root_id", "parent_id", "retries", "eta", "expires")}
        self._tell("task-received", request, **shown, **where)
        self._tell("task-started", request)

    def _tell_end(self, request: Mapping[str, Any], outcome: Any) -> None:
        value, info, runtime, shown = outcome
        if info is None:
            self._tell("task-succeeded", request, result=shown, runtime=runtime)
        elif info.state in ("FAILURE", "RETRY"):
            kind = "task-failed" if info.state == "FAILURE" else "task-retried"
            self._tell(kind, request, exception=saferepr(info.retval), traceback=getattr(value, "traceback", None))

    def _tell(self, kind: str, request: Mapping[str, Any], **fields: Any) -> None:
        if not self._engine.leave.to_send_events:
            return
        try:
            with self._engine.app.events.default_dispatcher(hostname=request["hostname"]) as dispatcher:
                dispatcher.send(kind, uuid=request["id"], **fields)
        except Exception as error:  # an event is for watchers, and nothing waits for it
            logger.debug("event %s of task %s not sent: %r", kind, request["id"], error)


def continuing(request_id: str | None) -> Continuation | None:
    """Return the continuation that runs the task of this request; None: the message is its step's alone."""
    current = _current.get()
    return current if current is not None and current.request_id == request_id else None


def limits_kept(continuation: Continuation | None, claim: Claim) -> AbstractContextManager[None]:
    """Keep the limits of a body if its message may run several; otherwise Celery keeps those of the message."""
    return nullcontext() if continuation is None else continuation.watching(Limits(claim.timeout, claim.soft_timeout))


def without_cycle(trace: Trace) -> Trace:
    """Return a tracer that leaves nothing behind a failure that only a full garbage collection could free.

    Celery's frame keeps the error, and the traceback of the error keeps that frame with the copy of all frames that
    Celery reports: half a megabyte for each failure, in a process that makes a full collection rarely.
    """

    def traced(uuid: str, args: Any, kwargs: Any, request: Any = None) -> Any:
        done = trace(uuid, args, kwargs, request)
        if done.info is not None:
            done.info.retval.__traceback__ = None  # the report has its text
        return done

    return traced


def with_continuation(engine: "Engine", trace: Trace) -> Trace:
    """Return a tracer that goes on with the steps that may follow under the same message."""

    def traced(uuid: str, args: Any, kwargs: Any, request: Any = None) -> Any:
        bounds = Inline.parse((request or {}).get(INLINE_HEADER))
        if bounds is None:
            return trace(uuid, args, kwargs, request)
        return Continuation(engine, request, bounds).run(trace, args, kwargs)

    return traced
