"""The fencing task class: `Sagas(app)` composes it over the app's own, so that plain tasks become fenced steps."""

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from celery import Task

from sagas.engine.execution import Execution
from sagas.engine.messages import ADDRESS_HEADER, SAGA_ID, cut_tail
from sagas.model import Address

if TYPE_CHECKING:
    from sagas.engine.core import Engine

logger = logging.getLogger("sagas")

_publishing_step: ContextVar[bool] = ContextVar("sagas_publishing_step", default=False)

#: Marks a request whose step is running: a body that calls its own task makes a plain call.
_ENTERED = "_sagas_entered"


class FencedTask(Task):
    """Runs a saga's messages as claimed executions, and everything else as Celery does."""

    abstract = True
    sagas_engine: ClassVar["Engine | None"] = None

    @property
    def typing(self) -> bool:
        """Whether Celery compares arguments with the function before it publishes. A saga's message has none yet."""
        return bool(self._get_app().strict_typing) and not _publishing_step.get()

    def apply_async(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        token = _publishing_step.set(ADDRESS_HEADER in (options.get("headers") or {}))
        try:
            return super().apply_async(args, kwargs, *rest, **options)
        finally:
            _publishing_step.reset(token)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        request = self.request
        place = getattr(request, ADDRESS_HEADER, None)
        if place is None or getattr(request, _ENTERED, False) or self.sagas_engine is None:
            return super().__call__(*args, **kwargs)
        setattr(request, _ENTERED, True)
        try:
            instance_id, address = UUID(str(kwargs[SAGA_ID])), Address.parse(str(place))
        except (KeyError, ValueError) as error:
            # Forged or mangled: without a claim nothing runs.
            logger.error("malformed saga message dropped", extra={"task_id": request.id, "error": repr(error)})
            cut_tail(request)
            return None
        return Execution(self.sagas_engine, self, instance_id, address).run()

    def call_body(self, **arguments: Any) -> Any:
        """The function, inside what the application's own task class puts around it: Flask's app context, say."""
        bases = type(self).__mro__
        around = bases[bases.index(FencedTask) + 1 : bases.index(Task)]
        if any("__call__" in vars(base) for base in around):
            return super().__call__(**arguments)
        # Celery's own would push a second, empty request: the body could not see its task id.
        return self.run(**arguments)
