"""`Sagas(app, database=…)`: makes a Celery app's plain tasks fenced steps, and keeps its sagas moving."""

import logging
import math
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Unpack, get_args
from uuid import UUID

from celery import Celery, signals
from celery.app.task import Task
from celery.utils.functional import maybe_list
from celery.utils.imports import symbol_by_name

from sagas.definition import FormatWord, Saga, StartOptions, StatusWord
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
from sagas.handle import Page, SagaHandle, read_page
from sagas.model import Codec, Data, SagaStatus, Secrecy, Tick
from sagas.model.payload import shown
from sagas.recovery import WorkerLife, purge, sweep
from sagas.store import DatabaseUrl, Timing, reachable

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
#: Known to kombu's transports by these names; the others ignore them. A list of brokers may have several kinds.
TRANSPORT_DEFAULTS: dict[str, dict[str, Any]] = {
    "redis": {"unacked_restore_interval": 1, "unacked_restore_throttle": 1},
    "sentinel": {"unacked_restore_interval": 1, "unacked_restore_throttle": 1},
    "amqp": {"confirm_publish": True},
    "pyamqp": {"confirm_publish": True},
}
#: Seconds after which a sweep that nobody took is worth nothing; far longer than clocks are apart.
SWEEP_EXPIRES = 3600
#: Seconds between two of beat's sweeps, at least: they stand in for the timers of workers, and Flower shows each.
BEAT_EVERY = 30.0
#: In the class the name `list` is a method's.
Names = list[str]


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
        parked_after: seconds. A step whose task cannot be called (a parameter that does not fit, a task that no worker
            knows) waits so long for a deploy; then its saga is failed and waits for a person.
        secrets: names of fields of the data (of the input, of what steps return, of a signal's payload) that nobody
            may see: wherever they would be shown or logged they read ``•••``, also inside the texts of errors. Your
            tasks, conditions and `SagaHandle.data` get them. Business keys are shown: make none of a secret.
        codec: encrypts these fields wherever they are stored: what has ``encrypt(bytes)`` and ``decrypt(bytes)``, as
            ``MultiFernet([Fernet(new), Fernet(old)])`` of `cryptography` has, which encrypts with its first key and
            decrypts with any.
        headers: every message of a saga carries the headers that publishing its first step at `start` would set, the
            tenant and the trace of its caller, say. Names that look like those of tokens are left out unless they are
            listed here; so is what is in ``secrets``, which goes into the row alone (with a codec) and into
            `current_step.headers`. None keeps none. Receivers of ``before_task_publish`` hear of a first step twice.
        control_queue: the queue of error callbacks, sweeps and purges, which every worker of the app consumes. Two apps
            with sagas on one broker need one each. Until the next release workers consume ``"sagas"`` besides.
        step_results: True lets steps write into the app's result backend as other tasks do, so that
            django-celery-results has a row for each of their messages. Nothing reads these rows; what a saga needs is
            in its own tables.

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
        parked_after: float = 300.0,
        secrets: Iterable[str] = (),
        codec: Codec | None = None,
        headers: Iterable[str] | None = (),
        control_queue: str = CONTROL_QUEUE,
        step_results: bool = False,
    ) -> None:
        if not isinstance(app, Celery):
            raise ConfigurationError(f"Sagas({app!r}): pass the Celery app")
        self.app = app
        timing = Timing(heartbeat=heartbeat, sweep_every=sweep_every, parked_after=parked_after)
        secrecy = Secrecy(secrets, codec)
        self.engine = Engine(app, database, schema, timing, secrecy, headers, control_queue, step_results)
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

    @property
    def control_queue(self) -> str:
        """The queue of error callbacks, sweeps and purges."""
        return self.engine.control.queue

    def migrate(self) -> Names:
        """Create or update the tables; safe to run twice and at once. Returns the migrations it applied."""
        return self.engine.store.migrate()

    def start(self, saga: Saga, data: Data, **options: Unpack[StartOptions]) -> SagaHandle:
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
        with reachable(self.engine.store.database):
            found = self.engine.store.instances.find(saga, key)
        return SagaHandle(self.engine, found) if found else None

    def list(
        self,
        *,
        saga: str | None = None,
        status: SagaStatus | StatusWord | None = None,
        key: str | None = None,
        step: str | None = None,
        older_than: timedelta | None = None,
        text: str | None = None,
        needs_person: bool = False,
        after: str | None = None,
        limit: int = 50,
    ) -> Page:
        """One page of instances, the newest first, that meet all of these filters. What has ended long ago costs
        nothing, however much of it there is.

        Args:
            saga: by its name.
            status: where they stand, as their handles say.
            key: a business key, of whichever saga; also the former instances that had it.
            step: they wait at the step of this name, run it or its compensation, or are failed and it has failed.
            older_than: how long ago they were started, at least, by the database's clock.
            text: how their business key begins; or words, or beginnings of words, that are all in the type and message
                of the error because of which they turned back or failed.
            needs_person: True for those that wait for a person, or for a child saga that does.
            after: the ``after`` of the page before.
            limit: of instances on this page, up to 10,000.

        Raises:
            ConfigurationError: an argument cannot be meant; names it.
            RowDamaged: one of them cannot be read; names it.

        Example:
            ``for run in sagas.list(status="failed", older_than=timedelta(hours=1)): …``
        """
        return read_page(
            self.engine.store,
            limit=limit,
            after=after,
            status=status,
            saga=saga,
            key=key,
            step=step,
            older_than=older_than,
            text=text,
            needs_person=needs_person,
        )

    def graph(self, what: Saga | SagaHandle, *, format: FormatWord = "mermaid") -> str:
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
        if format not in (formats := get_args(FormatWord)):
            raise ConfigurationError(f"graph(format={format!r}): the formats are {' and '.join(map(repr, formats))}")
        from sagas.graph import mermaid, svg  # which few processes need

        draw = svg if format == "svg" else mermaid
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
        self.engine.control.put_into(app)
        self.engine.carrying.put_into(app)
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

        @app.task(name=SWEEP_TASK, bind=True, shared=False, ignore_result=True, expires=SWEEP_EXPIRES)
        def run_sweep(self: Task) -> int:
            """Beat's sweep. Where the timers of workers sweep, it only sees that they do."""
            return sweep(engine)

        @app.task(name=PURGE_TASK, bind=True, shared=False, ignore_result=True)
        def run_purge(self: Task, days: float, keep_keys: bool = False) -> int:
            """For a beat schedule of the application's own. Returns how many instances it purged."""
            return purge(engine, timedelta(days=days), keep_keys=keep_keys)

    def _finalized(self, sender: Celery, **_: object) -> None:
        sender.add_periodic_task(
            # Whole seconds: django-celery-beat stores no fractions, and an interval of 0 is a flood. The workers' own
            # timers keep to the fraction.
            math.ceil(max(self.engine.store.timing.sweep_every, BEAT_EVERY)),
            sender.tasks[SWEEP_TASK].si().set(queue=self.control_queue),
            name=SWEEP_TASK,
        )
        own = sender.conf.broker_transport_options or {}
        sender.conf.broker_transport_options = transport_defaults(sender.conf) | own
        self._ack_late()

    def _in_worker(self, sender: Any, **_: object) -> None:
        if sender.app is self.app:
            self._ack_late()

    def _ack_late(self) -> None:
        """Early acks lose a chain at a SIGKILL. Only the tasks of sagas are changed.

        One that says ``acks_late=…`` keeps its own word, unless the app has made it already: then Celery shows no
        difference between an explicit False and its default.
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


def transport_defaults(conf: Any) -> dict[str, Any]:
    """Those of every broker that the app names: as one URL, a list of them, or several between semicolons."""
    found: dict[str, Any] = {}
    for given in (conf.broker_url, conf.broker_read_url, conf.broker_write_url):
        for url in maybe_list(given) or ():
            for one in str(url).split(";"):
                for scheme, options in TRANSPORT_DEFAULTS.items():
                    if one.strip().startswith(scheme):
                        found |= options
    return found
