"""The app config: binds the Celery app to sagas as soon as Django's apps are loaded."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class SagasConfig(AppConfig):
    """Configured by ``settings.SAGAS`` (see `sagas.contrib.django.conf.Configuration`)."""

    name = "sagas.contrib.django"
    # Not "sagas": a project may well have an app of that name.
    label = "celery_sagas"
    verbose_name = "Sagas"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from sagas.contrib.django.binding import bound

        bound()
        post_migrate.connect(_migrated, sender=self)


def _migrated(using: str, **_: Any) -> None:
    from sagas.contrib.django.schema import create_where_migrations_are_off

    create_where_migrations_are_off(using)
