"""What `init_app` reads and refuses, and several Flask applications in one process."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery, Task
from cryptography.fernet import Fernet
from flask import Flask, current_app

from sagas import ConfigurationError, InstanceNotFound, NotBound, Sagas, SagaStatus
from sagas.contrib.flask import FlaskSagas
from sagas.model.payload import loads
from sagas.testing import inline
from tests.integration.flask.conftest import Office
from tests.integration.flask.office import Order, bare_app, db, greet, greeting

MakeOffice = Callable[..., Office]
URL = "postgresql://nobody@localhost/nowhere"


def test_the_apps_sagas_is_an_extension_of_its_own_as_flask_names_them(office: Office) -> None:
    assert isinstance(office.app.extensions["sagas"], Sagas)
    assert office.app.extensions["celery"] is office.sagas.app
    assert office.sagas.app.main == "office"


def test_settings_reach_the_sagas(make_office: MakeOffice, other_url: str) -> None:
    given = {"DATABASE": other_url, "SCHEMA": "apart", "HEARTBEAT": 3, "SWEEP_EVERY": 4.5}
    store = make_office(SAGAS=given).sagas.engine.store

    assert (store.schema, store.timing.heartbeat, store.timing.sweep_every) == ("apart", 3, 4.5)
    assert store.database.url.database == other_url.rpartition("/")[2].partition("?")[0]


def test_secrets_and_the_keys_that_encrypt_them_reach_the_sagas(make_office: MakeOffice) -> None:
    secrecy = make_office(SAGAS={"SECRETS": ["card"], "KEYS": [Fernet.generate_key().decode()]}).sagas.engine.secrecy

    stored = secrecy.dumps({"card": "4111", "total": 1}, "data")
    assert secrecy.names == {"card"}
    assert "4111" not in stored
    assert secrecy.open(loads(stored)) == {"card": "4111", "total": 1}


def test_the_database_is_flask_sqlalchemys_where_none_is_set(make_office: MakeOffice) -> None:
    office = make_office(SAGAS=None)

    assert office.sagas.engine.store.database.url.render_as_string(False) == office.app.config[
        "SQLALCHEMY_DATABASE_URI"
    ].replace("postgresql://", "postgresql+psycopg2://")


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"SAGAS": {"SCHEMAS": "x", "URL": "y"}}, r"has 'SCHEMAS', 'URL': .* the keys are DATABASE, SCHEMA,"),
        ({"SAGAS": "postgresql://"}, r"app.config\['SAGAS'\] must be a dict"),
        ({"SQLALCHEMY_DATABASE_URI": None}, r"no database: set app.config\['SQLALCHEMY_DATABASE_URI'\]"),
        ({"SQLALCHEMY_DATABASE_URI": "sqlite://"}, "sagas need PostgreSQL, not 'sqlite'"),
        ({"SAGAS": {"HEARTBEAT": 0}}, "heartbeat=0 must be a number of seconds"),
        ({"SAGAS": {"SECRETS": "card"}}, "secrets= must be names of data fields"),
        (
            {"SAGAS": {"KEYS": ["no key"]}},
            r"app.config\['SAGAS'\]\['KEYS'\] holds an invalid Fernet key: make one with",
        ),
        ({"CELERY": None}, r"no Celery app: set app.config\['CELERY'\].*call your celery_init_app\(app\) before"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_with_the_cure(config: dict[str, Any], told: str) -> None:
    app = bare_app(URL, "memory://", **config)

    with pytest.raises(ConfigurationError, match=told):
        FlaskSagas(app)

    assert "sagas" not in app.extensions


def test_one_app_twice_is_refused() -> None:
    app = bare_app(URL, "memory://")
    FlaskSagas(app)

    with pytest.raises(ConfigurationError, match="'office' has its Sagas already"):
        FlaskSagas().init_app(app)


def test_outside_of_an_app_context_flask_says_so() -> None:
    with pytest.raises(RuntimeError, match="outside of application context"):
        FlaskSagas().get("01890a5d-ac96-774b-bcce-b302099a8057")


def test_an_app_that_was_not_given_to_the_extension_is_told() -> None:
    with Flask("forgotten").app_context(), pytest.raises(NotBound, match=r"'forgotten' has no Sagas: call Flask"):
        FlaskSagas().migrate()


# -- Celery's app


def celery_init_app(app: Flask) -> Celery:
    """As in Flask's documentation."""

    class FlaskTask(Task):
        def __call__(self, *args: object, **kwargs: object) -> object:
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app = Celery(app.name, task_cls=FlaskTask)
    celery_app.config_from_object(app.config["CELERY"])
    celery_app.set_default()
    app.extensions["celery"] = celery_app
    return celery_app


