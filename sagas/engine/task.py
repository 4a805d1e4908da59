"""The fencing task class: `Sagas(app)` composes it over the app's own, so that plain tasks become fenced steps.

Whatever an application's own classes put around a task runs inside the fence, even if the class of a single task
overrides ``__call__``: none of it runs before the step is claimed, and none of it can bypass the claim. Only
``before_start`` runs where Celery runs it, before the claim, and an exception that it raises is kept for the claim.
"""

import logging
import warnings
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial, wraps
from inspect import getattr_static
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from celery import Task
from celery.exceptions import AlwaysEagerIgnored

from sagas.engine.answer import Answer
from sagas.engine.continuing import Trace, with_continuation, without_cycle
from sagas.engine.execution import execute
from sagas.engine.fitness import refuse_unawaited
from sagas.engine.messages import ADDRESS_HEADER, SAGA_ID, address_in, cut_tail, limit_tail
from sagas.engine.retrying import UNSAID, refuse_replace, retry_asked
from sagas.model import NewerRelease

if TYPE_CHECKING:
    from sagas.engine.core import Engine

logger = logging.getLogger("sagas")

_publishing_step: ContextVar[bool] = ContextVar("sagas_publishing_step", default=False)

#: Marks a request whose step is running: a body that calls its own task makes a plain call.
_ENTERED = "_sagas_entered"
#: On a request: the call around the body that is still to be made, until the body is called.
_AROUND = "_sagas_around"
#: On a request: the exception that `before_start` raised.
_NOT_READY = "_sagas_not_ready"
#: On a request: the arguments of the body.
_ARGUMENTS = "_sagas_arguments"
#: On a request: Celery's own ``__call__`` may have called the body.
_COVERED = "_sagas_covered"
#: On a request: the class of the clean no that its body raised.
_EXPECTED = "_sagas_expected"
#: Marks a callable that is already inside the fence.
_FENCED = "_sagas_fenced"


