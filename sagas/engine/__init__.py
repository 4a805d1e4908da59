"""The fenced task class, the chains and their error callback, and the loop that moves instances on."""

from sagas.engine.binding import bind, required
from sagas.engine.conditions import condition, condition_name
from sagas.engine.context import current_step
from sagas.engine.core import Engine, IfExists
from sagas.engine.declared import TaskFace, look_at
from sagas.engine.joining import JoinedConnection, JoinedSession, joined
from sagas.engine.judging import describe, qualified
from sagas.engine.liveness import Held, WorkerIdentity
from sagas.engine.loop import Loop, Outcome
from sagas.engine.messages import (
    ADDRESS_HEADER,
    CALLBACK_TASK,
    CONTROL_QUEUE,
    PURGE_TASK,
    SAGA_ID,
    SWEEP_TASK,
    Messages,
)
from sagas.engine.redaction import redacted_error, redacted_value
from sagas.engine.registry import add_engine, current_app, declare, declared, engine_for
from sagas.engine.task import FencedTask

__all__ = [
    "ADDRESS_HEADER",
    "CALLBACK_TASK",
    "CONTROL_QUEUE",
    "PURGE_TASK",
    "SAGA_ID",
    "SWEEP_TASK",
    "Engine",
    "FencedTask",
    "Held",
    "IfExists",
    "JoinedConnection",
    "JoinedSession",
    "Loop",
    "Messages",
    "Outcome",
    "TaskFace",
    "WorkerIdentity",
    "add_engine",
    "bind",
    "condition",
    "condition_name",
    "current_app",
    "current_step",
    "declare",
    "declared",
    "describe",
    "engine_for",
    "joined",
    "look_at",
    "qualified",
    "redacted_error",
    "redacted_value",
    "required",
]
