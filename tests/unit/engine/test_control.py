"""The control queue: where it is declared, what it is called, and whose a message is."""

from typing import Any

import pytest
from celery import Celery, shared_task
from celery.app.defaults import NAMESPACES
from kombu import Queue

from sagas import ConfigurationError, Saga, Sagas, Step
from sagas.cli.checks import findings
from sagas.engine import CALLBACK_TASK, HOME_HEADER, PURGE_TASK, SWEEP_TASK
from sagas.engine.transports import transport_defaults

NOWHERE = "postgresql://nobody@/nowhere?host=/nonexistent"


@shared_task
def pay() -> None: ...


def bind(app: Celery, **options: Any) -> Sagas:
    return Sagas(app, database=NOWHERE, **options)


def new_app(**settings: Any) -> Celery:
    app = Celery("control", set_as_current=False, broker="memory://")
    app.conf.update(settings)
    return app


STRICT = {
    "task_create_missing_queues": False,
    "task_queues": [Queue("default"), Queue("payments")],
    "task_default_queue": "default",
}


@pytest.mark.parametrize("name", ["", " ", "a b ", "a\nb", "x" * 300, None, 7])
def test_a_name_that_no_queue_can_have_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="cannot name a queue"):
        bind(new_app(), control_queue=name)


@pytest.mark.parametrize("queue", ["sagas", "shop-sagas"])
def test_beat_knows_the_control_queue_where_queues_are_strict(queue: str) -> None:
    app = new_app(**STRICT)
    bind(app, control_queue=queue)
    app.finalize()

    entry = app.conf.beat_schedule[SWEEP_TASK]
    route = app.amqp.router.route(dict(entry["options"]), SWEEP_TASK)

    assert route["queue"].name == queue
    # What a worker consumes is its own business; before Celery 5.7 it is by default all that its app knows.
    assert set(app.amqp.queues.consume_from) - {queue, "sagas"} == {"default", "payments"}


def test_queues_that_were_made_before_know_it_too() -> None:
    app = new_app(**STRICT)
    _ = app.amqp.queues
    bind(app)

    assert "sagas" in app.amqp.queues


def test_a_declaration_of_the_applications_own_stays() -> None:
    own = Queue("sagas", routing_key="mine", queue_arguments={"x-queue-type": "quorum"})
    app = new_app(task_queues=[own])
    bind(app).engine.control.consume(app.amqp.queues)

    assert app.amqp.queues["sagas"] is own
    assert app.amqp.queues.consume_from["sagas"] is own


@pytest.mark.skipif(
    "create_missing_queue_type" not in NAMESPACES["task"], reason="before Celery 5.6 there is no such setting"
)
def test_workers_and_senders_declare_it_alike() -> None:
    """Else RabbitMQ refuses whichever comes second."""
    app = new_app(task_create_missing_queue_type="quorum")
    bind(app).engine.control.consume(app.amqp.queues)

    assert app.amqp.queues["sagas"].queue_arguments == {"x-queue-type": "quorum"}


def test_where_the_default_queue_is_a_quorum_queue_the_control_queue_is_one_too_and_the_former_stays() -> None:
    app = new_app(task_default_queue_type="quorum")
    bind(app, control_queue="shop-sagas").engine.control.consume(app.amqp.queues)

    assert app.amqp.queues["shop-sagas"].queue_arguments == {"x-queue-type": "quorum"}
    # Then: the last release made it, of the type that its settings gave
    assert app.amqp.queues["sagas"].queue_arguments is None


def test_a_worker_consumes_the_former_queue_besides_its_own_also_with_a_selection() -> None:
    app = new_app(**STRICT)
    control = bind(app, control_queue="shop-sagas").engine.control
    app.amqp.queues.select(["payments"])

    control.consume(app.amqp.queues)

    assert set(app.amqp.queues.consume_from) == {"payments", "shop-sagas", "sagas"}


@pytest.mark.parametrize(
    ("known", "headers", "foreign"),
    [
        ("a/s/1", {"task": CALLBACK_TASK, HOME_HEADER: "b/s/2"}, "b/s/2"),
        ("a/s/1", {"task": PURGE_TASK, HOME_HEADER: "b/s/2"}, "b/s/2"),
        ("a/s/1", {"task": CALLBACK_TASK, HOME_HEADER: "a/s/1"}, None),
        ("a/s/1", {"task": CALLBACK_TASK}, None),  # of an older release
        ("a/s/1", {"task": CALLBACK_TASK, HOME_HEADER: 7}, None),
        ("a/s/1", {"task": "tasks.pay", HOME_HEADER: "b/s/2"}, None),
        ("a/s/1", None, None),
        (None, {"task": CALLBACK_TASK, HOME_HEADER: "b/s/2"}, None),  # not known yet whose we are
    ],
)
def test_d25_a_message_is_foreign_when_it_says_so_and_only_then(known: Any, headers: Any, foreign: Any) -> None:
    control = bind(new_app()).engine.control
    control.known_home = known

    assert control.foreign_home(headers) == foreign


