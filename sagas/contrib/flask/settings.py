"""The settings that the extension reads from an app: the arguments of `Sagas`, and the Celery app."""

from collections.abc import Mapping
from typing import Any, Final

from celery import Celery
from celery.app.task import Task
from celery.utils.imports import symbol_by_name
from flask import Flask

from sagas.contrib.keys import codec_of
from sagas.errors import ConfigurationError

#: The keys of ``app.config["SAGAS"]``, and the arguments of `Sagas` that they become.
KNOWN: Final = {
    "DATABASE": "database",
    "SCHEMA": "schema",
    "HEARTBEAT": "heartbeat",
    "SWEEP_EVERY": "sweep_every",
    "PARKED_AFTER": "parked_after",
    "SECRETS": "secrets",
    "CODEC": "codec",
    "KEYS": "keys",
    "HEADERS": "headers",
    "CONTROL_QUEUE": "control_queue",
    "STEP_RESULTS": "step_results",
}


def sagas_settings(app: Flask) -> dict[str, Any]:
    """Return the arguments of `Sagas`.

    Raises:
        ConfigurationError: a setting is unknown, or there is no database.
    """
    given = app.config.get("SAGAS") or {}
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"app.config['SAGAS'] must be a dict, as in {{'SCHEMA': 'sagas'}}, not a {type(given).__qualname__}"
        )
    unknown = [repr(name) for name in given if name not in KNOWN]
    if unknown:
        raise ConfigurationError(
            f"app.config['SAGAS'] has {', '.join(unknown)}: remove or correct it; the keys are {', '.join(KNOWN)}"
        )
    database = given.get("DATABASE") or app.config.get("SQLALCHEMY_DATABASE_URI")
    if not database:
        raise ConfigurationError(
            "sagas have no database: set app.config['SQLALCHEMY_DATABASE_URI'], or app.config['SAGAS'] = "
            "{'DATABASE': 'postgresql://…'}, before FlaskSagas.init_app(app)"
        )
    arguments = {KNOWN[name]: value for name, value in given.items()} | {"database": database}
    arguments["codec"] = codec_of("app.config['SAGAS']", arguments.pop("codec", None), arguments.pop("keys", None))
    return arguments


def make_celery(app: Flask) -> Celery:
    """Return a Celery app made from ``app.config["CELERY"]``, as in Flask's documentation.

    Raises:
        ConfigurationError: there is no such setting.
    """
    if not app.config.get("CELERY"):
        raise ConfigurationError(
            "sagas have no Celery app: set app.config['CELERY'] = {'broker_url': 'redis://…'}, or call your "
            "celery_init_app(app) before FlaskSagas.init_app(app)"
        )
    celery = Celery(app.name)
    celery.config_from_object(app.config["CELERY"])
    celery.set_default()
    return celery


def push_context(celery: Celery, app: Flask) -> None:
    """Let tasks run inside the app's context, unless the Celery app's own task class says how they are called."""
    base = celery.__dict__.get("Task") or symbol_by_name(celery.task_cls)
    if any("__call__" in vars(each) for each in base.__mro__[: base.__mro__.index(Task)]):
        return

    class FlaskTask(base):  # type: ignore[misc, valid-type]
        abstract = True

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            with app.app_context():
                return self.run(*args, **kwargs)

    celery.task_cls = FlaskTask
    celery.__dict__.pop("Task", None)
