"""The project's Celery app, as in tenant-schemas-celery's documentation."""

from tenant_schemas_celery.app import CeleryApp

app = CeleryApp("tenancy", set_as_current=False)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["tests.support.tenancy"])
