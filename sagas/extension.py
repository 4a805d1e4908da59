"""`Sagas(app, database=…)`: makes a Celery app's plain tasks fenced steps, and keeps its sagas moving."""

import logging
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from celery import Celery, signals
from celery.app.task import Task
from celery.utils.imports import symbol_by_name

from sagas.definition import Saga
from sagas.engine import (
    CALLBACK_TASK,
    CONTROL_QUEUE,
    PURGE_TASK,
    SWEEP_TASK,
    Engine,
    FencedTask,
    add_engine,
    declared,
    look_at,
)
from sagas.errors import ConfigurationError, InstanceNotFound
from sagas.graph import mermaid, svg
from sagas.handle import SagaHandle
from sagas.model import Codec, Secrecy, Tick
from sagas.model.payload import shown
from sagas.recovery import WorkerLife, purge, sweep
from sagas.store import DatabaseUrl, Timing

logger = logging.getLogger("sagas")

#: What Celery should do for sagas, where the application has not decided otherwise. Correctness hangs on none of it.
DEFAULTS: dict[str, Any] = {
    # A step waits in the broker, not behind a long one in some worker's memory.
    "worker_prefetch_multiplier": 1,
    # A late-acked step that loses its broker is killed and run again, instead of forking the whole chain.
    "worker_cancel_long_running_tasks_on_connection_loss": True,
    # Celery's own second gives up, and then fails a step that has succeeded.
    "task_publish_retry_policy": {
        "max_retries": 10,
        "interval_start": 0,
        "interval_step": 0.5,
        "interval_max": 5,
    },
    "broker_connection_retry_on_startup": True,
    # Names of the sent event would replace `order/charge_payment` in Flower.
    "task_send_sent_event": False,
}
#: Known to kombu's transports by these names; the others ignore them.
TRANSPORT_DEFAULTS: dict[str, dict[str, Any]] = {
    "redis": {"unacked_restore_interval": 1, "unacked_restore_throttle": 1},
    "sentinel": {"unacked_restore_interval": 1, "unacked_restore_throttle": 1},
    "amqp": {"confirm_publish": True},
    "pyamqp": {"confirm_publish": True},
}
#: What `Sagas.graph` draws.
GRAPHS = {"mermaid": mermaid, "svg": svg}