def test_a_database_that_does_not_answer_is_not_asked_again_at_once() -> None:
    control = bind(new_app()).engine.control

    assert control.home() is None
    asked_again = control._ask_at
    assert control.home() is None
    assert control._ask_at == asked_again


def test_check_names_the_queues_that_have_to_be_declared() -> None:
    app = new_app(**STRICT, task_routes={pay.name: {"queue": "bills"}})
    sagas = bind(app)
    saga = Saga(
        "strict", steps=[Step(pay, compensation=None), Step(pay, name="again", compensation=None, queue="slow")]
    )

    def told() -> str:
        return "\n".join(line for line in findings(sagas) if "task_create_missing_queues" in line)

    before = told()
    assert "task_queues lacks the control queue 'sagas'" in before
    assert "saga 'strict', step 'again' goes to the queue 'slow'" in before
    assert "'bills'" in before
    app.conf.task_queues = [*STRICT["task_queues"], Queue("sagas"), Queue("bills"), Queue("slow")]
    vars(app.amqp).pop("queues")
    vars(app.amqp).pop("router", None)
    assert saga.name not in told()


def test_check_names_what_goes_to_another_queue_than_the_control_queue() -> None:
    app = new_app(broker_transport_options={"predefined_queues": {"default": {}}})
    app.conf.beat_schedule = {
        "purge": {"task": PURGE_TASK, "schedule": 60, "options": {"queue": "sagas"}},
        "own": {"task": "tasks.pay", "schedule": 60, "options": {"queue": "sagas"}},
        "routed": {"task": PURGE_TASK, "schedule": 60},
    }
    sagas = bind(app, control_queue="shop-sagas")
    app.finalize()

    told = "\n".join(findings(sagas))

    assert "beat_schedule['purge'] sends sagas.purge to the queue 'sagas'" in told
    assert "{'queue': 'shop-sagas'}" in told
    assert "beat_schedule['own']" not in told
    assert "beat_schedule['routed']" not in told
    assert "predefined_queues'] lacks the control queue 'shop-sagas'" in told


def test_b19_check_names_the_queue_that_a_rate_limit_stops() -> None:
    app = new_app(task_routes={pay.name: {"queue": "bills"}})
    sagas = bind(app)

    @app.task(name="tasks.ask", rate_limit="12/m")
    def ask() -> None: ...

    def told(*steps: Step) -> list[str]:
        saga = Saga("limited", steps=steps)
        return [line for line in findings(sagas) if "rate limit" in line and saga]

    assert told(Step(ask, compensation=None, queue="asks"), Step(pay, compensation=None)) == []
    (line,) = told(Step(ask, compensation=None, queue="bills"), Step(pay, compensation=None))
    assert line.startswith(f"the queue 'bills': tasks.ask has a rate limit, and {pay.name} has none.")
    assert "Step(ask, queue='…')" in line
    app.conf.worker_disable_rate_limits = True
    assert told(Step(ask, compensation=None, queue="bills"), Step(pay, compensation=None)) == []


@pytest.mark.parametrize("sweep_every", [0.01, 0.5, 1, 1.5, 2, 59.2])
def test_the_entry_of_the_sweep_is_in_whole_seconds_and_never_sooner(sweep_every: float) -> None:
    """django-celery-beat stores whole seconds; 0 of them is a flood."""
    app = new_app()
    bind(app, sweep_every=sweep_every)
    app.finalize()

    every = app.conf.beat_schedule[SWEEP_TASK]["schedule"]

    assert every == int(every)
    assert max(sweep_every, 15) <= every < max(sweep_every, 15) + 1


REDIS = {"unacked_restore_interval": 1, "unacked_restore_throttle": 1}


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({"broker_url": "redis://one"}, REDIS),
        ({"broker_url": ["redis://one", "redis://two"]}, REDIS),
        ({"broker_url": ("rediss://one",)}, REDIS),
        ({"broker_url": "sentinel://one;sentinel://two"}, REDIS),
        ({"broker_url": ["amqp://one", "redis://two"]}, REDIS | {"confirm_publish": True}),
        ({"broker_url": "memory://", "broker_read_url": ["pyamqp://one"]}, {"confirm_publish": True}),
        ({"broker_url": "memory://", "broker_write_url": "redis://one"}, REDIS),
        ({"broker_url": "memory://"}, {}),
    ],
)
def test_the_defaults_of_the_transport_hold_however_its_brokers_are_named(settings: Any, options: Any) -> None:
    app = Celery("brokers", set_as_current=False)
    app.conf.update(settings)
    bind(app)
    app.finalize()

    assert app.conf.broker_transport_options == options
    assert transport_defaults(app.conf) == options


def test_an_option_of_the_applications_own_stays_beside_the_defaults() -> None:
    app = new_app(broker_url=["redis://one", "redis://two"], broker_transport_options={"unacked_restore_interval": 9})
    bind(app)
    app.finalize()

    assert app.conf.broker_transport_options == REDIS | {"unacked_restore_interval": 9}
