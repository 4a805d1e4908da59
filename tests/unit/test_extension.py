"""`Sagas(app)`: what it does to an app, what it refuses, and what it leaves alone."""

import inspect
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, Task, shared_task

from sagas import ConfigurationError, NoCurrentStep, Retry, Saga, SagaHandle, Sagas, StartRefused, Step, current_step
from sagas.cli.checks import findings
from sagas.engine import callers_transaction

NOWHERE = "postgresql://nobody@/nowhere?host=/nonexistent"


def new_app(name: str = "app", **options: Any) -> Celery:
    return Celery(name, set_as_current=False, broker="memory://", **options)


def bind(app: Celery, **options: Any) -> Sagas:
    return Sagas(app, database=NOWHERE, **options)


@shared_task
def add(one: int, two: int) -> int:
    return one + two


@shared_task
def count_down(number: int) -> list[int]:
    return [number, *count_down(number - 1)] if number else []


@shared_task(bind=True)
def whoami(self: Task) -> str:
    return f"{type(self).__mro__[1].__name__} {bool(current_step)}"


# -- refused


def test_a_finalised_app_is_refused_with_the_cure() -> None:
    app = new_app()
    app.finalize()

    with pytest.raises(ConfigurationError, match=r"the app is finalised.*call Sagas right after Celery\(…\)"):
        bind(app)


def test_an_app_has_one_sagas() -> None:
    app = new_app()
    bind(app)

    with pytest.raises(ConfigurationError, match=r"has its Sagas already; use app\.sagas"):
        bind(app)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"database": "sqlite://"}, "need PostgreSQL"),
        ({"database": ""}, "cannot be read"),
        ({"schema": ""}, "cannot name a PostgreSQL schema"),
        ({"schema": "pg_sagas"}, "cannot name a PostgreSQL schema"),
        ({"heartbeat": 0}, "heartbeat=0 must be a number of seconds above 0"),
        ({"heartbeat": "2"}, "heartbeat='2' must be"),
        ({"sweep_every": -1}, "sweep_every=-1 must be"),
        ({"sweep_every": float("nan")}, "sweep_every=nan must be"),
        ({"sweep_every": 4000}, "sweep_every=4000 must be"),
    ],
)
def test_arguments_that_cannot_work_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Sagas(new_app(), **{"database": NOWHERE} | options)


def test_something_else_than_an_app_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="pass the Celery app"):
        Sagas("config.celery_app", database=NOWHERE)  # type: ignore[arg-type]


# -- the task class


class OnCommitTask(Task):
    """As Django's is: another way to send, and some state of its own."""

    abstract = True

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        return "later", args, kwargs

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return "called", super().__call__(*args, **kwargs)


def test_a_task_class_of_the_apps_own_keeps_its_methods_and_its_call() -> None:
    app = new_app(task_cls=OnCommitTask)
    bind(app)

    task = app.tasks[add.name] if add.name in app.tasks else app.tasks[f"{__name__}.add"]
    assert task.delay_on_commit(1, two=2) == ("later", (1,), {"two": 2})
    assert task(1, 2) == ("called", 3)
    assert isinstance(task, OnCommitTask)


def test_a_task_class_named_by_its_path_is_composed_too() -> None:
    app = new_app(task_cls=f"{__name__}:OnCommitTask")
    bind(app)

    assert app.tasks[f"{__name__}.add"].delay_on_commit()[0] == "later"


def test_a_plain_call_outside_a_saga_is_untouched() -> None:
    app = new_app()
    bind(app)
    tasks = app.tasks

    assert tasks[f"{__name__}.add"](1, 2) == 3
    assert tasks[f"{__name__}.add"].apply((1, 2)).get() == 3
    with pytest.raises(TypeError):
        tasks[f"{__name__}.add"](1)
    with pytest.raises(TypeError):  # Celery checks arguments before it publishes, as ever
        tasks[f"{__name__}.add"].apply_async((1,))


def test_a_body_that_calls_its_own_task_makes_a_plain_call() -> None:
    app = new_app()
    bind(app)
    app.set_current()
    try:
        assert app.tasks[f"{__name__}.count_down"](3) == [3, 2, 1]
    finally:
        from celery import _state

        _state._tls.current_app = None