def as_documented_before(app: Flask) -> Celery:
    """The recipe of Flask 1 and 2.2."""
    celery = Celery(app.import_name, broker=app.config["CELERY"]["broker_url"])

    class ContextTask(celery.Task):  # type: ignore[name-defined]
        def __call__(self, *args: object, **kwargs: object) -> object:
            with app.app_context():
                return self.run(*args, **kwargs)

    celery.Task = ContextTask
    app.extensions["celery"] = celery
    return celery


def bare(app: Flask) -> Celery:
    """One that knows nothing of Flask."""
    celery = Celery(app.name)
    celery.config_from_object(app.config["CELERY"])
    app.extensions["celery"] = celery
    return celery


@pytest.fixture
def app(office_url: str) -> Iterator[Flask]:
    made = bare_app(office_url, "memory://")
    db.init_app(made)
    yield made
    with made.app_context():
        db.engine.dispose()
    made.extensions["sagas"].engine.store.database.dispose()


@pytest.mark.parametrize(
    ("recipe", "task_class"),
    [(celery_init_app, "FlaskTask"), (as_documented_before, "ContextTask"), (bare, "FlaskTask")],
)
def test_with_a_celery_app_of_the_users_own_steps_run_in_one_app_context(
    app: Flask, recipe: Callable[[Flask], Celery], task_class: str, office_url: str
) -> None:
    celery = recipe(app)
    contexts = []
    app.teardown_appcontext(lambda error: contexts.append(current_app.name))
    sagas = FlaskSagas(app)

    assert app.extensions["celery"] is celery
    with app.app_context():
        own = sagas.current
    contexts.clear()
    with inline(own):
        run = own.start(greeting, {"name": "Ann"})

    assert run.status is SagaStatus.COMPLETED
    assert Office(app, office_url, "").notes(run) == ["hello Ann", "context ended", "bye"]
    assert contexts == ["office", "office"]
    classes = [each.__name__ for each in type(celery.tasks[greet.name]).__mro__]
    assert [name for name in classes if name in ("FlaskTask", "ContextTask")] == [task_class]


def test_a_celery_app_can_be_given_by_hand(app: Flask) -> None:
    celery = Celery("made elsewhere", broker="memory://")

    FlaskSagas(app, celery=celery)

    assert app.extensions["celery"] is celery
    assert app.extensions["sagas"].app is celery


def test_a_celery_app_that_is_made_too_late_is_told(app: Flask) -> None:
    sagas = FlaskSagas(app)
    celery_init_app(app)

    with app.app_context(), pytest.raises(ConfigurationError, match=r"call celery_init_app\(app\) before"):
        sagas.find(saga="greeting", key="k")


# -- several apps


def test_each_app_starts_finds_and_joins_in_its_own_database(make_office: MakeOffice, other_url: str) -> None:
    one, two = make_office(), make_office(database_url=other_url, GREETING="salut")
    with one.app.app_context():
        db.session.add(Order(note="one"))
        first = greeting.start({"name": "Ann"}, key="k")
        # Another app's context inside of it: its session is idle
        with two.app.app_context():
            second = greeting.start({"name": "Ben"}, key="k")
        assert (one.instances(), two.instances()) == (0, 1)
        db.session.commit()

        assert first.status is SagaStatus.PENDING
        with pytest.raises(InstanceNotFound):
            one.sagas.get(second.id)
    assert (one.messages(), one.orders(), two.messages(), two.orders()) == (1, 1, 1, 0)


def test_an_app_that_is_not_the_current_one_does_not_join_its_session(make_office: MakeOffice, other_url: str) -> None:
    one, two = make_office(), make_office(database_url=other_url)
    with one.app.app_context():
        db.session.add(Order(note="one"))
        two.sagas.start(greeting, {"name": "Ben"})
        db.session.rollback()

    assert (one.instances(), two.instances()) == (0, 1)
