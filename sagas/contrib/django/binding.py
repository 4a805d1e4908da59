"""From ``settings.SAGAS`` to a bound Celery app, which joins Django's transactions."""

from celery import Celery, current_app
from celery import _state as celery_state
from celery.utils.imports import symbol_by_name
from django.db import connections
from sqlalchemy import URL

from sagas.contrib.django.conf import Configuration, configuration
from sagas.contrib.django.transaction import surrounding_transaction
from sagas.errors import ConfigurationError
from sagas.extension import Sagas

#: What Django's PostgreSQL backend passes to its driver that is not for the server.
NOT_FOR_THE_SERVER = ("context", "cursor_factory", "prepare_threshold")


def bound() -> Sagas:
    """The project's `Sagas`; binds its Celery app at the first call.

    Raises:
        ConfigurationError: ``settings.SAGAS`` cannot work; the message names the key and the cure.
    """
    configured = configuration()
    app = celery_app(configured)
    found = getattr(app, "sagas", None)
    if isinstance(found, Sagas):
        return found
    made = Sagas(
        app,
        database=lambda: database_url(configured.database),
        schema=configured.schema,
        heartbeat=configured.heartbeat,
        sweep_every=configured.sweep_every,
    )
    made.engine.ambient = lambda: surrounding_transaction(configured.database)
    return made


def celery_app(configured: Configuration) -> Celery:
    """The Celery app that ``SAGAS["APP"]`` names, or the current one."""
    if configured.app is not None:
        try:
            app = symbol_by_name(configured.app)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigurationError(
                f"settings.SAGAS['APP'] is {configured.app!r}, which cannot be imported ({error}): name the Celery "
                "app, as in 'shop.celery:app'"
            ) from error
        if not isinstance(app, Celery):
            raise ConfigurationError(f"settings.SAGAS['APP'] is {configured.app!r}, which is {app!r} and no Celery app")
        return app
    app = current_app._get_current_object()
    if (app is celery_state.default_app and not app.main) or app.main == "default":
        raise ConfigurationError(
            "no Celery app is known yet: name it in settings.SAGAS['APP'], as in 'shop.celery:app', or import it in "
            "the project's __init__.py"
        )
    return app


def database_url(alias: str) -> URL:
    """Where the library's own connections go: the same database as Django's alias, now (tests change it)."""
    connection = connections[alias]
    if connection.vendor != "postgresql":
        raise ConfigurationError(
            f"settings.DATABASES[{alias!r}] is {connection.vendor!r}, but sagas need PostgreSQL: name another alias in "
            "settings.SAGAS['DATABASE']"
        )
    parameters = {
        name: str(value)
        for name, value in connection.get_connection_params().items()
        if name not in NOT_FOR_THE_SERVER and value is not None
    }
    role = connection.settings_dict["OPTIONS"].get("assume_role")
    if role:
        parameters["options"] = f"{parameters.get('options', '')} -c role={role}".strip()
    # As query parameters, since a host may be the directory of a Unix socket.
    return URL.create("postgresql+psycopg2", query=parameters)