def test_outside_a_step_the_context_is_false_and_says_so() -> None:
    app = new_app()
    bind(app)

    assert app.tasks[f"{__name__}.whoami"]().endswith("False")
    with pytest.raises(NoCurrentStep, match="test `if current_step:` first"):
        _ = current_step.saga_id


# -- settings


def test_defaults_are_set_where_the_user_set_nothing() -> None:
    app = new_app()
    bind(app)

    assert app.conf.worker_prefetch_multiplier == 1
    assert app.conf.task_publish_retry_policy["max_retries"] == 10


def test_what_the_user_set_stays() -> None:
    app = new_app()
    app.conf.worker_prefetch_multiplier = 3
    bind(app)

    assert app.conf.worker_prefetch_multiplier == 3
    late = new_app()
    bind(late)
    late.conf.worker_prefetch_multiplier = 2
    assert late.conf.worker_prefetch_multiplier == 2


def test_the_sweep_joins_the_beat_schedule() -> None:
    app = new_app()
    bind(app, sweep_every=70)
    app.finalize()

    entry = app.conf.beat_schedule["sagas.sweep"]
    assert entry["schedule"] == 70
    assert entry["task"] == "sagas.sweep"
    assert entry["options"]["queue"] == "sagas"


def test_every_app_has_its_own_sweep_and_its_own_error_callback() -> None:
    bound = [bind(new_app(f"app{number}")) for number in range(12)]

    for sagas in bound:
        for name in ("sagas.sweep", "sagas.on_error"):
            engine = inspect.getclosurevars(inspect.unwrap(sagas.app.tasks[name].run)).nonlocals["engine"]
            assert engine is sagas.engine


def test_check_says_what_is_dangerous_and_why() -> None:
    app = new_app()
    sagas = bind(app)
    assert [line for line in findings(sagas) if not line.startswith(("saga ", "choreography "))] == []

    app.conf.task_always_eager = True
    app.conf.task_reject_on_worker_lost = True
    app.conf.worker_prefetch_multiplier = 64
    app.conf.accept_content = ["json", "pickle"]
    app.conf.task_publish_retry_policy = {"max_retries": 3}

    told = "\n".join(findings(sagas))
    for setting in (
        "task_always_eager",
        "task_reject_on_worker_lost",
        "worker_prefetch_multiplier=64",
        "accept_content has pickle",
        "task_publish_retry_policy",
    ):
        assert setting in told


def test_check_names_a_saga_that_cannot_start_here() -> None:
    elsewhere = new_app("elsewhere")

    @elsewhere.task(name="elsewhere.only", shared=False)
    def only() -> None: ...

    stray = Saga("stray", steps=[Step(only, compensation=None, retry=Retry())])
    sagas = bind(new_app())

    assert any("saga 'stray'" in line and "elsewhere.only" in line for line in findings(sagas))
    assert stray.name == "stray"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda sagas: sagas.start("order", {}), r"start\('order', …\): pass the Saga itself"),
        (lambda sagas: sagas.find(saga="order", key=None), r"find\(key=None\): pass text"),
        (lambda sagas: sagas.find(saga=3, key="k"), r"find\(saga=3\): pass text"),
        (lambda sagas: sagas.list(key=3), r"list\(key=3\): pass text"),
        (lambda sagas: sagas.list(step=["a"]), r"list\(step=\['a'\]\): pass text"),
        (lambda sagas: SagaHandle(sagas.engine, uuid4()).wait("5"), "timeout='5': pass seconds, or None"),
    ],
)
def test_an_argument_of_another_type_is_refused_before_the_database_is_asked(
    call: Callable[[Sagas], object], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        call(bind(new_app()))


def test_a_deadline_of_more_than_a_hundred_years_is_refused() -> None:
    sagas = bind(new_app())
    saga = Saga("alone", steps=[Step(add, compensation=None)], input=["one", "two"])

    with pytest.raises(StartRefused, match=r"deadline=1000000000000000\.0 must be .* up to 100 years"):
        sagas.start(saga, {"one": 1, "two": 2}, deadline=1e15)


def test_a_connection_that_is_none_of_sqlalchemys_is_refused() -> None:
    with pytest.raises(StartRefused, match="connection=3 is not a SQLAlchemy Connection"):
        callers_transaction(None, 3)  # type: ignore[arg-type]
