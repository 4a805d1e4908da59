"""`Sagas(app, database=…)`: makes a Celery app's plain tasks fenced steps, and keeps its sagas moving."""

import logging
import math
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Unpack, get_args
from uuid import UUID

from celery import Celery, signals
from celery.app.task import Task
from celery.utils.imports import symbol_by_name

from sagas.choreography import Choreography, Events, add_starting_tasks
from sagas.definition import FormatWord, Saga, StartOptions, StatusWord
from sagas.engine import (
    CALLBACK_TASK,
    CONTROL_QUEUE,
    PURGE_TASK,
    SWEEP_TASK,
    Engine,
    FencedTask,
    Publisher,
    add_engine,
    declared,
    face_of,
)
from sagas.engine.transports import transport_defaults
from sagas.errors import ConfigurationError, InstanceNotFound
from sagas.handle import DeadLetters, Page, SagaHandle, Standing, read_page, standings
from sagas.model import Codec, Data, SagaStatus, Secrecy, Tick
from sagas.model.choreography.as_plan import RunPlan
from sagas.model.payload import excerpt
from sagas.recovery import WorkerLife, purge, sweep
from sagas.store import DatabaseUrl, Timing

logger = logging.getLogger("sagas")

#: Celery settings for sagas, unless the application sets them. Correctness does not depend on any of them.
DEFAULTS: dict[str, Any] = {
    # A step waits in the broker, not behind a long one in a worker's memory.
    "worker_prefetch_multiplier": 1,
    # A late-acked step that loses its broker is killed and run again, instead of forking the whole chain.
    "worker_cancel_long_running_tasks_on_connection_loss": True,
    # By default Celery gives up after a second, and then fails a step that has succeeded.
    "task_publish_retry_policy": {
        "max_retries": 10,
        "interval_start": 0,
        "interval_step": 0.5,
        "interval_max": 5,
    },
    "broker_connection_retry_on_startup": True,
    # The name in the sent event would replace `order/charge_payment` in Flower.
    "task_send_sent_event": False,
}
#: Seconds after which a sweep that no worker took is useless; far more than clocks differ.
SWEEP_EXPIRES = 3600
#: The least seconds between two of beat's sweeps: they stand in for the workers' timers, and Flower shows each.
BEAT_EVERY = 15.0
#: In the class `list` is the name of a method.
Names = list[str]
Standings = list[Standing]