class FencedTask(Task):
    """Runs a saga's messages as claimed executions, and everything else as Celery does."""

    abstract = True
    sagas_engine: ClassVar["Engine | None"] = None
    _own_throws: ClassVar[Any] = None
    #: Celery's tracer of this one task.
    sagas_trace: Trace | None = None
    _sagas_traced: Trace | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if (own := getattr_static(cls, "throws")) is not FencedTask.__dict__["throws"]:
            cls._own_throws = own
            cls.throws = FencedTask.__dict__["throws"]  # type: ignore[method-assign]
        # Any base may define it, even one that is not a task.
        if not hasattr(cls.__call__, _FENCED):
            cls.__call__ = _fenced_call(cls.__call__)  # type: ignore[method-assign]
        if cls.before_start is not Task.before_start and not hasattr(cls.before_start, _FENCED):
            cls.before_start = _fenced_hook(getattr_static(cls, "before_start"))

    @property
    def __trace__(self) -> Trace | None:
        """Celery's tracer, with the steps that may follow under the same message."""
        return self._sagas_traced

    @__trace__.setter
    def __trace__(self, trace: Trace | None) -> None:
        engine = self.sagas_engine
        self.sagas_trace = trace = trace if trace is None or engine is None else without_cycle(trace)
        self._sagas_traced = trace if trace is None or engine is None else with_continuation(engine, trace)

    @property
    def throws(self) -> tuple[type[BaseException], ...]:
        """The errors that Celery logs as expected, in one line: those that the task names, and this message's own."""
        own = super().throws if self._own_throws is None else self._own_throws
        return (*(own if isinstance(own, tuple) else (own,)), *getattr(self.request, _EXPECTED, ()))

    def expecting(self, error: Exception) -> Exception:
        """Return the same error, which Celery is to log as an answer, not as a mistake with its traceback."""
        setattr(self.request, _EXPECTED, (type(error),))
        return error

    @property
    def typing(self) -> bool:
        """Whether Celery checks arguments against the function before it publishes. A saga's message has none yet."""
        return bool(self._get_app().strict_typing) and not _publishing_step.get()

    def apply_async(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        token = _publishing_step.set(ADDRESS_HEADER in (options.get("headers") or {}))
        try:
            return super().apply_async(args, kwargs, *rest, **options)
        finally:
            _publishing_step.reset(token)

    def apply(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        if not _publishing_step.get():
            return super().apply(args, kwargs, *rest, **options)
        # `task_always_eager` would run the step in the caller, inside the transaction that starts it.
        token = _publishing_step.set(False)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AlwaysEagerIgnored)
                return self._get_app().send_task(self.name, args, kwargs, task_type=self, **options)
        finally:
            _publishing_step.reset(token)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._is_message():
            return self._execute(partial(FencedTask.__call__, self), kwargs)
        if self.request.__dict__.pop(_AROUND, None) is not None:
            return self._inside(args, kwargs)
        return super().__call__(*args, **kwargs)

    setattr(__call__, _FENCED, True)

    def _is_message(self) -> bool:
        """Return whether this is the call that Celery makes for a saga's message."""
        request = self.request
        return (
            getattr(request, ADDRESS_HEADER, None) is not None
            and not getattr(request, _ENTERED, False)
            and self.sagas_engine is not None
        )

    def _execute(self, around: Callable[..., Any], kwargs: dict[str, Any]) -> Any:
        """Claim the step of this message, and run the body inside the calls around it."""
        request = self.request
        setattr(request, _ENTERED, True)
        try:
            instance_id, address = UUID(str(kwargs[SAGA_ID])), address_in(str(getattr(request, ADDRESS_HEADER)))
        except (KeyError, ValueError) as error:
            # Without a claim nothing runs.
            what = "saga message of a newer release" if isinstance(error, NewerRelease) else "malformed saga message"
            logger.error("%s dropped", what, extra={"task_id": request.id, "error": repr(error)})
            cut_tail(request)
            return None
        assert self.sagas_engine is not None
        setattr(request, _AROUND, around)
        return self._obey(execute(self.sagas_engine, self, instance_id, address))

    def _obey(self, answer: Answer) -> Any:
        """Let the chain of the running message go on or end; return or raise what Celery is to see."""
        if isinstance(answer.raises, Exception) and answer.is_expected:
            raise self.expecting(answer.raises)
        if answer.raises is not None:
            raise answer.raises
        if not answer.goes_on:
            cut_tail(self.request)
        elif answer.limits is not None:
            limit_tail(self.request, answer.limits)
        return answer.value

    def not_ready(self) -> BaseException | None:
        """Return the exception that `before_start` raised for the running message."""
        raised: BaseException | None = getattr(self.request, _NOT_READY, None)
        return raised

    def call_body(self, **arguments: Any) -> Any:
        """Call the function, inside what the application's own task classes put around it, such as Flask's app context.

        Raises:
            PayloadError: it returned a coroutine or a generator, and so has not run.
        """
        setattr(self.request, _ARGUMENTS, arguments)
        value = getattr(self.request, _AROUND)(**arguments)
        refuse_unawaited(value, f"what task {self.name} returned")
        return value

    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: Any = None,
        throw: bool = True,
        eta: Any = None,
        countdown: Any = None,
        max_retries: Any = UNSAID,
        **options: Any,
    ) -> Any:
        """Ask to be tried again: in a step the saga answers, by its own counters and before anything is published."""
        request = self._step_request()
        if request is None:
            explicit = {} if max_retries is UNSAID else {"max_retries": max_retries}
            return super().retry(args, kwargs, exc, throw, eta, countdown, **explicit, **options)
        raise retry_asked(
            self,
            request,
            getattr(request, _ARGUMENTS),
            args=args,
            kwargs=kwargs,
            exc=exc,
            throw=throw,
            eta=eta,
            countdown=countdown,
            max_retries=max_retries,
            options=options,
        )

    def replace(self, sig: Any) -> Any:
        """Refuse in a step, before anything else happens; elsewhere do what Celery does."""
        if self._step_request() is not None:
            refuse_replace(self, "self.replace")
        return super().replace(sig)

    def add_to_chord(self, sig: Any, lazy: bool = False) -> Any:
        """Refuse in a step, before anything else happens; elsewhere do what Celery does."""
        if self._step_request() is not None:
            refuse_replace(self, "self.add_to_chord")
        return super().add_to_chord(sig, lazy)

    def _step_request(self) -> Any:
        """Return the request of the step whose body is running; None: the body was called in another way."""
        stack = self.request_stack.stack
        if stack and hasattr(stack[-1], _ARGUMENTS):
            return stack[-1]
        # Celery's own call pushes another request on top of it.
        return stack[-2] if len(stack) > 1 and hasattr(stack[-2], _COVERED) else None

    def _inside(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        bases = type(self).__mro__
        around = bases[bases.index(FencedTask) + 1 : bases.index(Task)]
        if any("__call__" in vars(base) for base in around):
            setattr(self.request, _COVERED, True)
            return super().__call__(*args, **kwargs)
        # Celery's own would push a second, empty request: the body could not see its task id.
        return self.run(*args, **kwargs)


def _fenced_call(own: Callable[..., Any]) -> Callable[..., Any]:
    """Return a ``__call__`` that precedes the fence in the class order, moved inside it."""

    @wraps(own)
    def call(self: FencedTask, *args: Any, **kwargs: Any) -> Any:
        if self._is_message():
            return self._execute(partial(own, self), kwargs)
        return own(self, *args, **kwargs)

    setattr(call, _FENCED, True)
    return call


def _fenced_hook(own: Any) -> Callable[..., Any]:
    """Return a ``before_start`` that leaves its exception to the claim: an unclaimed step would wait for ever."""

    @wraps(own)
    def before_start(self: FencedTask, *args: Any, **kwargs: Any) -> Any:
        hook = own.__get__(self, type(self)) if hasattr(own, "__get__") else own  # it may be a static method
        if not self._is_message():
            return hook(*args, **kwargs)
        try:
            return hook(*args, **kwargs)
        except BaseException as error:
            setattr(self.request, _NOT_READY, error)
            return None

    setattr(before_start, _FENCED, True)
    return before_start
