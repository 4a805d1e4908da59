"""The fenced task class, the chains and their error callback, and the loop that moves instances on."""

from sagas.engine.alerting import Alerts, announce
from sagas.engine.binding import bind, required
from sagas.engine.capture import Beginning, token_warning
from sagas.engine.conditions import condition, condition_name
from sagas.engine.context import current_step
from sagas.engine.control import CONTROL_TASKS, HOME_HEADER, Control, left_in
from sagas.engine.core import Engine, IfExists
from sagas.engine.current_event import current_event
from sagas.engine.engines import add_engine, engine_for
from sagas.engine.fitness import refuse_unfit
from sagas.engine.joining import JoinedConnection, JoinedSession, callers_transaction
from sagas.engine.judging import describe
from sagas.engine.liveness import LocalDeliveries, WorkerIdentity
from sagas.engine.loop import Handled, Loop
from sagas.engine.messages import (
    ADDRESS_HEADER,
    CALLBACK_TASK,
    CANCEL_TASK,
    CONTROL_QUEUE,
    PURGE_TASK,
    SAGA_ID,
    START_TASK,
    SWEEP_TASK,
    Messages,
    execution_in,
    window_from,
)
from sagas.engine.outgoing import Posted, PublishingStep
from sagas.engine.publishing import Publisher, published
from sagas.engine.redaction import redacted_error, redacted_value
from sagas.engine.registry import (
    EVENT_MARK,
    Declared,
    PlanTarget,
    choreographies,
    choreography_of,
    current_app,
    declare,
    declare_choreography,
    declared,
    event_kind,
)
from sagas.engine.sentences import Sentence
from sagas.engine.signs import qualified
from sagas.engine.task import FencedTask
from sagas.engine.task_face import TaskFace, face_of

__all__ = [
    "ADDRESS_HEADER",
    "Alerts",
    "Beginning",
    "CALLBACK_TASK",
    "CANCEL_TASK",
    "EVENT_MARK",
    "START_TASK",
    "CONTROL_QUEUE",
    "CONTROL_TASKS",
    "HOME_HEADER",
    "Declared",
    "PURGE_TASK",
    "PlanTarget",
    "Publisher",
    "SAGA_ID",
    "SWEEP_TASK",
    "Control",
    "Engine",
    "FencedTask",
    "LocalDeliveries",
    "IfExists",
    "JoinedConnection",
    "JoinedSession",
    "Loop",
    "Messages",
    "Handled",
    "Posted",
    "PublishingStep",
    "Sentence",
    "TaskFace",
    "WorkerIdentity",
    "add_engine",
    "bind",
    "announce",
    "choreographies",
    "choreography_of",
    "condition",
    "condition_name",
    "current_app",
    "current_event",
    "current_step",
    "declare",
    "declare_choreography",
    "declared",
    "describe",
    "engine_for",
    "event_kind",
    "execution_in",
    "callers_transaction",
    "left_in",
    "face_of",
    "published",
    "qualified",
    "redacted_error",
    "redacted_value",
    "refuse_unfit",
    "required",
    "token_warning",
    "window_from",
]