class Sagas:
    """Binds a Celery app to sagas. Create it right after the app, before its tasks are finalised.

    Plain tasks of the app become fenced steps when a saga runs them, and otherwise stay as they are; the sweep joins
    the beat schedule; workers report that they are alive. If a process has several, each has its own app.

    Args:
        app: the Celery app.
        database: the URL of a PostgreSQL database; ``postgres://`` and ``postgresql://`` mean psycopg2. Or a function
            that returns it whenever it is needed.
        schema: the schema of the library's tables; ``sagas migrate`` creates it.
        heartbeat: seconds between two heartbeats of a worker. A dead worker's steps run again after about four
            of them.
        sweep_every: seconds between two sweeps.
        parked_after: seconds. A step whose task cannot be called (a parameter that does not fit, a task that no worker
            knows) waits so long for a deploy; then its saga is failed and waits for a person.
        secrets: names of secret fields of the data (of the input, of steps' results, of a signal's payload): wherever
            they would be shown or logged they read ``•••``, even inside the texts of errors. Your tasks, conditions and
            `SagaHandle.data` get them. Business keys are shown: do not use a secret as one.
        codec: encrypts these fields wherever they are stored: an object with ``encrypt(bytes)`` and ``decrypt(bytes)``,
            such as ``MultiFernet([Fernet(new), Fernet(old)])`` of `cryptography`, which encrypts with its first key and
            decrypts with any.
        headers: every message of a saga carries the headers that publishing its first step at `start` would set, such
            as the tenant and the trace of its caller. Names that look like those of tokens are left out unless they are
            listed here; so are names in ``secrets``, which go only into the row (with a codec) and into
            `current_step.headers`. None keeps no headers. Receivers of ``before_task_publish`` hear of a first step
            twice.
        control_queue: the queue of error callbacks, sweeps and purges, which every worker of the app consumes. Two apps
            with sagas on one broker need one each. Until the next release workers also consume ``"sagas"``.
        step_results: True lets steps write to the app's result backend as other tasks do, so that django-celery-results
            has a row for each of their messages. Nothing reads these rows; a saga's own data is in its own tables.

    Raises:
        ConfigurationError: the app is already finalised, or an argument cannot work.
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

    # -- the public interface

    @property
    def control_queue(self) -> str:
        """The queue of error callbacks, sweeps and purges."""
        return self.engine.control.queue

    @property
    def events(self) -> Events:
        """The events of the choreographies of this app: ``sagas.events.catalogue()``."""
        return Events(self.engine)

    @property
    def dead_letters(self) -> DeadLetters:
        """The dead letters of choreographies, to be delivered again or let go: ``sagas.dead_letters.list()``."""
        return DeadLetters(self.engine)

    def migrate(self) -> Names:
        """Create or update the tables; safe to run twice and concurrently. Return the migrations that it applied."""
        return self.engine.store.migrate()

    def register(self) -> None:
        """Register the choreographies that this process has imported, as every worker does when it starts.

        Runs start by the graph that is registered. Call it where all of their modules are imported, for example in a
        deploy, if runs are to be started before the first worker is up.

        Raises:
            PlanChanged: a version is registered with another graph.
        """
        Publisher(self.engine).register_graphs()

    def start(self, saga: Saga, data: Data, **options: Unpack[StartOptions]) -> SagaHandle:
        """Start like `Saga.start`, on this app, if a process has several."""
        if not isinstance(saga, Saga):
            raise ConfigurationError(f"start({saga!r}, …): pass the Saga itself, as in sagas.start(order, {{…}})")
        return saga.start_on(self.engine, data, **options)

    def get(self, id: UUID | str) -> SagaHandle:
        """Return a handle on an instance.

        Raises:
            InstanceNotFound: there is no instance with this id.
        """
        try:
            instance_id = id if isinstance(id, UUID) else UUID(id)
        except (ValueError, AttributeError, TypeError):
            raise InstanceNotFound(
                f"{excerpt(id)} is not a saga id; one looks like 01890a5d-ac96-774b-bcce-b302099a8057"
            ) from None
        handle = SagaHandle(self.engine, instance_id)
        _ = handle.saga
        return handle

    def find(self, *, saga: str, key: str) -> SagaHandle | None:
        """Return the current instance of a business key; None if there is none."""
        for name, value in {"saga": saga, "key": key}.items():
            if not isinstance(value, str):
                raise ConfigurationError(f"find({name}={value!r}): pass text, as in find(saga='order', key='order-42')")
        with self.engine.reachable():
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
        quiet: bool = False,
        after: str | None = None,
        limit: int = 50,
    ) -> Page:
        """Return one page of the instances that meet all of these filters, newest first.

        Instances that ended long ago cost nothing, however many there are.

        Args:
            saga: the saga's name.
            status: their status, as their handles show it.
            key: a business key, of whichever saga; this includes the former instances that had it.
            step: they wait at the step with this name, run it or its compensation, or are failed and it has failed.
            older_than: how long ago they were started, at least, by the database's clock.
            text: the beginning of their business key; or words, or beginnings of words, that are all in the type and
                message of the error because of which they turned back or failed.
            needs_person: True for those that wait for a person (they failed, or their rows cannot be read), or for
                a child saga that does.
            quiet: True for choreographed runs in which nothing is open, no end has come, and nothing has happened for
                longer than ``quiet_after=`` and ``awaits=`` allow.
            after: the ``after`` of the previous page.
            limit: the most instances on this page, up to 10,000.

        Raises:
            ConfigurationError: an argument is not valid; the message names it.
            RowDamaged: an instance cannot be read; the message names it. Never raised with ``needs_person``.

        Example:
            ``for run in sagas.list(status="failed", older_than=timedelta(hours=1)): …``
        """
        return read_page(
            self.engine.store.listing,
            limit=limit,
            after=after,
            status=status,
            saga=saga,
            key=key,
            step=step,
            older_than=older_than,
            text=text,
            needs_person=needs_person,
            quiet=quiet,
        )

    def standing(self) -> Standings:
        """Return how each choreography stands: its quiet runs, its dead letters, what is held and since when.

        Counts go up to 10,000. It reads what is in flight, and none of the runs that have ended.

        Example:
            ``any(each.quiet or each.dead_letters for each in sagas.standing())``
        """
        with self.engine.reachable():
            return standings(self.engine.store.standings, self.engine.store.handlers)

    def graph(self, what: Saga | Choreography | SagaHandle, *, format: FormatWord = "mermaid") -> str:
        """Draw a saga, or an instance with the path it took; no network is needed to make or to view the picture.

        Args:
            what: a saga or a choreography, drawn as it is declared now; or a handle, drawn by the plan that its
                instance started with.
            format: ``"mermaid"``, text for Markdown; or ``"svg"``, a document that stands alone.

        Raises:
            ConfigurationError: there is no such format, or ``what`` cannot be drawn.
            InstanceNotFound: the instance no longer exists.

        Example:
            ``Path("order.svg").write_text(sagas.graph(order, format="svg"), encoding="utf-8")``
        """
        if format not in (formats := get_args(FormatWord)):
            raise ConfigurationError(f"graph(format={format!r}): the formats are {' and '.join(map(repr, formats))}")
        from sagas.graph import choreography, mermaid, svg  # few processes need it

        draw = svg if format == "svg" else mermaid
        draw_events = choreography.svg if format == "svg" else choreography.mermaid
        if isinstance(what, Choreography):
            return draw_events(what.plan(self.engine))
        if isinstance(what, SagaHandle):
            seen = what.snapshot()
            return draw_events(seen.plan.graph, seen) if isinstance(seen.plan, RunPlan) else draw(seen.plan, seen)
        if isinstance(what, Saga):
            return draw(what.plan(self.engine))
        raise ConfigurationError(f"graph({what!r}): pass a Saga, a Choreography, or the handle of an instance")

    def sweep(self) -> int:
        """Run one pass of the sweep, now. Return how many instances it moved on."""
        return sweep(self.engine, forced=True)

    def purge(self, older_than: timedelta, *, keep_keys: bool = False) -> int:
        """Delete old sagas, which ended `completed` or `compensated` longer ago than this, with all of their rows.

        A `failed` one stays for its person; a child saga goes with the one that started it.

        It runs as long as there are any, in short transactions, beside workers and other purges; it can be interrupted
        at any time. A late report for a purged saga is dropped, and nothing of it is undone: ``older_than`` should be
        far longer than any step or outage of yours. Beat can do it: the task ``sagas.purge`` with ``{"days": 30}``.

        Args:
            older_than: how long ago a saga must have ended, by the database's clock.
            keep_keys: **A purged business key is free: started again, it runs again.** True keeps just the row of each
                saga that has one, so that ``start`` and `find` still return its handle, with its status, but without
                steps and data. A later purge without ``keep_keys`` deletes these rows too. The row of a choreographed
                run with a key stays for a year in any case: an event that comes late is known by it as such.

        Returns:
            How many instances were purged.

        Raises:
            ConfigurationError: ``older_than`` is not above zero.

        Example:
            ``sagas.purge(timedelta(days=30))``
        """
        return purge(self.engine.store.purging, older_than, keep_keys=keep_keys)

    # -- binding to the app

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
        add_starting_tasks(app, engine)

        @app.task(name=CALLBACK_TASK, bind=True, shared=False, acks_late=True, ignore_result=True)
        def on_error(self: Task, saga_id: str) -> None:
            """Handle an error callback, which is only a hint: the rows show whether to undo, send, or do nothing."""
            try:
                instance_id = UUID(str(saga_id))
            except ValueError:
                logger.error("malformed saga message dropped", extra={"task_id": self.request.id})
                return
            engine.loop.handle(instance_id, Tick())

        @app.task(name=SWEEP_TASK, bind=True, shared=False, ignore_result=True, expires=SWEEP_EXPIRES)
        def run_sweep(self: Task) -> int:
            """Run beat's sweep. If workers' timers sweep, it only checks that they do."""
            return sweep(engine)

        @app.task(name=PURGE_TASK, bind=True, shared=False, ignore_result=True)
        def run_purge(self: Task, days: float, keep_keys: bool = False) -> int:
            """Purge from the application's own beat schedule. Return how many instances were purged."""
            return purge(engine.store.purging, timedelta(days=days), keep_keys=keep_keys)

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
        """Make the tasks of sagas acknowledge late, since early acks lose a chain at a SIGKILL. Others do not change.

        A task that sets ``acks_late=…`` keeps it, unless the app has already made it: then Celery shows no difference
        between an explicit False and its default.
        """
        for saga in declared():
            for task in saga.tasks():
                face = face_of(task)
                name = face.name or (
                    self.app.gen_task_name(face.function.__name__, face.function.__module__) if face.function else None
                )
                real = self.app.tasks.get(name) if name else None
                if real is not None and "acks_late" not in face.options:
                    real.acks_late = True
