"""The hooks with which a process dies at the points that `planned_faults` names. Only these tests' processes have them.

A point is ``<site> | <what>:<moment>``. The site is what the process is doing: ``action``, ``compensation``,
``callback`` and ``sweep`` are the tasks of a pool's child; ``heartbeat``, ``timer`` (it sweeps), ``filler`` and
``parent`` are what a worker's parent does; the rest is in processes that start sagas (see `starter`).
"""

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any
from unittest.mock import patch
from uuid import UUID

import kombu.message
import sqlalchemy
from celery.app.amqp import AMQP
from celery.concurrency.asynpool import AsynPool
from kombu.exceptions import OperationalError
from sqlalchemy import event
from sqlalchemy.engine.default import DefaultDialect

from sagas.engine import ADDRESS_HEADER, CALLBACK_TASK, SWEEP_TASK, FencedTask, after_commit, impatient
from sagas.engine.impatient import ImpatientSender
from sagas.engine.loop import Loop
from sagas.engine.task import _ENTERED
from sagas.model import Address
from sagas.recovery.filling import Filler
from sagas.recovery.sweep import Sweeper
from sagas.recovery.worker import WorkerLife
from sagas.store.database import COMMIT, is_in_transaction
from sagas.store.sweeping import Sweeping
from tests.faults.boundaries import planned_faults
from tests.faults.boundaries.statements import name_of, only_tells
from tests.support import journal

#: The site of this thread, if it is not that of its process; its saga; the step of that.
site: ContextVar[str | None] = ContextVar("site", default=None)
saga: ContextVar[UUID] = ContextVar("saga", default=planned_faults.NO_SAGA)
step: ContextVar[str | None] = ContextVar("step", default=None)
#: The publisher: Celery, which walks along its chain, the library's loop, or the filler.
publisher: ContextVar[str] = ContextVar("publisher", default="chain")
#: The impatient sender has a thread of its own, which does not know the site that it works for.
_sites_of_senders: dict[UUID, str] = {}
_site_of_process = "parent"

UUID_PARAMETERS = ("instance_id", "id", "id_1", "instance_id_1")
#: Statements about a worker, whose id is no saga's.
OF_WORKERS = ("HEARTBEAT", "SAY_GOODBYE")
WHAT_IS_SENT = {CALLBACK_TASK: "callback", SWEEP_TASK: "sweep"}


def here() -> str:
    return site.get() or _site_of_process


def pass_by(what: str, saga_id: UUID | None = None, at: str | None = None, where: str | None = None) -> None:
    """Pass a point, at which this process may die.

    Args:
        at: the step that it is about, if this process is not at a step itself.
    """
    point = f"{where or here()} | {what}"
    match planned_faults.strikes(saga_id or saga.get(), point, step.get() or at):
        case planned_faults.How.PROCESS:
            os.kill(os.getpid(), signal.SIGKILL)
        case planned_faults.How.GROUP:
            assert os.getsid(0) == os.getpgid(0), "a worker has a session of its own"
            os.killpg(0, signal.SIGKILL)
        case planned_faults.How.REFUSED:
            raise OperationalError("refused")


@contextmanager
def doing(what: str, saga_id: UUID = planned_faults.NO_SAGA) -> Iterator[None]:
    """Make this the site of the block."""
    tokens = site.set(what), saga.set(saga_id)
    try:
        yield
    finally:
        site.reset(tokens[0])
        saga.reset(tokens[1])


# -- statements and commits


def before_statement(connection: Any, cursor: Any, sent: str, parameters: Any, context: Any, many: bool) -> None:
    if not is_in_transaction(connection):
        forget_transaction(connection.connection)  # of one that was rolled back
    if only_tells(sent):
        return
    info = connection.connection.info
    if sent == COMMIT:
        pass_by(f"commit of {info['began']}:before", info["saga"])
        return
    name = name_of(sent)
    info.setdefault("began", name)
    # A transaction is about the one that it began with, also where it writes to another's inbox.
    info["saga"] = info.get("saga") or (saga_of(parameters) if name not in OF_WORKERS else None)
    pass_by(f"{name}:before", info["saga"])


