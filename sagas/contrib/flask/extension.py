"""`FlaskSagas`: gives each Flask app its own `Sagas`."""

from typing import Any, Unpack
from uuid import UUID

from celery import Celery
from flask import Flask, current_app, has_app_context
from sqlalchemy.orm import scoped_session

from sagas.contrib.flask.commands import current_sagas, flask_sagas
from sagas.contrib.flask.settings import make_celery, push_context, sagas_settings
from sagas.definition import Saga, StartOptions
from sagas.engine import JoinedSession
from sagas.errors import ConfigurationError
from sagas.extension import Sagas
from sagas.handle import SagaHandle
from sagas.model import Data


class FlaskSagas:
    """The extension. Every app that it is given gets its own `Sagas`, as ``app.extensions["sagas"]``.

    It reads ``app.config["SAGAS"]``: ``DATABASE`` (default: ``SQLALCHEMY_DATABASE_URI``), ``SCHEMA``,
    ``HEARTBEAT``, ``SWEEP_EVERY``, ``SECRETS``, and ``CODEC`` or ``KEYS`` (Fernet keys, the newest first),
    ``HEADERS``, ``CONTROL_QUEUE``. It uses the Celery app in ``app.extensions["celery"]``, or makes one from
    ``app.config["CELERY"]`` as Flask's documentation does, and puts it there; tasks run inside the app's context.

    Args:
        app: the Flask app; or pass it to `init_app` later.
        db: the object with the ``session`` that a start joins; by default ``app.extensions["sqlalchemy"]``.
        celery: an existing Celery app, for one Flask app.
        join: whether a start without a session joins ``db.session`` if that has something to commit: changes that are
            pending, flushed or executed. The start then waits for ``db.session.commit()``, and does not happen without
            one. If the session is idle or has only read, a start is committed at once.

    Raises:
        ConfigurationError: a setting is unknown, missing or cannot work; the message names the setting and the cure.
    """

    def __init__(
        self, app: Flask | None = None, db: Any = None, *, celery: Celery | None = None, join: bool = True
    ) -> None:
        self._db = db
        self._celery = celery
        self._join = join
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Give an app its `Sagas` and its ``flask sagas`` commands.

        Call it when the app is configured, and after your own ``celery_init_app(app)`` if you have one.
        """
        if "sagas" in app.extensions:
            raise ConfigurationError(f"the app {app.name!r} has its Sagas already: call FlaskSagas.init_app(app) once")
        settings = sagas_settings(app)
        celery = self._celery or app.extensions.get("celery") or make_celery(app)
        push_context(celery, app)
        sagas = Sagas(celery, **settings)

        def is_current() -> bool:
            return has_app_context() and current_app == app

        def ambient() -> JoinedSession | None:
            db = self._db if self._db is not None else app.extensions.get("sqlalchemy")
            return open_session(db) if is_current() else None

        sagas.engine.is_current = is_current
        if self._join:
            sagas.engine.ambient = ambient
        app.extensions["celery"] = celery
        app.extensions["sagas"] = sagas
        app.cli.add_command(flask_sagas)

    # -- for the current app

    @property
    def current(self) -> Sagas:
        """The `Sagas` of the current app.

        Raises:
            RuntimeError: raised by Flask outside an app context.
            ConfigurationError: the app was not given to `init_app`, or its Celery app was replaced.
        """
        return current_sagas()

    def start(self, saga: Saga, data: Data, **options: Unpack[StartOptions]) -> SagaHandle:
        """Start like `Saga.start`, on the current app."""
        return self.current.start(saga, data, **options)

    def get(self, id: UUID | str) -> SagaHandle:
        """Return a handle on an instance; raises InstanceNotFound (see `Sagas.get`)."""
        return self.current.get(id)

    def find(self, *, saga: str, key: str) -> SagaHandle | None:
        """Return the current instance of a business key; None if there is none."""
        return self.current.find(saga=saga, key=key)

    def migrate(self) -> list[str]:
        """Create or update the tables. Return the migrations that it applied."""
        return self.current.migrate()


def open_session(db: Any) -> JoinedSession | None:
    """Return the transaction of ``db.session``, if it has something to commit. This does not create a session."""
    session: Any = getattr(db, "session", None)
    if isinstance(session, scoped_session):
        session = session() if session.registry.has() else None
    if session is None or not session.in_transaction():
        return None
    joined = JoinedSession(session)
    return joined if joined.has_changes() else None
