"""The app config: binds the Celery app to sagas as soon as Django's apps are loaded."""

from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.db import connections
from django.db.models.signals import post_migrate

from sagas.errors import ConfigurationError


class SagasConfig(AppConfig):
    """Configured by ``settings.SAGAS`` (see `sagas.contrib.django.conf.Configuration`)."""

    name = "sagas.contrib.django"
    # Not "sagas": a project may well have an app with that name.
    label = "celery_sagas"
    verbose_name = "Sagas"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from sagas.contrib.django.binding import bound_sagas

        bound_sagas()
        checks.register(_checked, checks.Tags.compatibility)  # a database check would only run for `migrate`
        post_migrate.connect(_migrated, sender=self)


def _checked(**options: Any) -> list[checks.CheckMessage]:
    """Check that the database is PostgreSQL, before the first migration fails on another one."""
    from sagas.contrib.django.binding import require_postgresql
    from sagas.contrib.django.conf import configuration

    try:
        require_postgresql(connections[configuration().database])
    except ConfigurationError as error:
        what, _, cure = str(error).partition(": ")
        return [checks.Error(what, hint=cure, id="celery_sagas.E001")]
    return []


def _migrated(using: str, **_: Any) -> None:
    from sagas.contrib.django.schema import create_where_migrations_are_off

    create_where_migrations_are_off(using)