def after_statement(connection: Any, cursor: Any, sent: str, parameters: Any, context: Any, many: bool) -> None:
    if only_tells(sent):
        return
    info = connection.connection.info
    name = f"commit of {info['began']}" if sent == COMMIT else name_of(sent)
    pass_by(f"{name}:after", info["saga"])
    if not is_in_transaction(connection):
        forget_transaction(connection.connection)


def forget_transaction(connection: Any) -> tuple[str | None, UUID | None]:
    """Forget a transaction; return the statement with which it began, and its saga."""
    try:
        return connection.info.pop("began", None), connection.info.pop("saga", None)
    except NotImplementedError:  # SQLAlchemy's own, before an engine's first connection is handed out
        return None, None


def saga_of(parameters: Any) -> UUID | None:
    """Return the saga of a statement, if its parameters name it."""
    given = parameters if isinstance(parameters, dict) else {}
    return next((UUID(str(given[name])) for name in UUID_PARAMETERS if given.get(name)), None)


def watch_commits() -> None:
    """Watch commits in the dialect: SQLAlchemy announces a commit only before it is made."""
    commit: Any = DefaultDialect.do_commit
    rollback: Any = DefaultDialect.do_rollback

    @wraps(commit)
    def do_commit(self: DefaultDialect, connection: Any) -> None:
        began, saga_id = forget_transaction(connection)
        if began is None:
            commit(self, connection)
            return
        pass_by(f"commit of {began}:before", saga_id)
        commit(self, connection)
        pass_by(f"commit of {began}:after", saga_id)

    @wraps(rollback)
    def do_rollback(self: DefaultDialect, connection: Any) -> None:
        forget_transaction(connection)
        rollback(self, connection)

    DefaultDialect.do_commit, DefaultDialect.do_rollback = do_commit, do_rollback  # type: ignore[method-assign]


# -- messages


def watch_publishing() -> None:
    create = AMQP._create_task_sender
    send_window: Any = Loop.send_window
    send_briefly: Any = ImpatientSender.send
    send_from_the_line: Any = Filler._publish

    @wraps(create)
    def create_task_sender(self: AMQP) -> Any:
        send = create(self)

        @wraps(send)
        def send_task_message(producer: Any, name: str, message: Any, **options: Any) -> Any:
            sent_for = subject(name, {**message.headers, **(options.get("headers") or {})})
            if sent_for is None:
                return send(producer, name, message, **options)
            what, saga_id, at = sent_for
            by = "chain" if name == CALLBACK_TASK else publisher.get()
            where = here()
            if threading.current_thread().name == "sagas-send":
                by, where = "loop", _sites_of_senders.get(saga_id, where)
            pass_by(f"publish {what} by {by}:before", saga_id, at, where)
            sent = send(producer, name, message, **options)
            pass_by(f"publish {what} by {by}:after", saga_id, at, where)
            return sent

        return send_task_message

    def sends_as(name: str, send: Any) -> Any:
        @wraps(send)
        def send_as(*arguments: Any, **options: Any) -> None:
            token = publisher.set(name)
            try:
                send(*arguments, **options)
            finally:
                publisher.reset(token)

        return send_as

    @wraps(send_briefly)
    def send_for_another(self: ImpatientSender, instance_id: UUID, *arguments: Any, **options: Any) -> bool:
        _sites_of_senders[instance_id] = here()
        sent: bool = send_briefly(self, instance_id, *arguments, **options)
        return sent

    AMQP._create_task_sender = create_task_sender
    ImpatientSender.send = send_for_another  # type: ignore[method-assign]
    Loop.send_window = sends_as("loop", send_window)  # type: ignore[method-assign]
    Filler._publish = sends_as("filler", send_from_the_line)  # type: ignore[method-assign]


def watch_acks() -> None:
    ack: Any = kombu.message.Message.ack

    @wraps(ack)
    def ack_message(self: Any, multiple: bool = False) -> None:
        headers = self.headers or {}
        sent_for = subject(str(headers.get("task")), headers)
        if sent_for is None:
            ack(self, multiple=multiple)
            return
        what, saga_id, at = sent_for
        pass_by(f"ack of {what}:before", saga_id, at)
        ack(self, multiple=multiple)
        pass_by(f"ack of {what}:after", saga_id, at)

    kombu.message.Message.ack = ack_message  # type: ignore[method-assign]


