"""The instances as Django models: for the admin and for queries, never for writing."""

from typing import Any, NoReturn

from django.db import models

from sagas.contrib.django.binding import bound_sagas
from sagas.contrib.django.conf import configuration
from sagas.contrib.django.schema import table
from sagas.errors import SagaError
from sagas.handle import SagaHandle
from sagas.model import SagaStatus


class ReadOnly(SagaError):
    """The saga tables are written only by the library."""


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise ReadOnly(
        "saga rows are read-only in Django: every change goes through the library, which locks and fences them. Use "
        "instance.handle.cancel(…), .retry(…), .skip(…), .resolve(…)"
    )


class InstanceQuerySet(models.QuerySet["Instance"]):
    """Reads only."""

    create = bulk_create = bulk_update = get_or_create = update_or_create = update = delete = _refuse


class InstanceManager(models.Manager.from_queryset(InstanceQuerySet)):  # type: ignore[misc]
    """Reads from the database of the sagas, whatever the default database is."""

    def get_queryset(self) -> InstanceQuerySet:
        found: InstanceQuerySet = super().get_queryset().using(self._db or configuration().database)
        return found


class Instance(models.Model):
    """One saga instance. ``instance.handle`` reads the rest of it, and acts on it."""

    id = models.UUIDField(primary_key=True)
    saga = models.TextField()
    version = models.IntegerField()
    key = models.TextField(null=True)
    status = models.TextField(choices=[(status.value, status.value) for status in SagaStatus])
    created_at = models.DateTimeField("started")
    updated_at = models.DateTimeField()
    finished_at = models.DateTimeField("finished", null=True)
    due_at = models.DateTimeField(null=True)

    objects = InstanceManager()

    class Meta:
        managed = False
        db_table = table("saga_instance")
        default_permissions = ("view",)
        permissions = (
            ("retry_instance", "Can let a failed saga go on"),
            ("cancel_instance", "Can cancel a saga"),
            ("skip_instance", "Can skip what a failed saga is stuck at"),
            ("resolve_instance", "Can say whether a step in doubt happened, or was undone by hand"),
        )
        verbose_name = "saga instance"

    save = delete = _refuse

    def __str__(self) -> str:
        return f"{self.saga} {self.key or self.id}"

    @property
    def handle(self) -> SagaHandle:
        """A handle that reads it and acts on it."""
        return SagaHandle(bound_sagas().engine, self.id)
