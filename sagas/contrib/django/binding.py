"""Bind a Celery app by ``settings.SAGAS``; it joins Django's transactions."""

from functools import cache
from typing import Any

from celery import Celery, current_app
from celery.utils.imports import symbol_by_name
from django.conf import settings
from django.db import connections
from django.utils.functional import SimpleLazyObject
from sqlalchemy import URL

from sagas.contrib.django.conf import Configuration, configuration
from sagas.contrib.django.transaction import surrounding_transaction
from sagas.contrib.keys import codec_of
from sagas.errors import ConfigurationError
from sagas.extension import Sagas
from sagas.store import Store

#: Driver options of Django's PostgreSQL backend that are not for the server.
NOT_FOR_THE_SERVER = (
    "autocommit",
    "connection_factory",
    "context",
    "cursor_factory",
    "prepare_threshold",
    "row_factory",
)


@cache
def bound_sagas() -> Sagas:
    """Return the project's `Sagas`; the first call, made by the app config, binds its Celery app.

    Raises:
        ConfigurationError: ``settings.SAGAS`` cannot work; the message names the key and the cure.
    """
    configured = configuration()
    app = celery_app(configured)
    if app.finalized:
        raise ConfigurationError(
            f"the Celery app {app.main!r} has made its tasks before sagas could fence them: something asked for one "
            "(`.s()`, `.delay()`, `app.tasks`) too early. If it is a receiver of app.on_after_configure, connect it to "
            "app.on_after_finalize; if it is another app's ready(), put 'sagas.contrib.django' first in "
            "INSTALLED_APPS; if it is a module at import, let it do so later"
        )
    if getattr(app, "sagas", None) is not None:
        raise ConfigurationError(
            f"the Celery app {app.main!r} has its Sagas already: remove `Sagas(app, …)`, since settings.SAGAS says how "
            "to make it, or take 'sagas.contrib.django' out of INSTALLED_APPS"
        )
    made = Sagas(
        app,
        database=CurrentUrl(configured.database),
        schema=configured.schema,
        heartbeat=configured.heartbeat,
        sweep_every=configured.sweep_every,
        parked_after=configured.parked_after,
        secrets=configured.secrets,
        codec=codec_of("settings.SAGAS", configured.codec, configured.keys),
        headers=configured.headers,
        control_queue=configured.control_queue,
        step_results=configured.step_results,
    )
    made.engine.ambient = lambda: surrounding_transaction(configured.database)
    # Whatever other apps there are: Celery's own current app is known to one thread only.
    made.engine.is_current = lambda: True
    name = _name(configured.database)
    # Another name is that of a test database, which cannot be dropped while there are connections.
    made.engine.store.database.keeps_connections = lambda: _name(configured.database) == name
    return made


def bound_store() -> Store:
    """Return the store of `bound_sagas`, for its parts."""
    return bound_sagas().engine.store


#: The project's `Sagas`, bound at the latest when it is used: modules that Django loads early may import it.
sagas: Sagas = SimpleLazyObject(bound_sagas)


def celery_app(configured: Configuration) -> Celery:
    """Return the Celery app that ``SAGAS["APP"]`` names, or the current one."""
    if configured.app is not None:
        try:
            app = symbol_by_name(configured.app)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigurationError(
                f"settings.SAGAS['APP'] is {configured.app!r}, which cannot be imported ({error}): name the Celery "
                "app, as in 'shop.celery:app'"
            ) from error
        if not isinstance(app, Celery):
            raise ConfigurationError(f"settings.SAGAS['APP'] is {configured.app!r}, which is {app!r}, not a Celery app")
        return app
    app = current_app._get_current_object()
    # Celery makes a default app for any caller that asks while there is none.
    if app.main == "default" and not app.set_as_current:
        raise ConfigurationError(
            "no Celery app is known yet: name it in settings.SAGAS['APP'], as in 'shop.celery:app', or import it in "
            "the project's __init__.py"
        )
    return app


def database_url(alias: str) -> URL:
    """Return the URL of the library's own connections: the current database of Django's alias (tests change it)."""
    connection = connections[alias]
    require_postgresql(connection)
    parameters = {
        name: str(value)
        for name, value in connection.get_connection_params().items()
        if name not in NOT_FOR_THE_SERVER and value is not None
    }
    role = connection.settings_dict["OPTIONS"].get("assume_role")
    if role:
        escaped = str(role).replace("\\", "\\\\").replace(" ", "\\ ")
        parameters["options"] = f"{parameters.get('options', '')} -c role={escaped}".strip()
    return URL.create(
        "postgresql+psycopg2",
        # By name, so that SQLAlchemy hides the password wherever it shows the URL.
        username=parameters.pop("user", None),
        password=parameters.pop("password", None),
        database=parameters.pop("dbname", None),
        # The rest as query parameters, since a host may be the directory of a Unix socket.
        query=parameters,
    )


class CurrentUrl:
    """Returns the `database_url` of an alias, for each statement; made again only if the settings change."""

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._made: tuple[dict[str, Any], URL] | None = None

    def __call__(self) -> URL:
        connection = connections[self._alias]
        settings_dict, made = connection.settings_dict, self._made
        if made is not None and made[0] == settings_dict:
            return made[1]
        url = database_url(self._alias)
        # A backend of its own may know more than the settings say, such as a password that expires.
        if connection.get_connection_params.__module__ == "django.db.backends.postgresql.base":
            self._made = settings_dict | {"OPTIONS": dict(settings_dict["OPTIONS"])}, url
        return url


def require_postgresql(connection: Any) -> None:
    """Raise ConfigurationError for any other kind of database."""
    if connection.vendor != "postgresql":
        raise ConfigurationError(
            f"settings.DATABASES[{connection.alias!r}] is {connection.vendor!r}, but sagas need PostgreSQL: name "
            "another alias in settings.SAGAS['DATABASE']"
        )


def _name(alias: str) -> Any:
    return settings.DATABASES.get(alias, {}).get("NAME")