def subject(task: str, headers: Mapping[str, Any]) -> tuple[str, UUID, str | None] | None:
    """Return the kind of a saga's message, its saga and its step; None: it is another application's."""
    at = headers.get(ADDRESS_HEADER)
    if at is None and task not in WHAT_IS_SENT:
        return None
    saga_id = planned_faults.NO_SAGA if task == SWEEP_TASK else UUID(str(headers["root_id"]))
    return WHAT_IS_SENT.get(task) or kind_of(str(at)), saga_id, at


def kind_of(address: str) -> str:
    return "action" if Address.parse(address).is_action else "compensation"


# -- tasks and timers


def watch_tasks() -> None:
    call, call_body, write = FencedTask.__call__, FencedTask.call_body, journal.write

    @wraps(call)
    def call_task(self: FencedTask, *args: Any, **kwargs: Any) -> Any:
        request = {name: getattr(self.request, name, None) for name in (ADDRESS_HEADER, "root_id")}
        called_for = subject(self.name, request)
        if called_for is None or getattr(self.request, _ENTERED, False):  # the second time it is around the body
            return call(self, *args, **kwargs)
        # Set for good: what Celery does after the task belongs to it too.
        what, saga_id, at = called_for
        site.set(what)
        saga.set(saga_id)
        step.set(at)
        pass_by("task:before")
        try:
            return call(self, *args, **kwargs)
        finally:
            pass_by("task:after")

    @wraps(call_body)
    def call_its_body(self: FencedTask, **arguments: Any) -> Any:
        pass_by("body:before")
        try:
            return call_body(self, **arguments)
        finally:
            pass_by("body:after")

    @wraps(write)
    def write_effect(what: str) -> None:
        pass_by("effect:before")
        write(what)
        pass_by("effect:after")

    FencedTask.__call__, FencedTask.call_body = call_task, call_its_body  # type: ignore[method-assign]
    journal.write = write_effect


def watch_timers() -> None:
    beat, sweep, fill, is_swept = WorkerLife._beat, Sweeper.run, Filler.fill, Sweeping.is_swept
    is_timerless = "SAGAS_TEST_TIMERLESS" in os.environ

    @wraps(beat)
    def beat_here(self: WorkerLife) -> None:
        with doing("heartbeat"):
            beat(self)

    def in_thread(name: str, what: str, work: Any) -> Any:
        @wraps(work)
        def work_here(*arguments: Any, **options: Any) -> int:
            if threading.current_thread().name != name:
                return int(work(*arguments, **options))  # a sweep of beat's, in a pool's child
            if is_timerless:
                return 0
            with doing(what):
                return int(work(*arguments, **options))

        return work_here

    @wraps(is_swept)
    def is_swept_lately(self: Sweeping) -> bool:
        """Return whether a sweep was made lately: where no timer sweeps, beat's sweep is due after one interval."""
        if not is_timerless:
            return is_swept(self)
        with patch.dict(self._times, lease=self._times["often"]):
            return is_swept(self)

    WorkerLife._beat = beat_here  # type: ignore[method-assign]
    Sweeper.run = in_thread("sagas-sweep", "timer", sweep)  # type: ignore[method-assign]
    Filler.fill = in_thread("sagas-fill", "filler", fill)  # type: ignore[method-assign]
    Sweeping.is_swept = is_swept_lately  # type: ignore[method-assign]


def watch_the_pool() -> None:
    """Let a pool notice at once that one of its children is gone, instead of within five seconds."""
    timers = AsynPool.timers.fget
    AsynPool.timers = property(lambda self: dict.fromkeys(timers(self), 0.25))


def be_patient() -> None:
    """Raise the limits of patience: on a busy machine a message over which a process is to die must not be late."""
    impatient.PATIENCE = impatient.PROBE = after_commit.COMMIT_TAKES = 30.0


def install(where: str = "parent") -> None:
    """Install the hooks, once in a process; its forked children inherit them.

    Args:
        where: the site of whatever this process does by itself.
    """
    global _site_of_process
    _site_of_process = where
    event.listen(sqlalchemy.Engine, "before_cursor_execute", before_statement)
    event.listen(sqlalchemy.Engine, "after_cursor_execute", after_statement)
    watch_commits()
    watch_publishing()
    watch_acks()
    watch_tasks()
    watch_timers()
    watch_the_pool()
    be_patient()