class Sagas:
    """Binds a Celery app to sagas. Make it right after the app, before its tasks are finalised.

    Plain tasks of the app become fenced steps when a saga runs them, and stay what they are otherwise; the sweep
    joins the beat schedule; workers report who is alive. Several in one process each have their own app.

    Args:
        app: the Celery app.
        database: URL of a PostgreSQL database; ``postgres://`` and ``postgresql://`` mean psycopg2. Or a function
            that returns it whenever it is needed.
        schema: where the library's tables live; ``sagas migrate`` makes it.
        heartbeat: seconds between two heartbeats of a worker. A dead worker's steps run again four or five later.
        sweep_every: seconds between two sweeps.
        secrets: names of fields of the data (of the input, of what steps return, of a signal's payload) that nobody
            may see: wherever they would be shown or logged they read ``•••``, also inside the texts of errors. Your
            tasks, conditions and `SagaHandle.data` get them. Business keys are shown: make none of a secret.
        codec: encrypts these fields wherever they are stored: what has ``encrypt(bytes)`` and ``decrypt(bytes)``, as
            ``MultiFernet([Fernet(new), Fernet(old)])`` of `cryptography` has, which encrypts with its first key and
            decrypts with any.

    Raises:
        ConfigurationError: the app is finalised already, or an argument cannot work.
    """

    def __init__(
        self,
        app: Celery,
        *,
        database: DatabaseUrl,
        schema: str = "sagas",
        heartbeat: float = 2.0,
        sweep_every: float = 2.0,
        secrets: Iterable[str] = (),
        codec: Codec | None = None,
    ) -> None:
        if not isinstance(app, Celery):
            raise ConfigurationError(f"Sagas({app!r}): pass the Celery app")
        self.app = app
        timing = Timing(heartbeat=heartbeat, sweep_every=sweep_every)
        self.engine = Engine(app, database, schema, timing, Secrecy(secrets, codec))
        self._fence(app)
        self._set_defaults(app)
        self._add_tasks(app)
        self._life = WorkerLife(self.engine)
        app.on_after_finalize.connect(self._finalized)
        # The modules that declare sagas may be imported after the app was finalised, but never after this.
        signals.worker_init.connect(self._in_worker)
        add_engine(self.engine)
        app.sagas = self

    def __repr__(self) -> str:
        return f"<Sagas of {self.app.main!r} in schema {self.engine.store.schema!r}>"

    # -- the public face

    def migrate(self) -> list[str]:
        """Create or update the tables; safe to run twice and at once. Returns the migrations it applied."""
        return self.engine.store.migrate()

    def start(self, saga: Saga, data: Mapping[str, Any], **options: Any) -> SagaHandle:
        """`Saga.start` on this very app, where a process has several."""
        return saga.start_on(self.engine, data, **options)

    def get(self, id: UUID | str) -> SagaHandle:
        """A handle on an instance.

        Raises:
            InstanceNotFound: there is none with this id.
        """
        try:
            instance_id = id if isinstance(id, UUID) else UUID(id)
        except (ValueError, AttributeError, TypeError):
            raise InstanceNotFound(
                f"{shown(id)} is no saga id; it looks like 01890a5d-ac96-774b-bcce-b302099a8057"
            ) from None
        handle = SagaHandle(self.engine, instance_id)
        _ = handle.saga
        return handle

    def find(self, *, saga: str, key: str) -> SagaHandle | None:
        """The current instance of a business key; None when there is none."""
        found = self.engine.store.instances.find(saga, key)
        return SagaHandle(self.engine, found) if found else None

    def graph(self, what: Saga | SagaHandle, *, format: str = "mermaid") -> str:
        """A saga, or an instance with the way it went, as a picture; no network is needed to make or to see it.

        Args:
            what: a saga, drawn as it is declared now; or a handle, drawn by the plan that its instance started with.
            format: ``"mermaid"``, text for Markdown; or ``"svg"``, a document that stands alone.

        Raises:
            ConfigurationError: there is no such format, or this is neither a saga nor a handle.
            InstanceNotFound: there is no such instance any more.

        Example:
            ``Path("order.svg").write_text(sagas.graph(order, format="svg"), encoding="utf-8")``
        """
        if format not in GRAPHS:
            raise ConfigurationError(f"graph(format={format!r}): the formats are {' and '.join(map(repr, GRAPHS))}")
        draw = GRAPHS[format]
        if isinstance(what, SagaHandle):
            seen = what.snapshot()
            return draw(seen.plan, seen)
        if isinstance(what, Saga):
            return draw(what.plan(self.engine))
        raise ConfigurationError(f"graph({what!r}): pass a Saga, or the handle of an instance")

    def sweep(self) -> int:
        """One pass of the sweep, now. Returns how many instances it moved on."""
        return sweep(self.engine, forced=True)

    def purge(self, older_than: timedelta, *, keep_keys: bool = False) -> int:
        """Delete old sagas: those that ended `completed` or `compensated` longer ago than this, with all that belongs
        to them. What is `failed` stays for its person; a child saga goes with the one that started it.

        Runs for as long as there are some, in short transactions, beside workers and other purges; interrupt it at
        will. A late report for a purged saga is dropped, and nothing of it is undone: ``older_than`` should be far
        longer than any step or outage of yours. Beat may do it: the task ``sagas.purge`` with ``{"days": 30}``.

        Args:
            older_than: how long ago a saga has to have ended, by the database's clock.
            keep_keys: **A purged business key is free: started again, it runs again.** True keeps the mere row of each
                saga that has one, so that ``start`` and `find` still give its handle, with its status, and without
                steps and data. A later purge without ``keep_keys`` deletes these rows too.

        Returns:
            How many instances were purged.

        Raises:
            ConfigurationError: ``older_than`` is not above zero.

        Example:
            ``sagas.purge(timedelta(days=30))``
        """
        return purge(self.engine, older_than, keep_keys=keep_keys)

    # -- putting itself into the app

    def _fence(self, app: Celery) -> None:
        if app.finalized:
            raise ConfigurationError(
                f"Sagas({app.main!r}): the app is finalised, its tasks are made: call Sagas right after Celery(…)"
            )
        if getattr(app, "sagas", None) is not None:
            raise ConfigurationError(f"Sagas({app.main!r}): the app has its Sagas already; use app.sagas")
        # Flask's older recipe assigns `app.Task`.
        base: type[Task] = app.__dict__.get("Task") or symbol_by_name(app.task_cls)
        fenced = type("FencedTask", (FencedTask, base), {"abstract": True, "sagas_engine": self.engine})
        app.task_cls = fenced
        app.__dict__.pop("Task", None)

    @staticmethod
    def _set_defaults(app: Celery) -> None:
        app.add_defaults(dict(DEFAULTS))

    def _add_tasks(self, app: Celery) -> None:
        engine = self.engine

        @app.task(name=CALLBACK_TASK, bind=True, shared=False, acks_late=True, ignore_result=True)
        def on_error(self: Task, saga_id: str) -> None:
            """The error callback: a hint. The rows tell whether there is something to undo, to send, or nothing."""
            try:
                instance_id = UUID(str(saga_id))
            except ValueError:
                logger.error("malformed saga message dropped", extra={"task_id": self.request.id})
                return
            engine.loop.handle(instance_id, Tick())

        @app.task(name=SWEEP_TASK, bind=True, shared=False, ignore_result=True)
        def run_sweep(self: Task) -> int:
            """Beat's sweep. A pile of these returns at once."""
            return sweep(engine)

        @app.task(name=PURGE_TASK, bind=True, shared=False, ignore_result=True)
        def run_purge(self: Task, days: float, keep_keys: bool = False) -> int:
            """For a beat schedule of the application's own. Returns how many instances it purged."""
            return purge(engine, timedelta(days=days), keep_keys=keep_keys)

    def _finalized(self, sender: Celery, **_: object) -> None:
        sender.add_periodic_task(
            self.engine.store.timing.sweep_every,
            sender.tasks[SWEEP_TASK].si().set(queue=CONTROL_QUEUE),
            name=SWEEP_TASK,
        )
        transport = sender.conf.broker_url or ""
        for scheme, options in TRANSPORT_DEFAULTS.items():
            if transport.startswith(scheme):
                sender.conf.broker_transport_options = options | (sender.conf.broker_transport_options or {})
        self._ack_late()

    def _in_worker(self, sender: Any, **_: object) -> None:
        if sender.app is self.app:
            self._ack_late()

    def _ack_late(self) -> None:
        """Early acks lose a chain at a SIGKILL. Only the tasks of sagas are changed.

        An `@app.task(acks_late=…)` that is not made yet keeps its own word; later, and on a shared task, Celery shows
        no difference between an explicit False and its default.
        """
        for saga in declared():
            for task in saga.tasks():
                face = look_at(task)
                name = face.name or (
                    self.app.gen_task_name(face.function.__name__, face.function.__module__) if face.function else None
                )
                real = self.app.tasks.get(name) if name else None
                if real is not None and "acks_late" not in face.options:
                    real.acks_late = True
